package scheduler_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
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
	for _, l := range append(simulate.NodeLines(r.Revised.Nodes), simulate.ResourceLines(r.Revised)...) {
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
			sameAgain(t, g.in, 20)
			invariants(t, g.in, r.Decision)
			promotedWithin(t, r)
		})
	}
}

func withCIB(in scheduler.Input, doc *cib.Document) scheduler.Input {
	in.CIB = doc
	return in
}
