package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/api"
)

// side is one of the two, or none of them.
type side string

const (
	noSide       side = ""
	holdfastSide side = "holdfast"
	moduleSide   side = "the kernel"
)

// settlement is a split brain, and what is to become of it.
type settlement struct {
	name        string
	net, kernel string // options of the net section, for both; kernel: the kernel's if they differ
	first       side   // Primary when the two part; the other one is promoted after that
	ours, their int    // KiB that each writes alone
	stays       side   // Primary when they meet again
	discards    side   // given up by the operator (--discard-my-data)
	wins        side   // whose content both have then; none: they stay apart
}

var settlements = []settlement{ //nolint:gochecknoglobals // a table
	{name: "zero changes, the kernel's", net: "after-sb-0pri discard-zero-changes;", first: holdfastSide, ours: 64, wins: holdfastSide},
	{name: "zero changes, holdfast's", net: "after-sb-0pri discard-zero-changes;", first: moduleSide, their: 64, wins: moduleSide},
	{name: "zero changes, neither's", net: "after-sb-0pri discard-zero-changes;", first: holdfastSide, ours: 64, their: 64},
	{name: "least changes, the kernel's", net: "after-sb-0pri discard-least-changes;", first: moduleSide, ours: 128, their: 64, wins: holdfastSide},
	{name: "least changes, holdfast's", net: "after-sb-0pri discard-least-changes;", first: holdfastSide, ours: 64, their: 128, wins: moduleSide},
	{name: "younger Primary, the kernel", net: "after-sb-0pri discard-younger-primary;", first: holdfastSide, ours: 64, their: 64, wins: holdfastSide},
	{name: "younger Primary, holdfast", net: "after-sb-0pri discard-younger-primary;", first: moduleSide, ours: 64, their: 64, wins: moduleSide},
	{name: "older Primary, holdfast", net: "after-sb-0pri discard-older-primary;", first: holdfastSide, ours: 64, their: 64, wins: moduleSide},
	{name: "older Primary, the kernel", net: "after-sb-0pri discard-older-primary;", first: moduleSide, ours: 64, their: 64, wins: holdfastSide},
	{name: "what is remote for holdfast", net: "after-sb-0pri discard-remote;", kernel: "after-sb-0pri discard-local;", first: holdfastSide, ours: 64, their: 128, wins: holdfastSide},
	{name: "what is local for holdfast", net: "after-sb-0pri discard-local;", kernel: "after-sb-0pri discard-remote;", first: holdfastSide, ours: 128, their: 64, wins: moduleSide},
	{name: "Secondary, holdfast", net: "after-sb-1pri discard-secondary;", first: holdfastSide, ours: 128, their: 64, stays: moduleSide, wins: moduleSide},
	{name: "Secondary, the kernel", net: "after-sb-1pri discard-secondary;", first: moduleSide, ours: 64, their: 128, stays: holdfastSide, wins: holdfastSide},
	{name: "consensus", net: "after-sb-0pri discard-least-changes; after-sb-1pri consensus;", first: holdfastSide, ours: 64, their: 128, stays: moduleSide, wins: moduleSide},
	{name: "no consensus", net: "after-sb-0pri discard-least-changes; after-sb-1pri consensus;", first: moduleSide, ours: 64, their: 128, stays: holdfastSide},
	{name: "as if no Primary", net: "after-sb-0pri discard-least-changes; after-sb-1pri violently-as0p;", first: moduleSide, ours: 128, their: 64, stays: holdfastSide, wins: holdfastSide},
	{name: "given up by the operator, the kernel's", first: holdfastSide, ours: 64, their: 128, discards: moduleSide, wins: holdfastSide},
	{name: "given up by the operator, the kernel's, holdfast in use", first: moduleSide, ours: 64, their: 64, stays: holdfastSide, discards: moduleSide, wins: holdfastSide},
	{name: "given up by the operator, holdfast's, the kernel in use", first: holdfastSide, ours: 64, their: 64, stays: moduleSide, discards: holdfastSide, wins: moduleSide},
}

// TestSplitBrainIsSettled: every policy that may settle a split brain, and the operator, choose the same side for both, and only
// what the two wrote apart is moved. Where nothing settles it neither disk is changed.
func TestSplitBrainIsSettled(t *testing.T) {
	forLong(t)
	v, n := couple(t, "C", "", "")
	inSync(t, v, n, true)
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	for _, s := range settlements {
		t.Run(s.name, func(t *testing.T) {
			n.t = t
			s.play(t, v, n)
		})
	}
	n.t = t
}

func (s settlement) play(t *testing.T, v *machine, n *node) {
	s.part(t, v, n)
	dir := filepath.Dir(n.path)
	kernel := s.kernel
	if kernel == "" {
		kernel = s.net
	}
	v.rewrite(t, config(dir, "C", kernel, ""))
	n.adjust(config(dir, "C", s.net, ""))
	ours, theirs := n.image(), v.image(t, n.size())
	moved := n.last().ResyncedBytes
	s.meet(t, v, n)
	switch s.wins {
	case noSide:
		apart(t, v, n)
		if !bytes.Equal(ours, n.image()) || !bytes.Equal(theirs, v.image(t, n.size())) {
			t.Error("a disk was changed although nothing settles the split brain")
		}
		s.agree(t, v, n)
	case holdfastSide:
		equal(t, v, n)
		if !bytes.Equal(ours, n.image()) {
			t.Error("the disks do not have holdfast's content")
		}
	default:
		equal(t, v, n)
		if !bytes.Equal(theirs, n.image()) {
			t.Error("the disks do not have the kernel's content")
		}
	}
	if got := n.last().ResyncedBytes - moved; got == 0 || got > 512<<10 {
		t.Errorf("%d bytes were resynced", got)
	}
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	v.run(t, "drbdadm secondary r0 2>&1")
	n.until("the kernel being Secondary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
}

// part has the two leave each other, and each write alone, the one that is Primary at the time first.
func (s settlement) part(t *testing.T, v *machine, n *node) {
	t.Helper()
	if s.first == holdfastSide {
		n.ok(api.VolumeDo{Verb: api.VolumePrimary})
		v.run(t, "drbdadm disconnect r0 2>&1")
		n.state("WFConnection", "UpToDate", "DUnknown")
		s.writeOurs(n)
		n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
		s.writeTheirs(t, v)
		return
	}
	v.run(t, "drbdadm primary r0 2>&1")
	n.until("the kernel being Primary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Primary" })
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	v.states(t, "cs:WFConnection", "ds:UpToDate/DUnknown")
	s.writeTheirs(t, v)
	v.run(t, "drbdadm disconnect r0 2>&1")
	s.writeOurs(n)
}

func (s settlement) writeOurs(n *node) {
	n.t.Helper()
	n.ok(api.VolumeDo{Verb: api.VolumePrimary})
	if s.ours > 0 {
		n.write(4<<20, noiseAligned(int64(len(s.name)), s.ours<<10))
		n.flush()
	}
	if s.stays != holdfastSide {
		n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	}
}

func (s settlement) writeTheirs(t *testing.T, v *machine) {
	t.Helper()
	script := "drbdadm primary r0 2>&1 || exit 1\n"
	if s.their > 0 {
		script += fmt.Sprintf("dd if=/dev/urandom of=/dev/drbd1 bs=%dk count=1 seek=%d oflag=direct 2>&1 || exit 1\n", s.their, 4<<10/s.their)
	}
	if s.stays != moduleSide {
		script += "drbdadm secondary r0 2>&1\n"
	}
	v.run(t, script)
}

// meet has the two connect.
func (s settlement) meet(t *testing.T, v *machine, n *node) {
	t.Helper()
	discard := ""
	if s.discards == moduleSide {
		discard = "--discard-my-data "
	}
	v.run(t, "drbdadm connect "+discard+"r0 2>&1")
	n.ok(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: s.discards == holdfastSide})
}

// apart waits until one of the two has seen that nothing settles it, and ends the other's attempts.
func apart(t *testing.T, v *machine, n *node) {
	t.Helper()
	for deadline := time.Now().Add(patience); n.last().Reason == ""; time.Sleep(pollEvery) {
		if state, _ := v.try(t, "drbdadm cstate r0 2>&1"); state == "StandAlone\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody sees the split brain: %+v\n%s", n.last(), kernelSide(t))
		}
	}
	v.run(t, "drbdadm disconnect r0 2>&1; true")
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
}

// agree ends a split brain that nothing has settled by giving holdfast's version up.
func (s settlement) agree(t *testing.T, v *machine, n *node) {
	t.Helper()
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	v.run(t, "drbdadm connect r0 2>&1")
	n.ok(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true})
	equal(t, v, n)
}

// image is what the machine's disk holds of a device of so many bytes.
func (v *machine) image(t testing.TB, size int64) []byte {
	t.Helper()
	p, err := os.ReadFile(v.disk())
	must(t, err)
	return p[:size]
}
