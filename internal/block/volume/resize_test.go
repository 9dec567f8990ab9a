package volume

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/metastore"
	"holdfast/internal/block/resfile"
	"holdfast/internal/disk"
)

const more = 16 << 20

func (n *node) untilSize(size int64) {
	n.t.Helper()
	n.until(fmt.Sprintf("%d bytes", size), func(s *api.VolumeStatus) bool { return s.SizeBytes == size })
	if n.size() != size {
		n.t.Errorf("%s: the device has %d bytes, want %d", n.name, n.size(), size)
	}
}

// sizeOf is what a disk of so many bytes has room for beside its metadata.
func sizeOf(t *testing.T, bytes int64) int64 {
	t.Helper()
	l, err := metadata.NewLayout(metadata.Internal, bytes, 0, metadata.DefaultStripes())
	must(t, err)
	return l.Data
}

// TestResizeUnderLoad: both disks grow while the Primary writes; the metadata moves, what is new is resynced and usable, and a
// restart finds everything at the new end.
func TestResizeUnderLoad(t *testing.T) {
	for _, clean := range []bool{false, true} {
		for _, at := range []string{"a", "b"} {
			t.Run(fmt.Sprintf("at %s, assume-clean %v", at, clean), func(t *testing.T) {
				p := newPair(t, "")
				p.synced()
				w := p.a.writer(true)
				w.more(20)
				for _, n := range []*node{p.a, p.b} {
					n.disk.grow(more)
				}
				n := map[string]*node{"a": p.a, "b": p.b}[at]
				n.ok(api.VolumeDo{Verb: api.VolumeResize, AssumeClean: clean})
				w.more(20)
				size := sizeOf(t, diskSize+more)
				for _, n := range []*node{p.a, p.b} {
					n.untilSize(size)
					n.untilState("Connected", "UpToDate", "UpToDate")
				}
				p.a.write(size-4096, fill(7, 4096))
				if got := p.a.read(size-4096, 4096); !bytes.Equal(got, fill(7, 4096)) {
					t.Error("the new end cannot be used")
				}
				w.finish()
				p.a.flush()
				if !clean {
					p.identical()
				}
				w.intact(p.b)
				p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
				for _, n := range []*node{p.a, p.b} {
					n.restart(true)
					n.view(api.VolumeView{})
					n.ok(api.VolumeDo{Verb: api.VolumeUp})
				}
				for _, n := range []*node{p.a, p.b} {
					n.untilState("Connected", "UpToDate", "UpToDate")
					n.untilSize(size)
				}
			})
		}
	}
}

// TestResizeInACluster: both disks stay UpToDate, what is new reads as zeros on both, and writes there survive a failover.
func TestResizeInACluster(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(20)
	for _, n := range []*node{p.a, p.b} {
		n.disk.grow(more)
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeResize})
	was, size := sizeOf(t, diskSize), sizeOf(t, diskSize+more)
	for _, n := range []*node{p.a, p.b} {
		n.untilSize(size)
		n.untilState("Connected", "UpToDate", "UpToDate")
	}
	for _, n := range []*node{p.a, p.b} {
		if got := n.disk.content(size)[was:]; !bytes.Equal(got, make([]byte, size-was)) {
			t.Errorf("%s: what is new is not zero", n.name)
		}
	}
	p.a.write(size-4096, fill(7, 4096))
	w.more(20)
	w.finish()
	l.lose(p.a, true)
	l.promote(p.b)
	w.intact(p.b)
	if got := p.b.read(size-4096, 4096); !bytes.Equal(got, fill(7, 4096)) {
		t.Error("a write beyond the old end is lost")
	}
	l.back(p.a)
	l.whole()
}

// TestResizeRefused: what cannot be done changes nothing.
func TestResizeRefused(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	size := p.a.size()
	want := func(d api.VolumeDo, words string) {
		t.Helper()
		d.Verb = api.VolumeResize
		if r := p.a.do(d); r.Code != 10 || !strings.Contains(r.Error, words) {
			t.Errorf("%+v, want %q", r, words)
		}
		if p.a.size() != size || p.a.last().Conn != "Connected" {
			t.Errorf("something changed: %+v", p.a.last())
		}
	}
	want(api.VolumeDo{SizeBytes: size + 4096}, "(111) Low.dev. smaller than requested")
	want(api.VolumeDo{SizeBytes: 1000}, "no whole sectors")
	p.a.disk.grow(4096)
	want(api.VolumeDo{}, "has grown too little to move its metadata")
}

// TestExplicitShrink: with --size the device becomes smaller on both sides, and larger again.
func TestExplicitShrink(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	size := p.a.size()
	p.a.write(0, fill(3, 64<<10))
	for _, to := range []int64{8 << 20, 16 << 20} {
		p.a.ok(api.VolumeDo{Verb: api.VolumeResize, SizeBytes: to})
		for _, n := range []*node{p.a, p.b} {
			n.untilSize(to)
			n.untilState("Connected", "UpToDate", "UpToDate")
		}
		if err := p.a.wait(p.a.submit(kernel.Write, to, fill(1, 4096), 4096)); err == nil {
			t.Error("a write beyond the end was taken")
		}
		p.a.write(to-4096, fill(4, 4096))
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilSize(16 << 20) // and not what the disks have room for
	p.a.ok(api.VolumeDo{Verb: api.VolumeResize})
	for _, n := range []*node{p.a, p.b} {
		n.untilSize(size)
		n.untilState("Connected", "UpToDate", "UpToDate")
	}
	p.identical()
}

// TestResizeAlone: with --assume-peer-has-space; the peer follows when it is back with a disk as large.
func TestResizeAlone(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.b.stop(false)
	p.a.untilState("WFConnection", "UpToDate", "DUnknown")
	p.a.disk.grow(more)
	p.a.ok(api.VolumeDo{Verb: api.VolumeResize, AssumePeerHasSpace: true})
	size := sizeOf(t, diskSize+more)
	p.a.untilSize(size)
	p.a.write(size-8192, fill(5, 8192))
	p.b.disk.grow(more)
	_, err := metastore.Move(p.b.disk, diskSize) // drbdadm check-resize
	must(t, err)
	p.b.start()
	p.b.view(api.VolumeView{})
	p.b.ok(api.VolumeDo{Verb: api.VolumeUp})
	for _, n := range []*node{p.a, p.b} {
		n.untilState("Connected", "UpToDate", "UpToDate")
		n.untilSize(size)
	}
	p.a.flush()
	p.identical()
}

// countedDisk fails the write or flush whose turn it is, and all after it.
type countedDisk struct {
	*memDisk
	left int
}

var errCounted = errors.New("the power is gone")

func (d *countedDisk) spend() error {
	if d.left--; d.left < 0 {
		return errCounted
	}
	return nil
}

// WriteAt counts.
func (d *countedDisk) WriteAt(p []byte, off int64) error {
	if err := d.spend(); err != nil {
		return err
	}
	return d.memDisk.WriteAt(p, off)
}

// Flush counts.
func (d *countedDisk) Flush() error {
	if err := d.spend(); err != nil {
		return err
	}
	return d.memDisk.Flush()
}

// TestMoveIsCutAnywhere: a power cut at every write and flush of the move leaves metadata at the old or the new end, with every
// bit that was set.
func TestMoveIsCutAnywhere(t *testing.T) {
	p := newPair(t, "")
	self, _, err := p.a.res.For("a")
	must(t, err)
	v := self.Volumes[0]
	for n := 0; ; n++ {
		d := &countedDisk{memDisk: newMemDisk(diskSize), left: 1 << 30}
		d.format(t, 0xa1)
		open := func(string) (disk.Device, error) { return d, nil }
		s := attached(t, open, v)
		s.bits.Clear(0, s.bits.Bits())
		s.bits.Set(5, 7)
		must(t, s.writeBitmap(nil))
		d.grow(more)
		l, err := s.measure(0)
		must(t, err)
		must(t, s.mayMove(l))
		d.left = n
		err = s.move(l, nil)
		if err == nil {
			err = s.resize(s.roomIn(l), true, nil)
		}
		after := d.memDisk.powerCut()
		if _, err := metastore.Open(after, metadata.Internal, 0); err != nil {
			if _, err := metastore.Move(after, diskSize); err != nil {
				t.Fatalf("after %d writes and flushes: neither at the old nor at the new end: %v", n, err)
			}
		}
		s = attached(t, func(string) (disk.Device, error) { return after, nil }, v)
		for bit := uint64(5); bit < 12; bit++ {
			if !s.bits.Test(bit) {
				t.Fatalf("after %d writes and flushes bit %d is lost", n, bit)
			}
		}
		if grown := s.size > sizeOf(t, diskSize); grown && !s.bits.Test(s.bits.Bits()-1) {
			t.Fatalf("after %d writes and flushes new blocks count as in sync", n)
		}
		if err == nil {
			if n < 10 {
				t.Fatalf("only %d writes and flushes", n)
			}
			return
		}
		if !errors.Is(err, errCounted) {
			t.Fatal(err)
		}
	}
}

func attached(t *testing.T, open func(string) (disk.Device, error), v *resfile.Volume) *store {
	t.Helper()
	s, err := openStore(open, v, nil)
	must(t, err)
	must(t, s.recover())
	return s
}
