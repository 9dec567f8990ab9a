package simulate_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/cluster/cib"
)

// levels are what is compared: the transition summary, the scores, the graph's actions with their inputs, every attribute of
// those actions, and the state before and after.
var levels = []string{"actions", "scores", "graph", "attributes", "current", "revised"}

// headings are the parts of a summary that are levels.
var headings = map[string]string{"actions": "Transition Summary:", "current": "Current cluster status:", "revised": "Revised Cluster Status:"}

// printedBy is the name of the function in Pacemaker a score line begins with; it is not part of the decision.
var printedBy = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*: `)

// compareCase compares answers by the extension of the file they are expected in. An expectation that is absent has no verdict.
func compareCase(want, got map[string][]byte) (map[string]bool, error) {
	out := map[string]bool{}
	if w, ok := want["summary"]; ok {
		for level, heading := range headings {
			a, b := part(string(w), heading), part(string(got["summary"]), heading)
			if level == "actions" {
				slices.Sort(a)
				slices.Sort(b)
			}
			out[level] = slices.Equal(a, b)
		}
	}
	if w, ok := want["scores"]; ok {
		out["scores"] = slices.Equal(scoreLines(string(w)), scoreLines(string(got["scores"])))
	}
	w, ok := want["exp"]
	if !ok {
		return out, nil
	}
	wantShape, wantFull, err := graphLines(w)
	if err != nil {
		return nil, fmt.Errorf("the expected graph: %w", err)
	}
	gotShape, gotFull, err := graphLines(got["exp"])
	if err != nil {
		return nil, fmt.Errorf("our graph: %w", err)
	}
	out["graph"], out["attributes"] = slices.Equal(wantShape, gotShape), slices.Equal(wantFull, gotFull)
	return out, nil
}

// part gives the lines below a heading, white space made single.
func part(text, heading string) []string {
	_, rest, _ := strings.Cut(text, heading)
	var out []string
	for _, l := range strings.Split(rest, "\n") {
		if strings.HasSuffix(l, ":") && !strings.HasPrefix(l, " ") {
			break
		}
		if f := strings.Fields(l); len(f) > 0 && !notice(l) {
			out = append(out, strings.Join(f, " "))
		}
	}
	return out
}

// notice tells whether a line speaks of the clock used, not of the cluster.
func notice(l string) bool {
	return strings.HasPrefix(l, "Setting effective cluster time") || strings.HasPrefix(l, "Using the original execution date")
}

func scoreLines(text string) []string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.Join(strings.Fields(l), " "); l != "" && !notice(l) {
			out = append(out, printedBy.ReplaceAllString(l, ""))
		}
	}
	slices.Sort(out)
	return out
}

// graphLines words a graph without its numbers: shape has each action and each of its inputs, full each action's attributes.
func graphLines(data []byte) (shape, full []string, err error) {
	g, err := cib.ParseElement(data)
	if err != nil {
		return nil, nil, err
	}
	if g.Name != "transition_graph" {
		return nil, nil, fmt.Errorf("its root is <%s>, not <transition_graph>", g.Name)
	}
	label := map[string]string{}
	for _, s := range g.ChildrenNamed("synapse") {
		for _, a := range s.Child("action_set").Children {
			label[a.ID()] = actionLabel(a)
			shape = append(shape, actionLabel(a))
			full = append(full, actionLabel(a)+" "+actionDetails(s, a))
		}
	}
	for _, s := range g.ChildrenNamed("synapse") {
		for _, a := range s.Child("action_set").Children {
			for _, tr := range s.Child("inputs").ChildrenNamed("trigger") {
				for _, in := range tr.Children {
					shape = append(shape, label[a.ID()]+" after "+label[in.ID()])
				}
			}
		}
	}
	slices.Sort(shape)
	slices.Sort(full)
	return shape, full, nil
}

func actionLabel(a *cib.Element) string {
	parts := []string{a.Name}
	for _, k := range []string{"operation", "operation_key", "internal_operation_key", "on_node", "router_node"} {
		parts = append(parts, k+"="+a.Get(k))
	}
	return strings.Join(parts, " ")
}

// actionDetails words everything else about an action but the feature set it was decided under.
func actionDetails(synapse, a *cib.Element) string {
	parts := []string{"priority=" + synapse.Get("priority")}
	for _, child := range []string{"primitive", "attributes"} {
		e := a.Child(child)
		if e == nil {
			continue
		}
		for _, at := range e.Attrs {
			if at.Name != "crm_feature_set" {
				parts = append(parts, child+"."+at.Name+"="+at.Value)
			}
		}
	}
	for _, p := range a.Child("attributes").ChildrenNamed("param") {
		parts = append(parts, "param."+p.Get("name")+"="+p.Get("value"))
	}
	for _, n := range a.Child("downed").ChildrenNamed("node") {
		parts = append(parts, "downed="+n.ID())
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// TestConformanceSeesDifferences makes a case of our own answer, and spoils one expectation after the other.
func TestConformanceSeesDifferences(t *testing.T) {
	dir := ownCase(t)
	if v := answer(t, dir); v.err != nil || slices.Contains(slices.Collect(maps.Values(v.agrees)), false) || len(v.agrees) != len(levels) {
		t.Fatalf("our own answer does not agree with itself: %+v", v)
	}
	for _, c := range []struct {
		ext, old, new string
		differ        []string
	}{
		{"summary", "Transition Summary:\n", "Transition Summary:\n  * Stop x ( y )\n", []string{"actions"}},
		{"summary", "Current cluster status:\n", "Current cluster status:\n  * none\n", []string{"current"}},
		{"summary", "Revised Cluster Status:\n", "Revised Cluster Status:\n  * none\n", []string{"revised"}},
		{"scores", "score on ", "score on some", []string{"scores"}},
		{"exp", `operation="`, `operation="un`, []string{"attributes", "graph"}},
		{"exp", "<trigger>", "<trigger/><!--", nil},
		{"exp", `CRM_meta_timeout="`, `CRM_meta_timeout="1`, []string{"attributes"}},
	} {
		file := filepath.Join(dir, "own."+c.ext)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), c.old) {
			t.Fatalf("%s has no %q", file, c.old)
		}
		write(t, file, strings.Replace(string(data), c.old, c.new, 1))
		v := answer(t, dir)
		var differ []string
		for l, agrees := range v.agrees {
			if !agrees {
				differ = append(differ, l)
			}
		}
		slices.Sort(differ)
		if !slices.Equal(differ, c.differ) || (v.err != nil) != (c.differ == nil) {
			t.Errorf("%s with %q for %q: %v differ, error %v; want %v", c.ext, c.new, c.old, differ, v.err, c.differ)
		}
		write(t, file, string(data))
	}
	write(t, filepath.Join(dir, "own.xml"), "<cib")
	if v := answer(t, dir); v.err == nil {
		t.Error("a CIB that cannot be read is no error")
	}
}

// ownCase writes a case whose expectations are what we answer for the tutorial's cluster.
func ownCase(t *testing.T) string {
	t.Helper()
	in, err := os.ReadFile(filepath.Join("..", "..", "cluster", "simulate", "testdata", "tutorial.xml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(ext string) string { return filepath.Join(dir, "own."+ext) }
	write(t, at("xml"), string(in))
	for ext, args := range map[string][]string{"summary": {"--save-graph", at("exp")}, "scores": {"--show-scores", "--quiet"}} {
		out, err := run(append([]string{"--xml-file", at("xml"), "--simulate"}, args...))
		if err != nil {
			t.Fatal(err)
		}
		write(t, at(ext), string(out))
	}
	return dir
}

func answer(t *testing.T, dir string) verdict {
	t.Helper()
	cases, err := findCases(dir)
	if err != nil || len(cases) != 1 {
		t.Fatalf("%d cases, error %v; want 1", len(cases), err)
	}
	return runCases(t.TempDir(), cases)[0]
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
