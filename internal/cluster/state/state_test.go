package state

import "testing"

func TestInitAndPromote(t *testing.T) {
	m := New()
	data, err := Encode(ID{}, &ClusterInit{Name: "c", UUID: "u", Members: []Member{{Name: "a", Kind: Data, Incarnation: 1, Voter: true, Addrs: []string{"x"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Apply(1, 1, data); r.Err() != nil || r.Unsupported != "" {
		t.Fatal(r)
	}
	n := New()
	if err := n.Restore(m.Snapshot()); err != nil {
		t.Fatal(err)
	}
}
