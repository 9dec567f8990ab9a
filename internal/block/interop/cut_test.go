package interop

import (
	"os/exec"
	"testing"

	"holdfast/internal/api"
)

// TestLinkCut: the network is cut without a word while one side, and then the other, is Primary and an application writes. It
// goes on alone once the peer is missed, and the peer gets what it lacks when the network is back.
func TestLinkCut(t *testing.T) {
	forLong(t)
	v, n := couple(t, "C", "", "")
	inSync(t, v, n, true)
	t.Cleanup(func() { link(t, v, "up") })
	for _, holdfast := range []bool{true, false} {
		moved := n.last().ResyncedBytes
		if holdfast {
			link(t, v, "down")
			n.hammer(writing(), true)
			n.state("WFConnection", "UpToDate", "DUnknown")
		} else {
			v.writeOn(t, "discard")
			link(t, v, "down")
			v.states(t, "cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown")
			v.endWriting(t)
			n.state("WFConnection", "UpToDate", "DUnknown")
		}
		link(t, v, "up")
		n.until("the resync", func(s *api.VolumeStatus) bool { return s.ResyncedBytes > moved })
		equal(t, v, n)
		swap(t, v, n)
	}
}

// link sets the machine's end of the network up or down.
func link(t *testing.T, v *machine, state string) {
	t.Helper()
	if out, err := exec.Command("ip", "link", "set", v.tap, state).CombinedOutput(); err != nil {
		t.Fatalf("set %s %s: %v: %s", v.tap, state, err, out)
	}
}
