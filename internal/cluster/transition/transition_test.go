package transition

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func ids(list []*Action) []int {
	var out []int
	for _, a := range list {
		out = append(out, a.ID)
	}
	return out
}

// diamond is 1 -> (2, 3) -> 4, and 5 alone; 2 is a pseudo action.
func diamond() *Graph {
	return &Graph{Actions: []*Action{{ID: 1}, {ID: 2, Kind: Pseudo, Inputs: []int{1}}, {ID: 3, Inputs: []int{1}},
		{ID: 4, Inputs: []int{2, 3}}, {ID: 5, Priority: 10}}}
}

func TestWalk(t *testing.T) {
	w := NewWalker(diamond(), 0)
	if diff := cmp.Diff([]int{5, 1}, ids(w.Ready())); diff != "" {
		t.Error("at first, the one with priority leading:", diff)
	}
	if w.Ready() != nil {
		t.Error("an action is handed out twice")
	}
	w.Done(1, true)
	if diff := cmp.Diff([]int{2, 3}, ids(w.Ready())); diff != "" {
		t.Error(diff)
	}
	w.Done(3, true)
	if got := w.Ready(); got != nil {
		t.Errorf("4 must wait for 2 also, got %v", ids(got))
	}
	w.Done(2, true)
	w.Done(5, true)
	if diff := cmp.Diff([]int{4}, ids(w.Ready())); diff != "" || w.Complete() {
		t.Error(diff)
	}
	w.Done(4, true)
	if !w.Complete() || w.Failed() != nil || w.Blocked() != nil {
		t.Error("the walk should be complete and clean")
	}
}

func TestFailureBlocksWhatFollows(t *testing.T) {
	w := NewWalker(diamond(), 0)
	w.Ready()
	w.Done(1, false)
	if w.Complete() {
		t.Error("5 is still running")
	}
	w.Done(5, true)
	if !w.Complete() {
		t.Error("nothing can go on, and yet it is not complete")
	}
	if diff := cmp.Diff([]int{1}, ids(w.Failed())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{2, 3, 4}, ids(w.Blocked())); diff != "" {
		t.Error(diff)
	}
}

func TestBatchLimit(t *testing.T) {
	g := &Graph{}
	for i := 1; i <= 5; i++ {
		g.Actions = append(g.Actions, &Action{ID: i})
	}
	g.Actions = append(g.Actions, &Action{ID: 6, Kind: Pseudo})
	w := NewWalker(g, 2)
	if diff := cmp.Diff([]int{1, 2, 6}, ids(w.Ready())); diff != "" {
		t.Error("pseudo actions do not count:", diff)
	}
	w.Done(2, true)
	if diff := cmp.Diff([]int{3}, ids(w.Ready())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{1, 3}, ids(w.Running())); diff != "" {
		t.Error(diff)
	}
}

func TestInputThatIsNotThereBlocks(t *testing.T) {
	g := &Graph{Actions: []*Action{{ID: 1, Inputs: []int{9}}}, Unrunnable: []*Action{{ID: 9, Task: "stop", Key: "fs_stop_0"}}}
	w := NewWalker(g, 0)
	if w.Ready() != nil || !w.Complete() {
		t.Error("an action whose input can never be done was started")
	}
	if x := string(g.XML()); !strings.Contains(x, `operation_key="fs_stop_0"`) {
		t.Errorf("the graph does not name what it waits for:\n%s", x)
	}
}

func TestReportsOfStrangersAreIgnored(t *testing.T) {
	w := NewWalker(diamond(), 0)
	if w.Done(4, true) || w.Done(77, true) {
		t.Error("a report of an action that was not started is taken")
	}
}

// TestNothingStartsBeforeItsInputs walks random graphs in random orders, with random failures.
func TestNothingStartsBeforeItsInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "actions")
		g := &Graph{}
		for i := 1; i <= n; i++ {
			a := &Action{ID: i, Kind: Kind(rapid.IntRange(0, 3).Draw(t, "kind")), Priority: rapid.IntRange(0, 3).Draw(t, "priority")}
			for in := 1; in < i; in++ {
				if rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
					a.Inputs = append(a.Inputs, in)
				}
			}
			g.Actions = append(g.Actions, a)
		}
		walkRandomly(t, g)
	})
}

func walkRandomly(t *rapid.T, g *Graph) {
	w := NewWalker(g, rapid.IntRange(0, 4).Draw(t, "limit"))
	done, started := map[int]bool{}, map[int]bool{}
	var open []*Action
	for !w.Complete() {
		for _, a := range w.Ready() {
			if started[a.ID] {
				t.Fatalf("action %d started twice", a.ID)
			}
			started[a.ID] = true
			for _, in := range a.Inputs {
				if !done[in] {
					t.Fatalf("action %d started before its input %d was done", a.ID, in)
				}
			}
			open = append(open, a)
		}
		if len(open) == 0 {
			t.Fatal("nothing runs, nothing can start, and the walk is not complete")
		}
		i := rapid.IntRange(0, len(open)-1).Draw(t, "next")
		ok := rapid.IntRange(0, 9).Draw(t, "ok") > 0
		w.Done(open[i].ID, ok)
		done[open[i].ID] = ok
		open = append(open[:i], open[i+1:]...)
	}
	if len(started)+len(w.Blocked()) != len(g.Actions) {
		t.Fatalf("%d started, %d blocked, of %d", len(started), len(w.Blocked()), len(g.Actions))
	}
}

func TestXML(t *testing.T) {
	g := &Graph{ID: 3, BatchLimit: 4, StartFailureFatal: true, Actions: []*Action{
		{ID: 1, Kind: Pseudo, Task: "start", Key: "c_start_0", Attrs: map[string]string{"crm_feature_set": "3.16.1"}},
		{ID: 2, Task: "start", Key: "db_start_0", InternalKey: "db:0_start_0", Node: "n1", NodeID: "1", Resource: "db", Instance: "db:0",
			Class: "ocf", Provider: "x", Type: "y", Inputs: []int{1}, Attrs: map[string]string{"p": `"<&`}},
		{ID: 3, Kind: Fence, Task: TaskStonith, Key: "stonith-n2-reboot", Node: "n2", NodeID: "2", Downed: []string{"2"}, Priority: 7}}}
	want := `<transition_graph cluster-delay="0s" stonith-timeout="0s" failed-stop-offset="INFINITY" failed-start-offset="INFINITY" batch-limit="4" transition_id="3">
  <synapse id="0">
    <action_set>
      <pseudo_event id="1" operation="start" operation_key="c_start_0">
        <attributes crm_feature_set="3.16.1"/>
      </pseudo_event>
    </action_set>
    <inputs/>
  </synapse>
  <synapse id="1">
    <action_set>
      <rsc_op id="2" operation="start" operation_key="db_start_0" internal_operation_key="db:0_start_0" on_node="n1" on_node_uuid="1">
        <primitive id="db" long-id="db:0" class="ocf" provider="x" type="y"/>
        <attributes p="&quot;&lt;&amp;"/>
      </rsc_op>
    </action_set>
    <inputs>
      <trigger>
        <pseudo_event id="1" operation="start" operation_key="c_start_0"/>
      </trigger>
    </inputs>
  </synapse>
  <synapse id="2" priority="7">
    <action_set>
      <crm_event id="3" operation="stonith" operation_key="stonith-n2-reboot" on_node="n2" on_node_uuid="2">
        <attributes/>
        <downed>
          <node id="2"/>
        </downed>
      </crm_event>
    </action_set>
    <inputs/>
  </synapse>
</transition_graph>
`
	if diff := cmp.Diff(want, string(g.XML())); diff != "" {
		t.Error(diff)
	}
}

func TestParamsAndMeta(t *testing.T) {
	a := &Action{Resource: "db", Task: "monitor", Interval: 20e9, Attrs: map[string]string{"p": "1", "CRM_meta_on_fail": "block", "crm_feature_set": "3"}}
	if diff := cmp.Diff(map[string]string{"p": "1"}, a.Params()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"CRM_meta_on_fail": "block"}, a.Meta()); diff != "" {
		t.Error(diff)
	}
	if a.OnFail() != "block" || a.HistoryKey() != "db_monitor_20000" {
		t.Error(a.OnFail(), a.HistoryKey())
	}
}

// A parameter named as no attribute can be (older scripts take "1", "2") must not spoil the document.
func TestXMLWithOddParameterNames(t *testing.T) {
	g := &Graph{Actions: []*Action{{ID: 1, Resource: "r", Class: "lsb", Type: "x", Task: "start", Key: "r_start_0",
		Attrs: map[string]string{"1": "a<b", "with space": "c", "ip": "d"}}}}
	text := string(g.XML())
	for _, want := range []string{`<attributes ip="d">`, `<param name="1" value="a&lt;b"/>`, `<param name="with space" value="c"/>`, `</attributes>`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
