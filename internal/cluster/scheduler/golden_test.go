package scheduler_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
	"holdfast/internal/cluster/transition"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// golden is a case: a purpose, settings, a CIB, and the expected outcome.
//
//	A sentence of purpose.
//	now 2023-11-14T22:13:20Z
//	quorum true
//	forbid RESOURCE NODE WHY...
//	stuck WHY...                   (a second pass may go on scheduling)
//	-- cib --
//	<cib>...
//	-- scores -- (and summary, transition, reasons, status)
type golden struct {
	file, head, cib string
	in              scheduler.Input
	stuck           bool
	want            string
}

func readGolden(t *testing.T, file string) golden {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), "-- cib --\n")
	xml, want, _ := strings.Cut(rest, "-- scores --\n")
	if !ok {
		t.Fatalf("%s: no line \"-- cib --\"", file)
	}
	doc, err := cib.Parse([]byte(xml))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	g := golden{file: file, head: head, cib: xml, want: want, in: scheduler.Input{CIB: doc}}
	for i, l := range strings.Split(strings.TrimSpace(head), "\n") {
		word, arg, _ := strings.Cut(l, " ")
		switch {
		case i == 0:
		case word == "now":
			if g.in.Now, err = time.Parse(time.RFC3339, arg); err != nil {
				t.Fatal(err)
			}
		case word == "quorum":
			g.in.Quorate = arg == "true"
		case word == "stuck":
			g.stuck = true
		case word == "forbid":
			f := strings.SplitN(arg, " ", 3)
			g.in.Forbid = append(g.in.Forbid, scheduler.Forbid{Resource: f[0], Node: f[1], Why: f[2]})
		default:
			t.Fatalf("%s: unknown setting %q", file, l)
		}
	}
	return g
}

// outcome words everything that was decided.
func outcome(r simulate.Result) string {
	var b strings.Builder
	b.WriteString(simulate.ScoresText(r.Decision.Scores))
	b.WriteString("-- summary --\n")
	for _, c := range r.Decision.Summary {
		b.WriteString(c.Text + "\n")
	}
	b.WriteString("-- transition --\n")
	for _, x := range r.Executed {
		b.WriteString(x + "\n")
	}
	b.WriteString("-- reasons --\n")
	for _, x := range r.Decision.Reasons {
		fmt.Fprintf(&b, "%s on %q: %s\n", x.Resource, x.Node, x.Text)
	}
	b.WriteString("-- status --\n")
	for _, l := range append(simulate.NodeLines(r.Final.Status.Nodes), simulate.ResourceLines(r.Final.Status)...) {
		b.WriteString(l + "\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			g := readGolden(t, f)
			r := simulate.Run(g.in)
			got := outcome(r)
			if *update {
				if err := os.WriteFile(f, []byte(g.head+"-- cib --\n"+g.cib+"-- scores --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(strings.Split(g.want, "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if !g.stuck && !r.Final.Graph.Empty() {
				t.Errorf("a second pass still schedules %q", simulate.Run(withCIB(g.in, r.After)).Executed)
			}
			sameAgain(t, g)
			invariants(t, g.in, r.Decision)
		})
	}
}

func withCIB(in scheduler.Input, doc *cib.Document) scheduler.Input {
	in.CIB = doc
	return in
}

// sameAgain checks that decisions repeat, and do not depend on the order of what has none.
func sameAgain(t *testing.T, g golden) {
	t.Helper()
	first := decision(scheduler.Schedule(g.in))
	before := string(g.in.CIB.Bytes())
	for range 20 {
		if d := cmp.Diff(first, decision(scheduler.Schedule(g.in))); d != "" {
			t.Fatalf("the same input gave another decision:\n%s", d)
		}
	}
	if string(g.in.CIB.Bytes()) != before {
		t.Error("the input was changed")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		doc := g.in.CIB.Clone()
		shuffle(doc.Root, rng)
		if d := cmp.Diff(first, decision(scheduler.Schedule(withCIB(g.in, doc)))); d != "" {
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

// follows tells whether an action waits, directly or not, for the one with that key: on a remote node, for its connection's start.
func follows(byID map[int]*transition.Action, a *transition.Action, key string) bool {
	seen := map[int]bool{}
	var waits func(*transition.Action) bool
	waits = func(a *transition.Action) bool {
		return slices.ContainsFunc(a.Inputs, func(id int) bool {
			if byID[id] == nil || seen[id] {
				return false
			}
			seen[id] = true
			return byID[id].Key == key || waits(byID[id])
		})
	}
	return waits(a)
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
		if a.Kind == transition.Resource && !online[a.Node] && !follows(byID, a, a.Node+"_start_0") {
			t.Errorf("%s is to run on %s, which is not up", a.Key, a.Node)
		}
		if a.Task == "promote" && forbidden[a.Resource+" "+a.Node] {
			t.Errorf("%s is to be promoted on %s, which the volume log forbids", a.Resource, a.Node)
		}
		if !slices.IsSorted(a.Inputs) {
			t.Errorf("the inputs of %s are not sorted: %v", a.Key, a.Inputs)
		}
	}
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
