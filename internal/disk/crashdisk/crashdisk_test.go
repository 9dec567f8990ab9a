package crashdisk

import (
	"errors"
	"testing"

	"holdfast/internal/disk"
)

func block(b byte) []byte {
	p := make([]byte, 2*disk.SectorSize)
	for i := range p {
		p[i] = b
	}
	return p
}

// TestCrashes writes twice to one place, a flush between, and looks for every content a disk may have then.
func TestCrashes(t *testing.T) {
	d := New(4 * disk.SectorSize)
	for _, b := range []byte{1, 2} {
		if err := errors.Join(d.WriteAt(block(b), 0), d.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.WriteAt(block(3), 1024); err != nil {
		t.Fatal(err)
	}
	type state struct {
		ops                       int
		first, second, third, end byte
	}
	seen := map[state]bool{}
	for c := range d.Crashes(1, 20) {
		p := c.Content()
		seen[state{c.Ops, p[0], p[512], p[1024], p[1536]}] = true
	}
	for _, s := range []state{{0, 0, 0, 0, 0}, {1, 0, 0, 0, 0}, {1, 1, 1, 0, 0}, {1, 1, 0, 0, 0}, {1, 0, 1, 0, 0}, {2, 1, 1, 0, 0},
		{3, 1, 2, 0, 0}, {3, 2, 1, 0, 0}, {4, 2, 2, 0, 0}, {5, 2, 2, 3, 0}, {5, 2, 2, 0, 3}, {5, 2, 2, 3, 3}} {
		if !seen[s] {
			t.Errorf("%+v was never shown", s)
		}
	}
	for s := range seen {
		if s.ops >= 2 && (s.first == 0 || s.second == 0) || s.ops >= 4 && (s.first != 2 || s.second != 2) || s.ops < 5 && s.third != 0 {
			t.Errorf("%+v lost what was flushed, or has what was not yet written", s)
		}
	}
}

func TestFaults(t *testing.T) {
	bad := errors.New("bad")
	d := New(2048)
	d.FailAt(2, Fault{Err: bad, Keep: 1, Ever: true})
	if err := d.WriteAt(block(1), 0); err != nil || d.Failed() {
		t.Fatal(err)
	}
	if err := d.WriteAt(block(2), 1024); !errors.Is(err, bad) || !d.Failed() {
		t.Fatal(err)
	}
	if p := d.Content(); p[1024] != 2 || p[1536] != 0 {
		t.Errorf("a write of which one sector is to be kept left %d %d", p[1024], p[1536])
	}
	if err := d.Flush(); !errors.Is(err, bad) {
		t.Errorf("a flush after it: %v", err)
	}
	if err := d.ReadAt(make([]byte, 100), 0); err == nil {
		t.Error("a read of no whole sectors")
	}
	if err := d.ReadAt(make([]byte, 512), 2048); err == nil {
		t.Error("a read beyond the end")
	}
}
