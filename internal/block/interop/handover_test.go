package interop

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/backing"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/metastore"
	"holdfast/internal/drbdutils"
)

// handover is a host whose disk changes hands between holdfast and the kernel's module: each finds what the other has left in
// the metadata, and a file system on the device. The peer is holdfast's all the while.
type handover struct {
	*guest
	n      *node
	meta   handoverMeta
	module bool   // the kernel's module has the disk, not holdfast
	sums   string // of the files that must be there, as md5sum prints them
	dirs   int    // of files, so far
}

// What is on the device: a file system, and room behind it for writes that are none of its business, in bytes.
const (
	handoverFS   = 64 << 20
	handoverTail = 72 << 20
)

const handoverText = `global { usage-count no; }
resource r0 {
  protocol C;
  net { ping-timeout 50; socket-check-timeout 3; timeout 200; connect-int 1; }
  disk { resync-rate 100M; c-plan-ahead 0; }
  on front { device /dev/drbd1; disk /dev/vdb; address 10.77.0.2:7788; %s; }
  on nodeB { device /dev/drbd1; disk %s; address 10.77.0.254:7788; meta-disk internal; }
}`

// TestHandover: a disk that holdfast replicated is given to the kernel's module, which mounts what is on it, and is given back:
// after a clean stop, with writes the peer has not seen, after a kill of holdfast's processes in the midst of writes, and after a
// power cut with the module Primary. What was acknowledged is there each time, and the peer gets what it lacks and not more.
func TestHandover(t *testing.T) {
	forLong(t)
	for _, c := range []struct {
		front string
		meta  handoverMeta
		first bool // played with more
	}{
		{front: api.FrontUBLK, first: true},
		{front: api.FrontNBD},
		{front: api.FrontFUSE},
		{front: api.FrontUBLK, meta: handoverMeta{"meta-disk /dev/vdd[0]", metadata.Indexed, "0"}},
		{front: api.FrontFUSE, meta: handoverMeta{"flexible-meta-disk /dev/vdd", metadata.Flexible, "flex-external"}},
	} {
		if c.meta.option == "" {
			c.meta = handoverMeta{"meta-disk internal", metadata.Internal, "internal"}
		}
		t.Run(c.front+", "+c.meta.option, func(t *testing.T) {
			h := newHandover(t, c.front, c.meta)
			h.cleanly()
			h.alone()
			h.killed(false)
			h.powerCut(true)
			if c.first {
				h.killed(true)
				h.powerCut(false)
				h.unfinished()
			}
		})
	}
}

// handoverMeta is where a disk's metadata are: the option of the configuration, and what drbdmeta calls that.
type handoverMeta struct {
	option string
	kind   metadata.Kind
	index  string
}

// newHandover has holdfast Primary on a front end, with a file system and in sync with the peer.
func newHandover(t *testing.T, front string, meta handoverMeta) *handover {
	t.Helper()
	g := needFront(t, front)
	dir := shortDir(t)
	text := fmt.Sprintf(handoverText, meta.option, filepath.Join(dir, "disk"))
	t.Cleanup(func() {
		g.sh("umount /data 2>/dev/null || true; drbdadm down r0 >/dev/null 2>&1 || true")
		g.fresh(aloneText)
	})
	h := &handover{guest: g, meta: meta, n: newNode(t, dir, text, frontDisk+1<<20)}
	h.n.up()
	g.fresh(text)
	h.sh(fmt.Sprintf("mkfs.ext4 -q $(device) %dk", handoverFS>>10))
	h.whole()
	h.mount()
	return h
}

// drbdadm is a command to whoever has the disk.
func (h *handover) drbdadm(verb string) {
	h.t.Helper()
	if h.module {
		h.sh("drbdadm " + verb + " r0 2>&1")
		return
	}
	h.sh("timeout 60 holdfast drbd " + verb + " r0 2>&1")
}

func (h *handover) mount() {
	h.t.Helper()
	h.drbdadm("primary")
	h.sh("mount -t ext4 /dev/drbd1 /data")
}

func (h *handover) unmount() {
	h.t.Helper()
	h.sh("umount /data")
	h.drbdadm("secondary")
}

// whole waits until both sides are UpToDate and connected, with nothing left to resync.
func (h *handover) whole() {
	h.t.Helper()
	h.n.until("both UpToDate", func(s *api.VolumeStatus) bool {
		return s.Conn == "Connected" && s.Disk == "UpToDate" && s.PeerDisk == "UpToDate" && s.Counters.OOS == 0
	})
	if h.module {
		h.states(h.t, "cs:Connected", "ds:UpToDate/UpToDate", " oos:0\n")
	}
}

// same is whole for a device nobody uses, whose replicas are compared.
func (h *handover) same() {
	h.t.Helper()
	h.whole()
	h.n.identical(h.machine)
}

// handOver gives the disk, which is at rest, from the one to the other.
func (h *handover) handOver() {
	h.t.Helper()
	h.drbdadm("down")
	h.readAlike()
	gi := h.generations()
	if peer := h.n.last().CurrentUUID; !sameGeneration(h.t, gi[0], peer) || !slices.Equal(gi[4:7], []string{"1", "1", "0"}) {
		h.t.Errorf("a clean stop leaves the generations and flags %q; the peer has %s", gi, peer)
	}
	h.take(!h.module)
}

// take has the module, or holdfast, attach the disk and connect.
func (h *handover) take(module bool) {
	h.t.Helper()
	h.module = module
	if module {
		h.sh("modprobe drbd; [ ! -L /dev/drbd1 ] || rm /dev/drbd1")
	}
	h.drbdadm("up")
}

// write puts files into a directory of their own, durably.
func (h *handover) write() {
	h.t.Helper()
	h.dirs++
	h.sums += h.sh(fmt.Sprintf(`mkdir /data/d%[1]d
for i in $(seq 6); do dd if=/dev/urandom of=/data/d%[1]d/$i bs=1k count=$((i * 53 %% 200 + 1)) 2>/dev/null; done
sync
md5sum /data/d%[1]d/*`, h.dirs))
}

// check reads all files that must be there.
func (h *handover) check() {
	h.t.Helper()
	h.sh("cat > /tmp/sums <<'EOF'\n" + h.sums + "EOF\nmd5sum -c /tmp/sums > /tmp/checked 2>&1 || { grep -v ': OK$' /tmp/checked; exit 1; }")
}

// writeOn has files written without end, one after the other and each durable before the next, and waits for some.
func (h *handover) writeOn() {
	h.t.Helper()
	h.dirs++
	h.sh(fmt.Sprintf(`mkdir /data/d%[1]d; sync; : > /tmp/durable
(for i in $(seq 400); do
  f=/data/d%[1]d/$i
  dd if=/dev/urandom of=$f bs=1k count=$((i * 53 %% 100 + 1)) conv=fsync 2>/dev/null || break
  md5sum $f >> /tmp/durable
done) > /dev/null 2>&1 &
await '[ $(wc -l < /tmp/durable) -ge 8 ]'`, h.dirs))
}

// noteDurable takes what writeOn has finished until now for acknowledged.
func (h *handover) noteDurable() {
	h.t.Helper()
	out := h.sh("cat /tmp/durable")
	h.sums += out[:strings.LastIndex(out, "\n")+1]
}

// cleanly: the disk is given to the module and back after clean stops. Nothing is to be resynced.
func (h *handover) cleanly() {
	h.t.Helper()
	moved := h.n.last().ResyncedBytes
	for range 2 {
		h.write()
		h.unmount()
		h.same()
		h.handOver()
		h.whole()
		h.mount()
		h.check()
	}
	h.write()
	if got := h.n.last().ResyncedBytes; got != moved {
		h.t.Errorf("%d bytes were resynced after clean stops", got-moved)
	}
}

// alone: each of the two writes while the peer is away, and gives the disk to the other, which knows what the peer lacks.
func (h *handover) alone() {
	h.t.Helper()
	for range 2 {
		h.n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
		h.write()
		h.unmount()
		h.drbdadm("down")
		want, moved := h.outOfSync(), h.n.last().ResyncedBytes
		h.take(!h.module)
		h.n.ok(api.VolumeDo{Verb: api.VolumeConnect})
		h.same()
		if got := h.n.last().ResyncedBytes - moved; want == 0 || got != want {
			h.t.Errorf("the peer lacked %d bytes, as the metadata said, and %d were resynced", want, got)
		}
		h.mount()
		h.check()
	}
}

// unfinished: each of the two gives the disk away in the midst of a resync, and the other takes that up.
func (h *handover) unfinished() {
	h.t.Helper()
	h.unmount()
	h.same()
	for range 2 {
		h.drbdadm("pause-sync")
		h.drbdadm("invalidate")
		h.n.state("PausedSyncS", "UpToDate", "Inconsistent")
		h.drbdadm("down")
		h.n.state("WFConnection", "UpToDate", "DUnknown")
		h.readAlike()
		if gi := h.generations(); gi[4] != "0" {
			h.t.Errorf("the flags of a disk that is not resynced yet are %q", gi[4:])
		}
		moved := h.n.last().ResyncedBytes
		h.take(!h.module)
		h.same()
		if got := h.n.last().ResyncedBytes - moved; got < h.n.size() {
			h.t.Errorf("%d bytes of %d were resynced", got, h.n.size())
		}
	}
	h.mount()
	h.check()
}

// killed: holdfast's processes are killed while it is Primary and files are written; then the power goes, and with it the mount.
// The module gets the disk. In the meantime the peer may have been promoted.
func (h *handover) killed(promoted bool) {
	h.t.Helper()
	h.writeOn()
	h.noteDurable()
	h.sh(`kill -9 $(process daemon) $(process guard) $(process "volume r0")`)
	h.cutAndTake(promoted)
}

// powerCut: the power goes while the module is Primary and files are written. holdfast gets the disk.
func (h *handover) powerCut(promoted bool) {
	h.t.Helper()
	h.writeOn()
	h.noteDurable()
	h.cutAndTake(promoted)
}

// cutAndTake cuts the power and gives the disk to the other: what the log of activity has is out of sync. If the peer has gone on
// alone, this disk follows it, or else the peer follows.
func (h *handover) cutAndTake(promoted bool) {
	h.t.Helper()
	h.crash(h.t)
	h.n.ok(api.VolumeDo{Verb: api.VolumeDisconnect}) // rather than wait until it is missed
	h.readAlike()
	if gi := h.generations(); gi[6] != "1" || !sameGeneration(h.t, gi[0], h.n.last().CurrentUUID) {
		h.t.Errorf("the generations and flags of a crashed Primary are %q; the peer has %s", gi, h.n.last().CurrentUUID)
	}
	moved := h.n.last().ResyncedBytes
	if promoted {
		h.n.ok(api.VolumeDo{Verb: api.VolumePrimary})
		h.n.write(handoverTail, noiseAligned(int64(h.dirs), 64<<10))
	}
	h.boot(h.t)
	h.run(h.t, guestSetup)
	h.configure(h.n.text)
	h.take(!h.module)
	h.n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	h.whole()
	if got := h.n.last().ResyncedBytes - moved; got < metadata.ExtentSize || got >= h.n.size() {
		h.t.Errorf("%d bytes were resynced for the extents of the activity log", got)
	}
	if promoted {
		h.n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	}
	h.same()
	h.mount()
	h.check()
	h.write()
}

// configure writes the resource's file on the host.
func (h *handover) configure(text string) {
	h.t.Helper()
	h.sh("cat > /etc/drbd.d/r0.res <<'EOF'\n" + text + "\nEOF\n")
	h.choose(h.front)
}

// copied is a copy of the disk with the metadata, which is at rest.
func (h *handover) copied() string {
	h.t.Helper()
	path, from := filepath.Join(h.t.TempDir(), "copy"), h.disk()
	if h.meta.kind != metadata.Internal {
		from = frontMetaFile()
	}
	if out, err := exec.Command("cp", "--sparse=always", from, path).CombinedOutput(); err != nil {
		h.t.Fatalf("copy the disk: %v: %s", err, out)
	}
	return path
}

// outOfSync is how many bytes the metadata of the disk, which is at rest, says the peer lacks.
func (h *handover) outOfSync() int64 {
	h.t.Helper()
	var n int64
	h.withMetadata(h.copied(), func(s *metastore.Store) {
		bits, err := s.Bitmap()
		must(h.t, err)
		n = int64(bits.Count()) * metadata.BytesPerBit
	})
	return n
}

// generations are what drbdmeta reads on the disk: current, bitmap's and two older generations, and the flags Consistent,
// WasUpToDate, PrimaryInd, ConnectedInd and others.
func (h *handover) generations() []string {
	h.t.Helper()
	list := strings.Split(strings.TrimSpace(h.drbdmeta(h.copied(), "get-gi")), ":")
	if len(list) < 8 {
		h.t.Fatalf("generations: %q", list)
	}
	return list
}

// readAlike has drbdmeta and us apply the activity log of a copy of the disk each, and compares what both then read: the
// generations, and all of the bitmap.
func (h *handover) readAlike() {
	h.t.Helper()
	theirs, ours := h.copied(), h.copied()
	h.drbdmeta(theirs, "apply-al")
	h.withMetadata(ours, func(s *metastore.Store) {
		_, err := s.ApplyAL()
		must(h.t, err)
	})
	h.withMetadata(theirs, func(t *metastore.Store) {
		h.withMetadata(ours, func(o *metastore.Store) {
			if t.SB != o.SB || t.Layout != o.Layout {
				h.t.Errorf("metadata after apply-al: drbdmeta has %+v, we have %+v", t.SB, o.SB)
			}
			tb, err := t.Bitmap()
			must(h.t, err)
			ob, err := o.Bitmap()
			must(h.t, err)
			for i := range tb.Words() {
				if tb.Word(i) != ob.Word(i) {
					h.t.Fatalf("word %d of the bitmap after apply-al: drbdmeta has %x, we have %x", i, tb.Word(i), ob.Word(i))
				}
			}
		})
	})
	if a, b := h.drbdmeta(theirs, "get-gi"), h.drbdmeta(ours, "get-gi"); a != b {
		h.t.Errorf("drbdmeta reads %s in its own metadata, %s in ours", a, b)
	}
}

// withMetadata reads the metadata of a copy.
func (h *handover) withMetadata(path string, f func(*metastore.Store)) {
	h.t.Helper()
	d, err := backing.Open(path)
	must(h.t, err)
	defer d.Close()
	s, err := metastore.Open(d, h.meta.kind, 0)
	must(h.t, err)
	f(s)
}

// drbdmeta runs the real tool on a copy of a disk and gives what it prints, without its remarks.
func (h *handover) drbdmeta(path, verb string) string {
	h.t.Helper()
	c := exec.Command("drbdmeta", "--force", drbdutils.Minor(), "v08", path, h.meta.index, verb)
	var remarks strings.Builder
	c.Stderr = &remarks
	out, err := c.Output()
	if err != nil {
		h.t.Fatalf("drbdmeta %s: %v: %s%s", verb, err, out, remarks.String())
	}
	return string(out)
}

// sameGeneration compares two UUIDs, of which the lowest bit only says whose they were.
func sameGeneration(t testing.TB, a, b string) bool {
	t.Helper()
	x, err := strconv.ParseUint(a, 16, 64)
	must(t, err)
	y, err := strconv.ParseUint(b, 16, 64)
	must(t, err)
	return x&^1 == y&^1
}
