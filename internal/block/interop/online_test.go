package interop

import (
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
)

// TestOnlineVerify: each side finds what was changed behind the other's back, and a resync repairs it.
func TestOnlineVerify(t *testing.T) {
	v, n := couple(t, "C", "verify-alg sha1; csums-alg md5;", "")
	inSync(t, v, n, true)
	n.ok(api.VolumeDo{Verb: api.VolumeVerify})
	equal(t, v, n)
	n.corrupt(2 << 20)
	n.ok(api.VolumeDo{Verb: api.VolumeVerify})
	n.until("the difference to be found", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.Counters.OOS == 64 })
	v.states(t, "cs:Connected", "oos:64\n")
	resyncFound(t, v, n)
	n.corrupt(3 << 20)
	v.run(t, "drbdadm verify r0 2>&1")
	n.until("the difference to be found", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.Counters.OOS == 4 })
	v.states(t, "cs:Connected", "oos:4\n")
	resyncFound(t, v, n)
	// Either side gives its content up; digests keep what is equal from being sent.
	sent := n.last().Counters.NS
	n.corrupt(1 << 20)
	v.run(t, "drbdadm invalidate r0 2>&1")
	n.until("the resync", func(s *api.VolumeStatus) bool { return s.Conn == "SyncSource" || s.Counters.NS > sent })
	equal(t, v, n)
	if moved := n.last().Counters.NS - sent; moved == 0 || moved > 1024 {
		t.Errorf("%d KiB were sent for one block that differed", moved)
	}
	swap(t, v, n)
	n.corrupt(1 << 20)
	received := n.last().Counters.NR
	n.ok(api.VolumeDo{Verb: api.VolumeInvalidate})
	n.until("the resync", func(s *api.VolumeStatus) bool { return s.Counters.NR > received && s.Disk == "UpToDate" })
	equal(t, v, n)
	if moved := n.last().Counters.NR - received; moved > 1024 {
		t.Errorf("%d KiB were received for one block that differed", moved)
	}
}

// resyncFound has the Primary's content, holdfast's, replace what verify found.
func resyncFound(t *testing.T, v *machine, n *node) {
	t.Helper()
	v.run(t, "drbdadm disconnect r0 2>&1")
	n.state("WFConnection", "UpToDate", "DUnknown")
	n.write(0, aligned(4096))
	v.run(t, "drbdadm connect r0 2>&1")
	n.until("the resync", func(s *api.VolumeStatus) bool {
		return s.Conn == "Connected" && s.PeerDisk == "UpToDate" && s.Counters.OOS == 0
	})
	equal(t, v, n)
}

// corrupt changes a block of our disk below the volume.
func (n *node) corrupt(off int64) {
	n.t.Helper()
	f, err := os.OpenFile(n.path, os.O_RDWR, 0)
	must(n.t, err)
	defer f.Close()
	_, err = f.WriteAt(noise(time.Now().UnixNano(), 4096), off)
	must(n.t, err)
	must(n.t, f.Sync())
}

// TestSplitBrain: both sides write alone; it is refused, then settled by the operator and by a policy.
func TestSplitBrain(t *testing.T) {
	v, n := couple(t, "C", "after-sb-1pri discard-secondary;", "")
	inSync(t, v, n, true)
	split(t, v, n)
	// Zero Primaries: refused, for want of a policy.
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	v.run(t, "drbdadm secondary r0 2>&1; drbdadm connect r0 2>&1")
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	v.await(t, "dmesg | tail -n 60", "Split-Brain detected but unresolved, dropping connection!")
	v.await(t, "drbdadm cstate r0", "StandAlone")
	// holdfast's version is given up.
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	n.ok(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true})
	v.run(t, "drbdadm connect r0 2>&1")
	n.state("Connected", "UpToDate", "UpToDate")
	equal(t, v, n)
	n.ok(api.VolumeDo{Verb: api.VolumePrimary})
	// One Primary, holdfast: the policy gives the kernel's version up.
	split(t, v, n)
	v.run(t, "drbdadm secondary r0 2>&1; drbdadm connect r0 2>&1")
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	equal(t, v, n)
	if !strings.Contains(v.run(t, "dmesg | tail -n 60"), "automatically solved") {
		t.Error("the kernel did not solve it by the policy")
	}
}

// split has both sides write without the other; both are Primary afterwards, and apart.
func split(t *testing.T, v *machine, n *node) {
	t.Helper()
	v.run(t, "drbdadm disconnect r0 2>&1")
	n.state("WFConnection", "UpToDate", "DUnknown")
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	v.run(t, "drbdadm primary r0 2>&1; dd if=/dev/urandom of=/dev/drbd1 bs=64k count=4 seek=8 oflag=direct 2>/dev/null")
	n.write(1<<20, noiseAligned(5, 128<<10))
	n.flush()
}

func noiseAligned(seed int64, n int) []byte {
	p := aligned(n)
	copy(p, noise(seed, n))
	return p
}

// TestCrashes: each side loses power as Primary while it writes; the activity log's extents are resynced.
func TestCrashes(t *testing.T) {
	v, n := couple(t, "C", "", "")
	inSync(t, v, n, true)
	n.write(0, noiseAligned(1, 1<<20))
	n.crash()
	v.states(t, "cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown")
	n.up()
	n.until("the resync of the log's extents", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.ResyncedBytes > 0 })
	equal(t, v, n)
	v.run(t, "drbdadm primary r0 2>&1; dd if=/dev/urandom of=/dev/drbd1 bs=64k count=4 oflag=direct 2>/dev/null")
	moved := n.last().ResyncedBytes
	v.crash(t)
	v.boot(t)
	v.rewrite(t, n.text)
	v.run(t, "drbdadm up r0 2>&1")
	n.until("the resync of the log's extents", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.ResyncedBytes > moved })
	equal(t, v, n)
}
