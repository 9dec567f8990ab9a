package daemon

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/cluster/state"
	"holdfast/internal/paths"
)

func TestFoundingIsFoundAgain(t *testing.T) {
	root := paths.Root(t.TempDir())
	agenttest.Must(t, os.MkdirAll(root.Etc(), 0o755))
	if f, err := loadFounding(root); f != nil || err != nil {
		t.Fatalf("a host in no cluster: %+v %v", f, err)
	}
	a := state.Member{Name: "a", Kind: state.Data, Incarnation: 1<<64 - 1, Voter: true, NodeID: 1, Addrs: []string{"10.0.0.1"}}
	w := state.Member{Name: "w", Kind: state.Witness, Incarnation: 3, Voter: true, Addrs: []string{"10.0.0.3"}}
	f := &founding{Version: 1, Name: "c", UUID: "u", TokenMS: 1000, Founders: []state.Member{a}, Peers: []state.Member{a, w}}
	agenttest.Must(t, f.save(root))
	got, err := loadFounding(root)
	agenttest.Must(t, err)
	if !reflect.DeepEqual(got, f) {
		t.Errorf("got %+v, want %+v", got, f)
	}
	if m := got.self("w"); !reflect.DeepEqual(m, w) {
		t.Errorf("self: %+v", m)
	}
	if m := got.self("new"); m.Name != "new" || m.Kind != state.Follower || m.Voter {
		t.Errorf("a member not listed: %+v", m)
	}
	first := got.first()
	m := state.New()
	data, err := state.Encode(state.ID{}, first)
	agenttest.Must(t, err)
	if r := m.Apply(1, 1, data); r.Refused != "" {
		t.Fatalf("the first command is refused: %s", r.Refused)
	}
	if v := m.View(); v.Cluster.Name != "c" || len(v.Members) != 1 || v.Members["a"].Incarnation != a.Incarnation {
		t.Errorf("founded: %+v", v)
	}
}

func TestBrokenFoundingIsAnError(t *testing.T) {
	root := paths.Root(t.TempDir())
	agenttest.Must(t, os.MkdirAll(root.Etc(), 0o755))
	for name, text := range map[string]string{
		"no JSON": "{", "another version": `{"version":2,"name":"c","founders":[{"name":"a"}]}`,
		"no name": `{"version":1,"founders":[{"name":"a"}]}`, "no founders": `{"version":1,"name":"c"}`, "empty": "",
	} {
		agenttest.Must(t, os.WriteFile(foundingFile(root), []byte(text), 0o644))
		f, err := loadFounding(root)
		if f != nil || err == nil || !strings.Contains(err.Error(), "cluster.json") {
			t.Errorf("%s: %+v %v", name, f, err)
		}
	}
}
