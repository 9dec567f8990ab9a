package scheduler_test

import (
	"strings"
	"testing"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/simulate"
)

// TestContradictingColocations: of two colocations of the same resources the later one in the configuration counts first, as
// with crm_simulate 2.1.5. This is the one place where the order of constraints means something.
func TestContradictingColocations(t *testing.T) {
	for _, c := range []struct {
		scores [2]string
		starts bool
	}{{[2]string{"-100", "INFINITY"}, true}, {[2]string{"INFINITY", "-100"}, false}} {
		doc := large(3, 2)
		doc.Root.Set("have-quorum", "1")
		r1 := doc.Resources().Children[1]
		for _, score := range c.scores {
			doc.Constraints().Append(cib.NewElement("rsc_colocation", "id", "c"+score, "rsc", r1.ID(), "with-rsc", "r0", "score", score))
		}
		doc.Constraints().Append(cib.NewElement("rsc_location", "id", "l", "rsc", "r0", "node", "node2", "score", "INFINITY"))
		executed := strings.Join(simulate.Run(randomInput(doc)).Executed, "\n")
		if got := strings.Contains(executed, " r1              start on "); got != c.starts {
			t.Errorf("scores %v: started %t, want %t\n%s", c.scores, got, c.starts, executed)
		}
	}
}
