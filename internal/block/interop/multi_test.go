package interop

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

// A resource with the volumes 0 and 1 over one connection: /dev/drbd1 on /dev/vdb, /dev/drbd2 on /dev/vdc in the machine.

// secondSize is that of volume 1's disks.
const secondSize = 16 << 20

// secondDrive are QEMU's arguments for the machine's second disk.
func (v *machine) secondDrive(t testing.TB) []string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(v.secondDisk()), 0o755))
	f, err := os.OpenFile(v.secondDisk(), os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	must(t, f.Truncate(secondSize))
	must(t, f.Close())
	return []string{"-drive", "file=" + v.secondDisk() + ",format=raw,if=none,id=e,cache=writeback,discard=unmap",
		"-device", "virtio-blk-pci,drive=e,addr=0x8"}
}

func (v *machine) secondDisk() string { return v.file("vdc.img") }

func multiConfig(dir, net string) string {
	host := func(name, address, disk, second string) string {
		return fmt.Sprintf(`  on %s { address %s:7788;
    volume 0 { device /dev/drbd1; disk %s; meta-disk internal; }
    volume 1 { device /dev/drbd2; disk %s; meta-disk internal; } }
`, name, address, disk, second)
	}
	return fmt.Sprintf(`resource r0 {
  protocol C;
  net { ping-timeout 50; socket-check-timeout 3; timeout 200; connect-int 1; %s }
  disk { resync-rate 100M; c-plan-ahead 0; }
`, net) + host("nodeA", "10.77.0.1", "/dev/vdb", "/dev/vdc") + host("nodeB", "10.77.0.254", filepath.Join(dir, "disk"), filepath.Join(dir, "second")) + "}"
}

// coupleMulti configures both sides with blank disks; volume 1 of holdfast's has something on it.
func coupleMulti(t *testing.T, net string) (*machine, *node) {
	t.Helper()
	v := need(t)
	dir := shortDir(t)
	text := multiConfig(dir, net)
	n := newNode(t, dir, text, diskSize)
	blank(t, n.second(), secondSize)
	n.formatDisk(n.second())
	v.configure(t, text)
	fillDisk(t, n.path, 1)
	return v, n
}

func (n *node) second() string { return filepath.Join(filepath.Dir(n.path), "second") }

// each calls f with n about each volume in turn.
func (n *node) each(f func(number int)) {
	defer func() { n.number = 0 }()
	for number := range 2 {
		n.number = number
		f(number)
	}
}

// equalMulti waits until both say that all disks are UpToDate, and compares them.
func equalMulti(t *testing.T, v *machine, n *node) {
	t.Helper()
	n.each(func(int) { n.state("Connected", "UpToDate", "UpToDate") })
	v.await(t, "grep -c 'cs:Connected.*ds:UpToDate/UpToDate' /proc/drbd; grep -c ' ap:0 .*oos:0$' /proc/drbd", "2\n2\n")
	n.each(func(number int) {
		here, there := n.path, v.disk()
		if number == 1 {
			here, there = n.second(), v.secondDisk()
		}
		x, err := os.ReadFile(here)
		must(t, err)
		y, err := os.ReadFile(there)
		must(t, err)
		if size := n.size(); size == 0 || !bytes.Equal(x[:size], y[:size]) {
			t.Fatalf("the replicas of volume %d differ", number)
		}
	})
}

// hammerMulti writes to both volumes of holdfast's side at once, flushing either.
func (n *node) hammerMulti(d time.Duration) {
	n.t.Helper()
	until := time.Now().Add(d)
	var all sync.WaitGroup
	for number := range 2 {
		n.number = number
		size, target := n.size(), n.targets[number]
		for i := range 2 {
			all.Add(1)
			rng := rand.New(rand.NewSource(time.Now().UnixNano() + int64(2*number+i)))
			go func() {
				defer all.Done()
				for time.Now().Before(until) && !n.t.Failed() {
					length := int64(1+rng.Intn(32)) * 512
					data := aligned(int(length))
					rng.Read(data)
					r := &ioRequest{done: make(chan struct{})}
					r.Request = kernel.Request{Op: kernel.Write, Offset: rng.Int63n((size-length)/512) * 512, Length: length, Data: data, FUA: rng.Intn(20) == 0, Owner: r}
					if rng.Intn(10) == 0 {
						r.Request = kernel.Request{Op: kernel.Flush, Owner: r}
					}
					target.Submit(&r.Request)
					(&hammerer{n: n}).await(r)
				}
			}()
		}
	}
	n.number = 0
	all.Wait()
	if n.t.Failed() {
		n.t.FailNow()
	}
	n.each(func(int) { n.flush() })
}

// hammerMulti writes to both of the kernel's devices at once.
func (v *machine) hammerMulti(t *testing.T) {
	t.Helper()
	seconds := int(writing().Seconds())
	t.Log(v.run(t, fmt.Sprintf("hammer /dev/drbd2 %d 7 & hammer /dev/drbd1 %d 8; code=$?; wait $! && exit $code", seconds, seconds)))
}

// TestMulti: both volumes are resynced, written on both sides in turn, and of one that missed something only that is resynced.
func TestMulti(t *testing.T) {
	v, n := coupleMulti(t, "verify-alg crc32c;")
	v.run(t, "drbdadm up r0 2>&1")
	n.up()
	n.each(func(int) { n.state("Connected", "Inconsistent", "Inconsistent") })
	n.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	equalMulti(t, v, n)
	n.hammerMulti(writing())
	equalMulti(t, v, n)

	// The roles change; the kernel is Primary.
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	v.run(t, "drbdadm primary r0 2>&1")
	n.each(func(int) {
		n.until("the kernel being Primary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Primary" })
	})
	v.hammerMulti(t)
	equalMulti(t, v, n)

	// Holdfast leaves and misses writes to volume 1 alone.
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	n.each(func(int) { n.state("StandAlone", "UpToDate", "DUnknown") })
	v.await(t, "grep -c cs:WFConnection /proc/drbd", "2\n")
	v.run(t, "hammer /dev/drbd2 1 9")
	n.number = 1
	moved := n.last().ResyncedBytes
	n.number = 0
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	n.number = 1
	n.until("the resync of volume 1", func(s *api.VolumeStatus) bool { return s.ResyncedBytes > moved })
	n.number = 0
	equalMulti(t, v, n)
	v.run(t, "drbdadm verify r0/1 2>&1")
	v.await(t, "dmesg | grep -c 'Online verify done'", "1\n")
	equalMulti(t, v, n)

	// The kernel's disk of volume 1 is given up and comes back, volume 0 goes on all the while.
	v.run(t, "drbdadm detach r0/1 2>&1")
	n.number = 1
	n.state("Connected", "UpToDate", "Diskless")
	n.number = 0
	n.state("Connected", "UpToDate", "UpToDate")
	v.hammerMulti(t)
	v.run(t, "drbdadm attach r0/1 2>&1")
	equalMulti(t, v, n)

	// And back: the kernel is Secondary, and leaves.
	v.run(t, "drbdadm secondary r0 2>&1")
	n.each(func(int) {
		n.until("the kernel being Secondary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	})
	n.ok(api.VolumeDo{Verb: api.VolumePrimary})
	v.run(t, "drbdadm disconnect r0 2>&1")
	n.each(func(int) { n.state("WFConnection", "UpToDate", "DUnknown") })
	n.hammerMulti(writing())
	v.run(t, "drbdadm connect r0 2>&1")
	equalMulti(t, v, n)
	if log := v.run(t, "dmesg | grep -iE 'drbd.*(BAD!|protocol error|unexpected)' || true"); strings.TrimSpace(log) != "" {
		t.Errorf("the kernel complains: %s", log)
	}
}

// TestMultiSplitBrain: of one volume; the kernel refuses the connection for both, and giving one side up settles it.
func TestMultiSplitBrain(t *testing.T) {
	v, n := coupleMulti(t, "")
	v.run(t, "drbdadm up r0 2>&1")
	n.up()
	n.each(func(int) { n.state("Connected", "Inconsistent", "Inconsistent") })
	n.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	equalMulti(t, v, n)
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	v.await(t, "grep -cE 'cs:(WFConnection|StandAlone)' /proc/drbd", "2\n")
	v.run(t, "drbdadm disconnect r0 2>&1; drbdadm primary r0/1 2>&1; dd if=/dev/urandom of=/dev/drbd2 bs=4k count=3 oflag=direct 2>&1; drbdadm secondary r0/1 2>&1")
	n.number = 1
	n.write(1<<20, noise(3, 8192))
	n.number = 0
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	v.run(t, "drbdadm connect r0 2>&1")
	n.each(func(int) {
		n.until("a refusal", func(s *api.VolumeStatus) bool { return s.Conn == "StandAlone" && s.Reason != "" })
	})
	v.await(t, "grep -c cs:StandAlone /proc/drbd", "2\n")
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	v.run(t, "drbdadm -- --discard-my-data connect r0 2>&1")
	equalMulti(t, v, n)
}

// TestMultiCrash: a side loses its power while both volumes are written, first holdfast as Primary, then the kernel as Secondary; what
// either lacks of either volume is resynced.
func TestMultiCrash(t *testing.T) {
	v, n := coupleMulti(t, "")
	v.run(t, "drbdadm up r0 2>&1")
	n.up()
	n.each(func(int) { n.state("Connected", "Inconsistent", "Inconsistent") })
	n.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	equalMulti(t, v, n)
	n.hammerMulti(writing())
	n.each(func(number int) { n.write(int64(number)<<20, noise(int64(number), 1<<16)) }) // not flushed
	n.crash()
	v.await(t, "grep -c cs:WFConnection /proc/drbd", "2\n")
	n.up()
	equalMulti(t, v, n)
	n.ok(api.VolumeDo{Verb: api.VolumePrimary})
	n.each(func(number int) { n.write(int64(number)<<20, noise(int64(number)+7, 1<<16)) })
	v.crash(t)
	n.each(func(int) { n.state("WFConnection", "UpToDate", "DUnknown") })
	n.hammerMulti(writing())
	v.boot(t)
	v.rewrite(t, n.text)
	v.run(t, "drbdadm up r0 2>&1")
	equalMulti(t, v, n)
}
