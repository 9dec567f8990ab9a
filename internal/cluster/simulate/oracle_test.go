package simulate_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
)

// oracle is the real crm_simulate's answer for a CIB.
type oracle struct {
	summary []string
	status  []string
	graph   *cib.Element
}

// haveOracle tells whether the real crm_simulate of Pacemaker is installed (not a link to ourselves).
func haveOracle(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("crm_simulate", "--version").Output()
	return err == nil && bytes.Contains(out, []byte("Pacemaker 2.1.5"))
}

// ask runs crm_simulate.
func ask(t *testing.T, doc *cib.Document, now time.Time) oracle {
	t.Helper()
	dir := t.TempDir()
	in, graph := filepath.Join(dir, "in.xml"), filepath.Join(dir, "graph.xml")
	if err := os.WriteFile(in, doc.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("crm_simulate", "--xml-file", in, "--simulate", "--save-graph", graph, "--set-datetime",
		now.UTC().Format("2006-01-02 15:04:05Z"))
	out, err := cmd.CombinedOutput()
	// It gives up on transitions that a blocked resource keeps from ending; what it decided is saved all the same.
	if err != nil && !bytes.Contains(out, []byte("An invalid transition was produced")) {
		t.Fatalf("crm_simulate: %v\n%s", err, out)
	}
	data, err := os.ReadFile(graph)
	if err != nil {
		t.Fatal(err)
	}
	g, err := cib.ParseElement(data)
	if err != nil {
		t.Fatalf("the graph of crm_simulate: %v", err)
	}
	return oracle{summary: section(string(out), "Transition Summary:"), status: section(string(out), "Revised Cluster Status:"), graph: g}
}

// section gives the lines below a heading, with white space made single.
func section(text, heading string) []string {
	_, rest, _ := strings.Cut(text, heading+"\n")
	out := []string{}
	for _, l := range strings.Split(rest, "\n") {
		if strings.HasSuffix(l, ":") && !strings.HasPrefix(l, " ") {
			break
		}
		if f := strings.Fields(l); len(f) > 0 && !strings.HasPrefix(l, "Using ") {
			out = append(out, strings.Join(f, " "))
		}
	}
	return out
}

// normal gives a graph as sorted lines, action ids left out: each action with all attributes, and each ordering.
func normal(t *testing.T, g *cib.Element) []string {
	t.Helper()
	label := map[string]string{}
	var out []string
	for _, s := range g.ChildrenNamed("synapse") {
		for _, a := range s.Child("action_set").Children {
			label[a.ID()] = describe(a)
			out = append(out, "action "+describe(a)+" "+details(s, a))
		}
	}
	for _, s := range g.ChildrenNamed("synapse") {
		for _, a := range s.Child("action_set").Children {
			for _, tr := range s.Child("inputs").ChildrenNamed("trigger") {
				out = append(out, "order "+label[tr.Children[0].ID()]+" -> "+label[a.ID()])
			}
		}
	}
	slices.Sort(out)
	return out
}

func describe(a *cib.Element) string {
	parts := []string{a.Name}
	for _, k := range []string{"operation", "operation_key", "internal_operation_key", "on_node"} {
		parts = append(parts, k+"="+a.Get(k))
	}
	return strings.Join(parts, " ")
}

func details(s, a *cib.Element) string {
	var parts []string
	if p := a.Child("primitive"); p != nil {
		for _, at := range p.Attrs {
			parts = append(parts, "primitive."+at.Name+"="+at.Value)
		}
	}
	for _, at := range a.Child("attributes").Attrs {
		parts = append(parts, at.Name+"="+at.Value)
	}
	for _, n := range a.Child("downed").ChildrenNamed("node") {
		parts = append(parts, "downed="+n.ID())
	}
	slices.Sort(parts)
	return "priority=" + s.Get("priority") + " " + strings.Join(parts, " ")
}

// compare checks a result against the oracle's answer for the same CIB.
func compare(t *testing.T, doc *cib.Document, now time.Time, r simulate.Result) {
	t.Helper()
	want := ask(t, doc, now)
	text := r.Text()
	if d := cmp.Diff(want.summary, section(text, "Transition Summary:")); d != "" {
		t.Errorf("summary (-crm_simulate +ours):\n%s", d)
	}
	if d := cmp.Diff(want.status, section(text, "Revised Cluster Status:")); d != "" {
		t.Errorf("revised status (-crm_simulate +ours):\n%s", d)
	}
	ours, err := cib.ParseElement(r.Decision.Graph.XML())
	if err != nil {
		t.Fatalf("our graph: %v", err)
	}
	if d := cmp.Diff(normal(t, want.graph), normal(t, ours)); d != "" {
		t.Errorf("graph (-crm_simulate +ours):\n%s", d)
	}
}

// quorate reads have-quorum, as crm_simulate does.
func quorate(doc *cib.Document) bool {
	v, err := strconv.ParseBool(doc.Root.Get("have-quorum"))
	return err == nil && v
}

func input(doc *cib.Document, now time.Time) scheduler.Input {
	return scheduler.Input{CIB: doc, Now: now, Quorate: quorate(doc)}
}
