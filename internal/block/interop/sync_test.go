package interop

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"holdfast/internal/api"
)

func noise(seed int64, n int) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(p)
	return p
}

// couple configures both sides and brings them up, not yet synced.
func couple(t *testing.T, protocol, net, disk string) (*machine, *node) {
	t.Helper()
	return coupleSized(t, protocol, net, disk, diskSize)
}

// coupleSized gives holdfast's disk another size than the machine's: the smaller one counts.
func coupleSized(t *testing.T, protocol, net, disk string, size int64) (*machine, *node) {
	t.Helper()
	v := need(t)
	dir := shortDir(t)
	text := config(dir, protocol, net, disk)
	n := newNode(t, dir, text, size)
	v.configure(t, text)
	fillDisk(t, n.path, 1)
	return v, n
}

func bringUp(t *testing.T, v *machine, n *node) {
	t.Helper()
	v.run(t, "drbdadm up r0 2>&1")
	n.up()
	n.state("Connected", "Inconsistent", "Inconsistent")
	v.states(t, "cs:Connected ro:Secondary/Secondary ds:Inconsistent/Inconsistent")
}

// inSync brings both up with equal disks, holdfast Primary or the kernel.
func inSync(t *testing.T, v *machine, n *node, holdfast bool) {
	t.Helper()
	bringUp(t, v, n)
	if holdfast {
		n.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	} else {
		v.run(t, "drbdadm primary --force r0 2>&1")
	}
	equal(t, v, n)
}

// equal waits until both say that both disks are UpToDate, and compares them.
func equal(t *testing.T, v *machine, n *node) {
	t.Helper()
	n.state("Connected", "UpToDate", "UpToDate")
	v.states(t, "cs:Connected", "ds:UpToDate/UpToDate", " ap:0 ", " oos:0\n")
	n.identical(v)
}

func TestInitialSyncFromHoldfast(t *testing.T) {
	v, n := coupleSized(t, "C", "", "", diskSize-4<<20)
	inSync(t, v, n, true)
	writesFor(t, v, n, true, "", minute())
	equal(t, v, n)
	roleChange(t, v, n)
	reconnect(t, v, n)
}

func TestInitialSyncFromKernel(t *testing.T) {
	v, n := coupleSized(t, "C", "", "", diskSize+4<<20)
	inSync(t, v, n, false)
	writesFor(t, v, n, false, "", minute())
	equal(t, v, n)
}

// writes lets an application write on the Primary for a while, data of all sizes with flushes.
func writes(t *testing.T, v *machine, n *node, holdfast bool, more string) {
	t.Helper()
	writesFor(t, v, n, holdfast, more, writing())
}

func writesFor(t *testing.T, v *machine, n *node, holdfast bool, more string, d time.Duration) {
	t.Helper()
	if holdfast {
		n.hammer(d, more != "")
		return
	}
	t.Log(v.run(t, fmt.Sprintf("hammer /dev/drbd1 %d %d %s", int(d.Seconds()), time.Now().UnixNano()%1e6, more)))
}

// roleChange: holdfast is Primary; both change roles, and back.
func roleChange(t *testing.T, v *machine, n *node) {
	t.Helper()
	if out, code := v.try(t, "drbdadm primary r0 2>&1"); code != 11 {
		t.Fatalf("a second Primary: status %d: %s", code, out)
	}
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	v.run(t, "drbdadm primary r0 2>&1")
	n.until("the kernel being Primary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Primary" })
	if r := n.do(api.VolumeDo{Verb: api.VolumePrimary}); r.Code != 11 {
		t.Fatalf("a second Primary: %+v", r)
	}
	writes(t, v, n, false, "discard")
	equal(t, v, n)
	v.run(t, "drbdadm secondary r0 2>&1")
	n.until("the kernel being Secondary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	n.ok(api.VolumeDo{Verb: api.VolumePrimary})
	writes(t, v, n, true, "discard")
	equal(t, v, n)
}

// reconnect: holdfast is Primary; each side leaves in turn while the Primary writes, which the bitmap repairs.
func reconnect(t *testing.T, v *machine, n *node) {
	t.Helper()
	v.run(t, "drbdadm disconnect r0 2>&1")
	n.state("WFConnection", "UpToDate", "DUnknown")
	writes(t, v, n, true, "")
	moved := n.last().ResyncedBytes
	v.run(t, "drbdadm connect r0 2>&1")
	n.until("the resync", func(s *api.VolumeStatus) bool { return s.ResyncedBytes > moved })
	equal(t, v, n)
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	v.run(t, "drbdadm primary r0 2>&1")
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	n.state("StandAlone", "UpToDate", "DUnknown")
	v.states(t, "cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown")
	writes(t, v, n, false, "")
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	n.state("Connected", "UpToDate", "UpToDate")
	equal(t, v, n)
}
