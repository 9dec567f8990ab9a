package pcs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/cluster/cib"
)

// The CIBs in testdata/pcs-0.11.5 were made by the real pcs 0.11.5 of Debian 12, with its agents, from an empty CIB of the
// tutorial's two nodes: tutorial.xml by the tutorial's lines (in the words that version knows), kinds.xml by kinds.lines.
// The same lines must come to the same configuration here.
func TestSameConfigurationAsPCS(t *testing.T) {
	lines, err := os.ReadFile("testdata/pcs-0.11.5/kinds.lines")
	if err != nil {
		t.Fatal(err)
	}
	kinds := strings.Split(strings.TrimSpace(string(lines)), "\n")
	for i := range kinds {
		kinds[i] = "pcs -f drbd_cfg " + kinds[i]
	}
	tutorial := append(slices.Clone(tutorialLines[:len(tutorialLines)-1]), "pcs -f drbd_cfg property set stonith-enabled=false")
	for name, lines := range map[string][]string{"tutorial": tutorial, "kinds": kinds} {
		t.Run(name, func(t *testing.T) {
			want, err := readCIB("testdata/pcs-0.11.5/" + name + ".xml")
			if err != nil {
				t.Fatal(err)
			}
			got := typed(t, lines)
			if diff := cmp.Diff(canonicalText(want.Configuration()), canonicalText(got.Configuration())); diff != "" {
				t.Errorf("configuration differs (-pcs +ours):\n%s", diff)
			}
			verifyWithPacemaker(t, got)
		})
	}
}

// typed makes a CIB of two nodes and types lines that work on it.
func typed(t *testing.T, lines []string) *cib.Document {
	t.Helper()
	s := &stage{root: serve(t, nil)}
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	defer os.Chdir(home)
	doc := cib.Empty("")
	doc.AddNode("1", "lqi1ecmy01")
	doc.AddNode("2", "lqi1ecmy02")
	if err := writeFile("drbd_cfg", doc.Bytes()); err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if out := s.run(t, l); strings.Contains(out, "\nexit ") || strings.HasPrefix(out, "exit ") {
			t.Fatalf("%s:\n%s", l, out)
		}
	}
	doc, err = readCIB("drbd_cfg")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// canonicalText prints an element with what has no order put in order, and old words for roles replaced.
func canonicalText(e *cib.Element) []string {
	return strings.Split(string(canonicalElement(e).Bytes()), "\n")
}

func canonicalElement(e *cib.Element) *cib.Element {
	out := e.Clone()
	for i, a := range out.Attrs {
		if a.Value == "Master" {
			out.Attrs[i].Value = "Promoted"
		}
	}
	slices.SortFunc(out.Attrs, func(a, b cib.Attr) int { return strings.Compare(a.Name, b.Name) })
	for i, c := range out.Children {
		out.Children[i] = canonicalElement(c)
	}
	ordered := e.Name == "group" || e.Name == "resource_set" // pcs moves what it clones to the end, we leave it in its place
	slices.SortStableFunc(out.Children, func(a, b *cib.Element) int {
		if ordered {
			return strings.Compare(a.Name, b.Name)
		}
		return strings.Compare(a.Name+a.ID(), b.Name+b.ID())
	})
	return out
}

// verifyWithPacemaker has Pacemaker's own tools check a CIB against its schema and schedule it.
func verifyWithPacemaker(t *testing.T, doc *cib.Document) {
	t.Helper()
	for _, tool := range []string{"crm_verify", "crm_simulate"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("Pacemaker's tools are not installed: %v", err)
		}
	}
	doc = doc.Clone()
	doc.SetProperty("stonith-enabled", "false") // else crm_verify asks for a device
	doc.Root.Set("have-quorum", "1")
	for _, n := range doc.Nodes().Children {
		doc.SetNodeState(cib.OnlineState(n.ID(), n.Get("uname")))
	}
	path := filepath.Join(t.TempDir(), "cib.xml")
	if err := os.WriteFile(path, doc.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"crm_verify", "-V", "-x", path}, {"crm_simulate", "-S", "-x", path}} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "error:") {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
}
