package scheduler_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
	"holdfast/internal/cluster/transition"
)

// sameAgain checks that decisions repeat, and do not depend on the order of what has none.
func sameAgain(t *testing.T, in scheduler.Input, times int) {
	t.Helper()
	first := decision(scheduler.Schedule(in))
	before := string(in.CIB.Bytes())
	for range times {
		if d := cmp.Diff(first, decision(scheduler.Schedule(in))); d != "" {
			t.Fatalf("the same input gave another decision:\n%s", d)
		}
	}
	if string(in.CIB.Bytes()) != before {
		t.Error("the input was changed")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range times {
		doc := in.CIB.Clone()
		shuffle(doc.Root, rng)
		if d := cmp.Diff(first, decision(scheduler.Schedule(withCIB(in, doc)))); d != "" {
			t.Fatalf("the order of the input's elements changed the decision:\n%s", d)
		}
	}
}

// shuffle reorders elements whose order means nothing: nodes, operations, constraints, history, attributes.
func shuffle(e *cib.Element, rng *rand.Rand) {
	switch e.Name {
	case "nodes", "operations", "lrm_resources", "lrm_resource", "constraints", "instance_attributes", "meta_attributes", "cluster_property_set":
		rng.Shuffle(len(e.Children), func(i, j int) { e.Children[i], e.Children[j] = e.Children[j], e.Children[i] })
	}
	rng.Shuffle(len(e.Attrs), func(i, j int) { e.Attrs[i], e.Attrs[j] = e.Attrs[j], e.Attrs[i] })
	for _, c := range e.Children {
		shuffle(c, rng)
	}
}

// decision words a decision without the ids of actions, which say nothing.
func decision(out scheduler.Output) []string {
	name := map[int]string{}
	all := slices.Concat(out.Graph.Actions, out.Graph.Unrunnable)
	for _, a := range all {
		name[a.ID] = a.Key + " " + a.InternalKey + " " + a.Node
	}
	var lines []string
	for _, a := range all {
		var in []string
		for _, id := range a.Inputs {
			in = append(in, name[id])
		}
		slices.Sort(in)
		lines = append(lines, fmt.Sprintf("%s %v %v <- %q", name[a.ID], a.Kind, a.Attrs, in))
	}
	slices.Sort(lines)
	for _, s := range out.Scores {
		lines = append(lines, fmt.Sprint(s))
	}
	for _, c := range out.Summary {
		lines = append(lines, c.Text)
	}
	for _, r := range out.Reasons {
		lines = append(lines, fmt.Sprint(r))
	}
	return lines
}

// follows tells whether an action waits, directly or not, for one that fits.
func follows(byID map[int]*transition.Action, a *transition.Action, fits func(*transition.Action) bool) bool {
	seen := map[int]bool{}
	var waits func(*transition.Action) bool
	waits = func(a *transition.Action) bool {
		return slices.ContainsFunc(a.Inputs, func(id int) bool {
			if byID[id] == nil || seen[id] {
				return false
			}
			seen[id] = true
			return fits(byID[id]) || waits(byID[id])
		})
	}
	return waits(a)
}

// starts fits the start of the connection to a remote node, which others wait for to do anything there.
func starts(node string) func(*transition.Action) bool {
	return func(a *transition.Action) bool { return a.Key == node+"_start_0" }
}

// invariants hold for every decision.
func invariants(t *testing.T, in scheduler.Input, out scheduler.Output) {
	t.Helper()
	online := map[string]bool{}
	for _, n := range out.Status.Nodes {
		online[n.Name] = n.Online && !n.Unclean
	}
	forbidden := map[string]bool{}
	for _, f := range in.Forbid {
		forbidden[f.Resource+" "+f.Node] = true
	}
	byID := map[int]*transition.Action{}
	for _, a := range out.Graph.Actions {
		byID[a.ID] = a
	}
	for _, a := range out.Graph.Actions {
		if a.Kind == transition.Resource && !online[a.Node] && !follows(byID, a, starts(a.Node)) {
			t.Errorf("%s is to run on %s, which is not up", a.Key, a.Node)
		}
		if a.Task == "promote" && forbidden[a.Resource+" "+a.Node] {
			t.Errorf("%s is to be promoted on %s, which the volume log forbids", a.Resource, a.Node)
		}
		if !slices.IsSorted(a.Inputs) {
			t.Errorf("the inputs of %s are not sorted: %v", a.Key, a.Inputs)
		}
	}
	startsAfterFencing(t, out.Graph, byID)
	startsAfterStops(t, out.Graph, byID)
	w := transition.NewWalker(out.Graph, 0)
	for !w.Complete() {
		for _, a := range w.Ready() {
			w.Done(a.ID, true)
		}
	}
	if len(out.Graph.Unrunnable) == 0 && len(w.Blocked()) > 0 {
		t.Errorf("the graph cannot be walked to its end: %d actions wait in a circle", len(w.Blocked()))
	}
}

// startsAfterFencing: a node that is fenced gets nothing before that is done.
func startsAfterFencing(t *testing.T, g *transition.Graph, byID map[int]*transition.Action) {
	t.Helper()
	fenced := map[string]int{}
	for _, a := range g.Actions {
		if a.Kind == transition.Fence && a.Attrs["CRM_meta_stonith_action"] != "on" {
			fenced[a.Node] = a.ID
		}
	}
	for _, a := range g.Actions {
		fence, ok := fenced[a.Node]
		if ok && a.Kind == transition.Resource && (a.Task == "start" || a.Task == "promote") && !follows(byID, a, func(x *transition.Action) bool { return x.ID == fence }) {
			t.Errorf("%s on %s does not wait for that node's fencing", a.Key, a.Node)
		}
	}
}

// startsAfterStops: what runs somewhere and is to run elsewhere starts there only when it has stopped here.
func startsAfterStops(t *testing.T, g *transition.Graph, byID map[int]*transition.Action) {
	t.Helper()
	for _, start := range g.Actions {
		if _, instance := start.Attrs["CRM_meta_clone"]; start.Kind != transition.Resource || start.Task != "start" || instance {
			continue
		}
		for _, stop := range g.Actions {
			if stop.Kind == transition.Resource && stop.Task == "stop" && stop.Resource == start.Resource &&
				!follows(byID, start, func(x *transition.Action) bool { return x.ID == stop.ID }) {
				t.Errorf("%s starts on %s without waiting for its stop on %s", start.Resource, start.Node, stop.Node)
			}
		}
	}
}

// promotedWithin: what is promoted does not exceed promoted-max by anything this transition promoted.
func promotedWithin(t *testing.T, r simulate.Result) {
	t.Helper()
	promoted := map[string]bool{}
	for _, a := range r.Decision.Graph.Actions {
		promoted[a.Resource] = promoted[a.Resource] || a.Kind == transition.Resource && a.Task == "promote"
	}
	var look func(s scheduler.ResourceState)
	look = func(s scheduler.ResourceState) {
		if s.Kind == scheduler.Clone && s.Promotable {
			count, ours := 0, false
			for _, child := range s.Children {
				if child.Role == scheduler.RolePromoted {
					count += len(child.Nodes)
				}
			}
			for rsc, yes := range promoted {
				ours = ours || yes && rsc == s.ChildID
			}
			if ours && count > s.PromotedMax {
				t.Errorf("%s is promoted on %d nodes, of at most %d", s.ID, count, s.PromotedMax)
			}
		}
		for _, child := range s.Children {
			look(child)
		}
	}
	for _, s := range r.Final.Status.Resources {
		look(s)
	}
}

// TestRandomClusters holds the invariants for clusters nobody thought of.
func TestRandomClusters(t *testing.T) {
	for seed := range uint64(randomSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			in := randomInput(randomCIB(t, seed))
			r := simulate.Run(in)
			sameAgain(t, in, 3)
			invariants(t, in, r.Decision)
			promotedWithin(t, r)
			settles(t, in, r)
			if t.Failed() {
				t.Logf("the cluster:\n%s", in.CIB.Bytes())
			}
		})
	}
}

// randomSeeds is how many clusters the test draws: some seconds' worth.
const randomSeeds = 400

// settles: a second pass schedules nothing of substance, unless something could not be done in the first, or Pacemaker does
// not settle either: it moves anonymous instances round, and makes the same monitor anew for a failure it has forgotten.
func settles(t *testing.T, in scheduler.Input, r simulate.Result) {
	t.Helper()
	if len(r.Decision.Graph.Unrunnable) > 0 || !substance(r.Final.Graph) {
		return
	}
	switch settled, known := pacemakerSettles(t, in.CIB); {
	case !known:
		t.Log("Pacemaker's crm_simulate is not installed: it cannot be asked whether it settles here")
	case settled:
		t.Errorf("a second pass still schedules %q", simulate.Run(withCIB(in, r.After)).Executed)
	}
}

// substance tells whether a transition does more than pass points in the order. Nobody carries out a node's shutdown here.
func substance(g *transition.Graph) bool {
	return slices.ContainsFunc(g.Actions, func(a *transition.Action) bool {
		return a.Kind != transition.Pseudo && a.Task != transition.TaskShutdown
	})
}

// pacemakerSettles asks the real crm_simulate whether its second pass has actions; known is false where it is not installed.
func pacemakerSettles(t *testing.T, doc *cib.Document) (settled, known bool) {
	t.Helper()
	if out, err := exec.Command("crm_simulate", "--version").Output(); err != nil || !bytes.Contains(out, []byte("Pacemaker 2.1.5")) {
		return false, false
	}
	dir := t.TempDir()
	in, out, graph := filepath.Join(dir, "in.xml"), filepath.Join(dir, "out.xml"), filepath.Join(dir, "graph.xml")
	if err := os.WriteFile(in, doc.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--xml-file", in, "--save-output", out}, {"--xml-file", out, "--save-graph", graph}} {
		cmd := exec.Command("crm_simulate", append(args, "--simulate", "--set-datetime", randomNow.Format("2006-01-02 15:04:05Z"))...)
		cmd.Env = append(os.Environ(), "CIB_shadow_dir="+dir)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Logf("crm_simulate: %v\n%s", err, text)
			return false, false
		}
	}
	data, err := os.ReadFile(graph)
	if err != nil {
		t.Fatal(err)
	}
	return !bytes.Contains(data, []byte("<rsc_op")), true
}
