package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/cluster"
)

func encoded(t testing.TB, id ID, c Command) []byte {
	t.Helper()
	data, err := Encode(id, c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRepeatedProposalIsAppliedOnce(t *testing.T) {
	f := founded(t)
	data := encoded(t, ID{Origin: 7, Seq: 1, After: f.index}, &OperatorNote{By: "x", What: "x", Text: "once"})
	first := f.m.Apply(f.index+1, 1, data)
	again := f.m.Apply(f.index+2, 1, data)
	if first != again {
		t.Errorf("results differ: %+v, %+v", first, again)
	}
	restored := New()
	if err := restored.Restore(f.m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if r := restored.Apply(f.index+3, 1, data); r != first {
		t.Errorf("after a snapshot: %+v, want %+v", r, first)
	}
	for _, m := range []*Machine{f.m, restored} {
		if n := len(m.View().Operator); n != 1 {
			t.Errorf("%d notes", n)
		}
	}
	if f.m.View().Index != f.index+2 {
		t.Errorf("index %d", f.m.View().Index)
	}
	refused := encoded(t, ID{Origin: 7, Seq: 2, After: f.index}, &MemberRemove{Name: "nobody"})
	if a, b := f.m.Apply(f.index+3, 1, refused), f.m.Apply(f.index+4, 1, refused); a != b || a.Refused == "" {
		t.Errorf("a refusal repeated: %+v, %+v", a, b)
	}
}

// Past the window nobody can tell whether a proposal was applied: it is refused, never applied a second time.
func TestRepetitionBeyondTheWindow(t *testing.T) {
	f := founded(t)
	start := f.index
	data := encoded(t, ID{Origin: 7, Seq: 1, After: start}, &OperatorNote{By: "x", What: "x", Text: "once"})
	f.index++
	f.m.Apply(f.index, 1, data)
	for i := range uint64(cluster.ProposalWindow) {
		f.index++
		f.m.Apply(f.index, 1, encoded(t, ID{Origin: 8, Seq: i + 1, After: f.index - 1}, &BalancerRemove{Name: "none"}))
	}
	f.index++
	if r := f.m.Apply(f.index, 1, data); !strings.Contains(r.Refused, "too long ago") {
		t.Errorf("got %+v", r)
	}
	if n := len(f.m.View().Operator); n != 1 {
		t.Errorf("applied %d times", n)
	}
	if n := len(f.m.seen.entries); n > cluster.ProposalWindow {
		t.Errorf("%d proposals remembered", n)
	}
}

func TestWhatCannotBeDecoded(t *testing.T) {
	tests := []struct {
		name, data  string
		unsupported bool
	}{
		{"empty", "", false},
		{"no JSON", "\x00\x01", false},
		{"not an object", "[]", false},
		{"no format", `{"do":"lease.end"}`, false},
		{"no command", `{"v":1}`, false},
		{"arguments of another shape", `{"v":1,"do":"lease.end","with":{"node":7}}`, false},
		{"no arguments", `{"v":1,"do":"lease.end"}`, false},
		{"an unknown command", `{"v":1,"do":"lease.lend","with":{}}`, true},
		{"a newer format", `{"v":2,"do":"lease.end","with":{}}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Decode([]byte(tt.data))
			if err == nil || errors.Is(err, ErrUnsupported) != tt.unsupported {
				t.Fatalf("decode: %v", err)
			}
			f := founded(t)
			before := f.shape()
			r := f.m.Apply(f.index+1, 1, []byte(tt.data))
			if (r.Unsupported != "") != tt.unsupported || (r.Refused != "") == tt.unsupported {
				t.Errorf("%+v", r)
			}
			if f.shape() != before {
				t.Error("the state has changed")
			}
		})
	}
}

func TestCommandTooLarge(t *testing.T) {
	if _, err := Encode(ID{}, &CIBReplace{XML: strings.Repeat("x", cluster.MaxCommand)}); err == nil {
		t.Error("encoded a command over the limit")
	}
}

func TestRestoreRefusals(t *testing.T) {
	good := string(promoted(t).m.Snapshot())
	var parts map[string]json.RawMessage
	if err := json.Unmarshal([]byte(good), &parts); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"empty":          "",
		"no view":        `{"v":1}`,
		"no format":      `{"view":{}}`,
		"a newer format": strings.Replace(good, `"v":1`, `"v":2`, 1),
		"no CIB":         fmt.Sprintf(`{"v":1,"view":%s}`, parts["view"]),
		"a broken CIB":   fmt.Sprintf(`{"v":1,"view":%s,"cib":"<cib"}`, parts["view"]),
		"an empty U":     fmt.Sprintf(`{"v":1,"view":{"volumes":{"r":{"name":"r","adopted":true}}}}`),
	}
	for name, data := range tests {
		m := promoted(t).m
		before := m.Snapshot()
		if err := m.Restore([]byte(data)); err == nil {
			t.Errorf("%s: restored", name)
		}
		if !bytes.Equal(before, m.Snapshot()) {
			t.Errorf("%s: the state has changed", name)
		}
	}
}

func TestEntriesInOrderOnly(t *testing.T) {
	f := founded(t)
	defer func() {
		if recover() == nil {
			t.Error("an entry was applied twice")
		}
	}()
	f.m.Apply(f.index, 1, nil)
}

func FuzzDecode(f *testing.F) {
	for _, c := range []Command{&LeaseEnd{Node: "a", Session: 1}, &VolumeRemove{Name: "r"}, &CIBReplace{XML: "<cib/>"},
		&CIBStatus{Edits: []StatusEdit{{Op: &OpEdit{Record: op("start", 0)}}}}} {
		f.Add(encoded(f, ID{Origin: 1, Seq: 2}, c))
	}
	f.Add([]byte(`{"v":1,"do":"cluster.init","with":{"name":"c","uuid":"u","members":[{"name":"a","kind":"data","incarnation":1,"addrs":["x"]}],"cib":"<cib><status><node_state/></status></cib>"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, c, err := Decode(data)
		m, empty := promoted(t).m, New()
		start := m.View().Index
		m.Apply(start+1, 1, data)
		empty.Apply(1, 1, data)
		for _, m := range []*Machine{m, empty} {
			if err := New().Restore(m.Snapshot()); err != nil {
				t.Fatalf("the state after it cannot be restored: %v", err)
			}
		}
		if err != nil {
			return
		}
		again, err := Encode(id, c)
		if err != nil {
			return // over the limit once more
		}
		id2, c2, err := Decode(again)
		if err != nil || id2 != id {
			t.Fatalf("not decoded again: %v", err)
		}
		if third, err := Encode(id2, c2); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("encoded as %s, then as %s", again, third)
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add(promoted(f).m.Snapshot())
	f.Add(New().Snapshot())
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New()
		if err := m.Restore(data); err != nil {
			return
		}
		once := m.Snapshot()
		n := New()
		if err := n.Restore(once); err != nil {
			t.Fatalf("not restored again: %v", err)
		}
		if twice := n.Snapshot(); !bytes.Equal(once, twice) {
			t.Fatalf("snapshots differ\n%s\n%s", once, twice)
		}
	})
}
