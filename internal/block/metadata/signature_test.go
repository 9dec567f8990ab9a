package metadata

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRecognise lets the real tools make things and recognises them.
func TestRecognise(t *testing.T) {
	const size = 320 << 20
	for _, c := range []struct {
		name string
		argv []string // the file's name follows
		used int64
	}{
		{"ext2 filesystem", []string{"mkfs.ext2", "-q", "-F"}, size},
		{"ext3 filesystem", []string{"mkfs.ext3", "-q", "-F"}, size},
		{"ext4 filesystem", []string{"mkfs.ext4", "-q", "-F"}, size},
		{"xfs filesystem", []string{"mkfs.xfs", "-q", "-f"}, size},
		{"swap space signature", []string{"mkswap", "-q"}, 0},
		{"some data", []string{"sh", "-c", "echo x | dd of=$0 bs=1 seek=100000 conv=notrunc status=none"}, 0},
		{"", []string{"true"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.argv[0]); err != nil {
				t.Skipf("%s is not installed", c.argv[0])
			}
			f := sparse(t, size)
			if out, err := exec.Command(c.argv[0], append(c.argv[1:], f.Name())...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", strings.Join(c.argv, " "), err, out)
			}
			got, found := Recognise(readAt(t, f, 0, ProbeSize))
			if found != (c.name != "") || got.Name != c.name || got.Used != c.used {
				t.Errorf("found %v: %+v, want %s of %d bytes", found, got, c.name, c.used)
			}
		})
	}
}

// TestRecogniseMarks checks the marks of what has no tool here, from the formats' documentation.
func TestRecogniseMarks(t *testing.T) {
	for _, c := range []struct {
		name  string
		marks map[int]string
		used  int64
	}{
		{"xfs filesystem", map[int]string{0: "XFSB\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x40\x00"}, 64 << 20},
		{"btrfs filesystem", map[int]string{0x10040: "_BHRfS_M", 0x10070: "\x00\x00\x00\x04"}, 64 << 20},
		{"LUKS container", map[int]string{0: "LUKS\xba\xbe\x00\x02"}, 0},
		{"LVM physical volume", map[int]string{512: "LABELONE"}, 0},
		{"GPT partition table", map[int]string{446: "\x00\x00\x02\x00\xee", 510: "\x55\xaa", 512: "EFI PART"}, 0},
		{"DOS partition table", map[int]string{446: "\x80\x00\x02\x00\x83", 510: "\x55\xaa"}, 0},
		{"some data", map[int]string{510: "\x55\xaa"}, 0},
	} {
		p := make([]byte, ProbeSize)
		for at, mark := range c.marks {
			copy(p[at:], mark)
		}
		if got, found := Recognise(p); !found || got.Name != c.name || got.Used != c.used {
			t.Errorf("%s: %v %+v", c.name, found, got)
		}
	}
}

func FuzzRecognise(f *testing.F) {
	f.Add([]byte("XFSB"))
	if p, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		full := make([]byte, ProbeSize)
		copy(full, p)
		for _, b := range [][]byte{p, full} {
			if c, found := Recognise(b); c.Used < 0 || found != (c.Name != "") {
				t.Fatalf("%v %+v", found, c)
			}
		}
	})
}
