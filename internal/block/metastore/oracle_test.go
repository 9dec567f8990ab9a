package metastore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/block/metadata"
	"holdfast/internal/disk/crashdisk"
	"holdfast/internal/drbdutils"
)

// Every recorded image is the end of a disk of 64 MiB.
const recordedSize = 64 << 20

// recordings finds the images of metadata that the kernel module wrote, by name; the test is skipped without them.
func recordings(t *testing.T) map[string][]byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	images := map[string][]byte{}
	for ; dir != "/" && len(images) == 0; dir = filepath.Dir(dir) {
		names, err := filepath.Glob(filepath.Join(dir, "shared/reference/drbd84/meta/*.bin"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			tail, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			images[strings.TrimSuffix(filepath.Base(name), ".tail132k.bin")] = tail
		}
	}
	if len(images) == 0 {
		t.Skip("the recorded metadata images are not here")
	}
	return images
}

// tailDisk is a disk of 64 MiB of which only the end is kept; nothing else is touched.
type tailDisk struct{ *crashdisk.Disk }

func (d tailDisk) start() int64                      { return recordedSize - d.Disk.Size() }
func (d tailDisk) Size() int64                       { return recordedSize }
func (d tailDisk) ReadAt(p []byte, off int64) error  { return d.Disk.ReadAt(p, off-d.start()) }
func (d tailDisk) WriteAt(p []byte, off int64) error { return d.Disk.WriteAt(p, off-d.start()) }
func (d tailDisk) WriteZeroes(off, length int64) error {
	return d.Disk.WriteZeroes(off-d.start(), length)
}

// drbdmeta runs the real tool on the end of a disk and returns what it left and its exit code; the test is skipped without it.
func drbdmeta(t *testing.T, image []byte, args ...string) ([]byte, int) {
	t.Helper()
	tool, err := exec.LookPath("drbdmeta")
	if err != nil {
		t.Skip("drbdmeta is not installed")
	}
	file := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(image, recordedSize-int64(len(image))); err != nil {
		t.Fatal(err)
	}
	err = exec.Command(tool, append([]string{"--force", drbdutils.Minor(), "v08", file, "internal"}, args...)...).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	after := make([]byte, len(image))
	if _, err := f.ReadAt(after, recordedSize-int64(len(image))); err != nil {
		t.Fatal(err)
	}
	if exit != nil {
		return after, exit.ExitCode()
	}
	return after, 0
}

// TestLikeDrbdmeta lets the real tool and ours do the same to what the kernel module left in many states, crashed Primaries
// among them, and compares all bytes.
func TestLikeDrbdmeta(t *testing.T) {
	ours := map[string]func(*Store) error{
		"apply-al":   func(s *Store) error { _, err := s.ApplyAL(); return err },
		"outdate":    (*Store).Outdate,
		"invalidate": (*Store).Invalidate,
	}
	for name, image := range recordings(t) {
		for verb, do := range ours {
			real, code := drbdmeta(t, image, verb)
			d := crashdisk.From(bytes.Clone(image))
			s, err := Open(tailDisk{d}, metadata.Internal, 0)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := do(s); (err != nil) != (code != 0) {
				t.Errorf("%s %s: %v, drbdmeta's exit code is %d", name, verb, err, code)
			}
			if e := equal(s.Layout, real, d.Content()); e != "" {
				t.Errorf("%s %s: %s", name, verb, e)
			}
		}
	}
}

// equal looks for a difference of two ends of disks. The real tool also sets bits of blocks beyond the end of the volume, which
// mean nothing.
func equal(l metadata.Layout, real, ours []byte) string {
	start := recordedSize - int64(len(real))
	const bitmapPages = 1
	var bits [2]*metadata.Bitmap
	for i, p := range [2][]byte{real, ours} {
		bits[i] = metadata.NewBitmap(l.Data)
		if err := bits[i].Decode(p[l.Bitmap-start:]); err != nil {
			return err.Error()
		}
	}
	for i := range bits[0].Words() {
		if a, b := bits[0].Word(i), bits[1].Word(i); a != b {
			return fmt.Sprintf("word %d of the bitmap is %x, with drbdmeta %x", i, b, a)
		}
	}
	for i := range real {
		if at := start + int64(i); real[i] != ours[i] && (at < l.Bitmap || at >= l.Bitmap+bitmapPages*metadata.BlockSize) {
			return fmt.Sprintf("the byte %d from the superblock is %x, with drbdmeta %x", at-l.Superblock, ours[i], real[i])
		}
	}
	return ""
}
