package interop

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/disk"
)

// badDisk is a disk whose ranges can be made bad.
type badDisk struct {
	disk.Device
	mu  sync.Mutex
	bad [][2]int64 // offset and end
}

var errBad = errors.New("bad block")

func (d *badDisk) ruin(off, length int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad = append(d.bad, [2]int64{off, off + length})
}

func (d *badDisk) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad = nil
}

func (d *badDisk) check(off, length int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.bad {
		if off < b[1] && b[0] < off+length {
			return fmt.Errorf("%w at %d", errBad, b[0])
		}
	}
	return nil
}

// ReadAt fails in a bad range.
func (d *badDisk) ReadAt(p []byte, off int64) error {
	if err := d.check(off, int64(len(p))); err != nil {
		return err
	}
	return d.Device.ReadAt(p, off)
}

// WriteAt fails in a bad range.
func (d *badDisk) WriteAt(p []byte, off int64) error {
	if err := d.check(off, int64(len(p))); err != nil {
		return err
	}
	return d.Device.WriteAt(p, off)
}

// Discard fails in a bad range.
func (d *badDisk) Discard(off, n int64) error {
	if err := d.check(off, n); err != nil {
		return err
	}
	return d.Device.Discard(off, n)
}

// WriteZeroes fails in a bad range.
func (d *badDisk) WriteZeroes(off, n int64) error {
	if err := d.check(off, n); err != nil {
		return err
	}
	return d.Device.WriteZeroes(off, n)
}

// spoiled has the node's disks be ones that can be made bad.
func (n *node) spoiled() *badDisk {
	bad := &badDisk{}
	n.wrap = func(d disk.Device) disk.Device {
		bad.Device = d
		return bad
	}
	return bad
}

// TestZeroesWithDigests: with data-integrity-alg the kernel takes no P_ZEROES; ranges are zeros on both sides all the same.
func TestZeroesWithDigests(t *testing.T) {
	v, n := couple(t, "C", "data-integrity-alg md5;", "")
	inSync(t, v, n, true)
	n.write(1<<20, noiseAligned(3, 256<<10))
	for i, op := range []kernel.Op{kernel.WriteZeroes, kernel.Discard, kernel.WriteZeroes} {
		if err := n.wait(n.submit(op, 1<<20+int64(i)*64<<10, nil, 32<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.read(1<<20, 32<<10); !bytes.Equal(got, make([]byte, 32<<10)) {
		t.Error("a zeroed range is not zero")
	}
	equal(t, v, n)
}

// TestDisklessHoldfast: holdfast's Primary loses its disk while an application writes; the kernel's serves it, and is the
// source when the disk is back, while the application goes on.
func TestDisklessHoldfast(t *testing.T) {
	v, n := couple(t, "C", "data-integrity-alg md5;", "")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(v.run(t, "dmesg | tail -n 40"))
		}
	})
	bad := n.spoiled()
	inSync(t, v, n, true)
	n.write(1<<20, noiseAligned(3, 64<<10))
	bad.ruin(1<<20, 4096)
	if got := n.read(1<<20, 64<<10); !bytes.Equal(got, noise(3, 64<<10)) {
		t.Error("another content from the kernel's disk")
	}
	n.state("Connected", "Diskless", "UpToDate")
	v.states(t, "cs:Connected ro:Secondary/Primary ds:UpToDate/Diskless")
	writes(t, v, n, true, "discard")
	r := n.submit(kernel.Write, 0, noiseAligned(4, 4096), 4096)
	if err := n.wait(r); err != nil {
		t.Fatal(err)
	}
	if got := n.read(0, 4096); !bytes.Equal(got, noise(4, 4096)) {
		t.Error("a write is not read back")
	}
	n.flush()
	// The connection is lost and comes back: only this data will do, and it does.
	v.run(t, "drbdadm disconnect r0 2>&1")
	n.state("WFConnection", "Diskless", "DUnknown")
	if err := n.wait(n.submit(kernel.Write, 0, aligned(4096), 4096)); err == nil {
		t.Error("a write without any disk was acknowledged")
	}
	v.run(t, "drbdadm connect r0 2>&1")
	n.state("Connected", "Diskless", "UpToDate")
	bad.heal()
	n.ok(api.VolumeDo{Verb: api.VolumeAttach})
	writes(t, v, n, true, "discard")
	equal(t, v, n)
	// Given back by the operator; the roles change while there is no disk.
	n.ok(api.VolumeDo{Verb: api.VolumeDetach})
	n.state("Connected", "Diskless", "UpToDate")
	swap(t, v, n)
	writes(t, v, n, false, "")
	swap(t, v, n)
	n.state("Connected", "Diskless", "UpToDate")
	writes(t, v, n, true, "")
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	n.ok(api.VolumeDo{Verb: api.VolumeAttach})
	equal(t, v, n)
}

// TestPassOn: holdfast's disk has bad blocks, which are the kernel's from then on; the resync after a new connection writes
// them again.
func TestPassOn(t *testing.T) {
	v, n := couple(t, "C", "", "on-io-error pass_on;")
	bad := n.spoiled()
	inSync(t, v, n, true)
	n.write(1<<20, noiseAligned(3, 64<<10))
	bad.ruin(1<<20+8192, 4096)
	if got := n.read(1<<20, 64<<10); !bytes.Equal(got, noise(3, 64<<10)) {
		t.Error("another content from the kernel's disk")
	}
	v.states(t, "cs:Connected ro:Secondary/Primary ds:UpToDate/Inconsistent")
	writes(t, v, n, true, "discard")
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	bad.heal()
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	equal(t, v, n)
}
