package backing

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

func newFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *Device {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// TestAgainstMemory does the same to a file and to a slice, with every alignment a sector device allows.
func TestAgainstMemory(t *testing.T) {
	const size = 1 << 20
	d := open(t, newFile(t, size+100)) // a part sector at the end does not count
	if d.Size() != size {
		t.Fatalf("size %d", d.Size())
	}
	model := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		off := rng.Int64N(size/512) * 512
		n := min(rng.Int64N(40)*512+512, size-off)
		var err error
		switch i % 4 {
		case 0, 1:
			p := bytes.Repeat([]byte{byte(i)}, int(n))
			copy(model[off:], p)
			err = d.WriteAt(p, off)
		case 2:
			clear(model[off : off+n])
			err = d.WriteZeroes(off, n)
		case 3:
			clear(model[off : off+n])
			err = d.Discard(off, n)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, model) {
		t.Error("the file holds something else")
	}
	if p := make([]byte, 512); d.ReadAt(p, 512*7) != nil || !bytes.Equal(p, model[512*7:512*8]) {
		t.Error("a sector reads as something else")
	}
}

func TestRefusals(t *testing.T) {
	d := open(t, newFile(t, 1<<20))
	for _, c := range []struct{ off, n int64 }{{-512, 512}, {0, 1}, {1, 512}, {1 << 20, 512}, {1<<20 - 512, 1024}, {1 << 62, 1 << 20}} {
		if d.WriteAt(make([]byte, c.n), c.off) == nil || d.Discard(c.off, c.n) == nil || d.ReadAt(make([]byte, c.n), c.off) == nil {
			t.Errorf("range %d+%d was accepted", c.off, c.n)
		}
	}
	for path, want := range map[string]string{
		filepath.Join(t.TempDir(), "none"): "no such file",
		"/dev/null":                        "not a block device or a file",
		t.TempDir():                        "not a block device or a file",
		d.path:                             "another process uses it",
	} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %s: %v, want %q", path, err, want)
		}
	}
}

func TestBufferIsPageAligned(t *testing.T) {
	for _, n := range []int{512, 4096, 5000, 1 << 20} {
		b := Buffer(n)
		if len(b) != n || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%4096 != 0 {
			t.Errorf("buffer of %d bytes: %d at %p", n, len(b), b)
		}
	}
}
