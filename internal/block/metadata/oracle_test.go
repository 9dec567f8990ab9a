package metadata

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/drbdutils"
)

// drbdmeta runs the real tool on a file, or skips the test.
func drbdmeta(t *testing.T, file, index string, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("drbdmeta")
	if err != nil {
		t.Skip("drbdmeta is not installed")
	}
	out, err := exec.Command(tool, append([]string{"--force", drbdutils.Minor(), "v08", file, index}, args...)...).CombinedOutput()
	if err != nil && args[0] != "dump-md" { // dump-md of a log that is not applied is a failure to it
		t.Fatalf("drbdmeta %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func sparse(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func readAt(t *testing.T, f *os.File, offset, length int64) []byte {
	t.Helper()
	p := make([]byte, length)
	if _, err := f.ReadAt(p, offset); err != nil {
		t.Fatal(err)
	}
	return p
}

func writeAt(t *testing.T, f *os.File, offset int64, p []byte) {
	t.Helper()
	if _, err := f.WriteAt(p, offset); err != nil {
		t.Fatal(err)
	}
}

// TestLayoutLikeDrbdmeta lets the real tool make metadata on devices of many sizes, of each kind, and finds it.
func TestLayoutLikeDrbdmeta(t *testing.T) {
	kinds := []struct {
		kind  Kind
		index string
	}{{Internal, "internal"}, {Indexed, "0"}, {Indexed, "1"}, {Flexible, "flex-external"}}
	for _, size := range []int64{1 << 20, 4<<20 + 512, 16 << 20, 17<<20 - 512, 128 << 20, 129 << 20, 256 << 20, 1<<30 + 4096, 5<<30 + 12345*512, 3 << 40} {
		for _, k := range kinds {
			if k.kind == Indexed && size < 256<<20 || k.kind == Flexible && size > 1<<40 {
				continue
			}
			t.Run(fmt.Sprintf("%s-%d", k.index, size), func(t *testing.T) {
				f := sparse(t, size)
				drbdmeta(t, f.Name(), k.index, "create-md")
				d := parseDump(t, drbdmeta(t, f.Name(), k.index, "dump-md"))
				index := 0
				if k.index == "1" {
					index = 1
				}
				var sb Superblock
				if err := sb.Decode(readAt(t, f, SuperblockOffset(k.kind, size, index), BlockSize)); err != nil {
					t.Fatal(err)
				}
				l, err := NewLayout(k.kind, size, index, sb.Stripes())
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Check(&sb); err != nil {
					t.Error(err)
				}
				ours := NewSuperblock(l, sb.DeviceUUID)
				if *ours != sb {
					t.Errorf("create-md writes\n%+v, we\n%+v", sb, *ours)
				}
				compareFields(t, l, &sb, d)
				if r, err := ReplayAL(readAt(t, f, l.AL, l.ALSize), l.Stripes); err != nil || len(r.Extents) != 0 {
					t.Errorf("fresh activity log: %v %v", r, err)
				}
			})
		}
	}
}

// TestOursReadByDrbdmeta writes metadata of a crashed Primary, has the real tool dump it and apply the activity log, and
// compares the bitmap with what we make of it.
func TestOursReadByDrbdmeta(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			stripes := DefaultStripes()
			if seed%2 == 1 {
				stripes = Stripes{Count: 3, Blocks: 16}
			}
			size := int64(1<<30+rng.IntN(1<<30)) &^ (SectorSize - 1)
			f := sparse(t, size)
			l, err := NewLayout(Internal, size, 0, stripes)
			if err != nil {
				t.Fatal(err)
			}
			sb := NewSuperblock(l, rng.Uint64()|1)
			sb.LastAgreedSize, sb.Unclean = uint64(l.Data/SectorSize), true
			sb.Flags = Consistent | WasUpToDate | PrimaryInd
			sb.ALExtents, sb.PeerMaxBIO = DefaultALExtents, 1<<20
			sb.UUIDs.Current, sb.UUIDs.Bitmap = rng.Uint64()|1, rng.Uint64()
			b, hot := scribble(t, rng, f, l, 300)
			p := make([]byte, BlockSize)
			sb.Encode(p)
			writeAt(t, f, l.Superblock, p)
			compareImage(t, image{readAt(t, f, l.Bitmap, size-l.Bitmap), size}, parseDump(t, fullText(t, f)))

			out := drbdmeta(t, f.Name(), "internal", "apply-al")
			for _, e := range hot {
				b.SetExtent(e)
			}
			after := NewBitmap(l.Data)
			if err := after.Decode(readAt(t, f, l.Bitmap, l.BitmapSize)); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(after.words, b.words) {
				t.Errorf("after apply-al: %d bits, we have %d\n%s", after.Count(), b.Count(), out)
			}
		})
	}
}

// fullText is what metasnap recorded: dump-md, then show-gi.
func fullText(t *testing.T, f *os.File) string {
	return drbdmeta(t, f.Name(), "internal", "dump-md") + drbdmeta(t, f.Name(), "internal", "show-gi")
}

// scribble writes a random bitmap and the activity log of a random run of so many activations, and returns what a
// recovery must find.
func scribble(t *testing.T, rng *rand.Rand, f *os.File, l Layout, runs int) (*Bitmap, []uint32) {
	t.Helper()
	b := NewBitmap(l.Data)
	for range 50 {
		b.Set(rng.Uint64N(b.Bits()), 1+rng.Uint64N(200))
	}
	p := make([]byte, BlockSize)
	for page := range b.Pages() {
		b.EncodePage(page, p)
		writeAt(t, f, l.Bitmap+int64(page)*BlockSize, p)
	}
	EncodeALInitial(p)
	for i := range int64(l.Stripes.Total()) {
		writeAt(t, f, l.AL+i*BlockSize, p)
	}
	a, err := NewActivityLog(l.Stripes, 67, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range runs {
		e := uint32(rng.IntN(int(l.Data / ExtentSize)))
		a.Get(e)
		if tr, ok := a.Begin(p); ok {
			writeAt(t, f, l.AL+tr.Offset, p)
			a.Commit()
		}
		a.Put(e, 0)
	}
	return b, a.Extents()
}

// TestDrbdmetaRefusesOurs makes sure the comparison above can fail: a flipped bit in our superblock's magic is noticed.
func TestDrbdmetaRefusesOurs(t *testing.T) {
	const size = 64 << 20
	f := sparse(t, size)
	l, err := NewLayout(Internal, size, 0, DefaultStripes())
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, BlockSize)
	NewSuperblock(l, 1).Encode(p)
	p[offMagic] ^= 1
	writeAt(t, f, l.Superblock, p)
	if out := drbdmeta(t, f.Name(), "internal", "dump-md"); !strings.Contains(out, "No valid meta data found") {
		t.Errorf("drbdmeta said %s", out)
	}
}
