package metadata

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/block/generation"
)

// The recorded images are the last 132 KiB of 64 MiB disks of the real kernel module.
const (
	recordedDisk = 64 << 20
	recordedTail = 132 << 10
)

// recordings lists the recorded images, or skips the test.
func recordings(t *testing.T) []string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		names, err := filepath.Glob(filepath.Join(dir, "shared/reference/drbd84/meta/*.tail132k.bin"))
		if err != nil {
			t.Fatal(err)
		}
		if len(names) > 0 {
			return names
		}
	}
	t.Skip("the recorded metadata images are not here")
	return nil
}

// image is a disk whose end is known.
type image struct {
	tail []byte
	size int64
}

func (m image) at(offset, length int64) []byte {
	from := offset - (m.size - int64(len(m.tail)))
	return m.tail[from : from+length]
}

// dumped is what the text of `drbdmeta dump-md` and `show-gi` says.
type dumped struct {
	text  string
	words []uint64
}

func (d dumped) number(t *testing.T, pattern string) uint64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(d.text)
	if m == nil {
		t.Fatalf("the dump has no %s", pattern)
	}
	n, err := strconv.ParseUint(m[1], 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// parseDump reads the text; the bitmap is a row of words, with `N times WORD;` for repetitions.
func parseDump(t *testing.T, text string) dumped {
	t.Helper()
	d := dumped{text: text}
	_, rest, ok := strings.Cut(text, "\nbm {\n")
	if !ok {
		return d
	}
	body, _, _ := strings.Cut(rest, "}")
	for _, m := range regexp.MustCompile(`(?:(\d+) times )?0x([0-9A-F]{16});`).FindAllStringSubmatch(body, -1) {
		n := 1
		if m[1] != "" {
			n, _ = strconv.Atoi(m[1])
		}
		w, err := strconv.ParseUint(m[2], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			d.words = append(d.words, w)
		}
	}
	return d
}

// TestRecordedImages compares what we read with what the real drbdmeta printed of the same image.
func TestRecordedImages(t *testing.T) {
	for _, name := range recordings(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".tail132k.bin"), func(t *testing.T) {
			tail, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(strings.TrimSuffix(name, "tail132k.bin") + "dump-md.txt")
			if err != nil {
				t.Fatal(err)
			}
			if len(tail) != recordedTail {
				t.Fatalf("image of %d bytes", len(tail))
			}
			compareImage(t, image{tail, recordedDisk}, parseDump(t, string(text)))
		})
	}
}

func compareImage(t *testing.T, m image, d dumped) {
	t.Helper()
	var sb Superblock
	raw := m.at(SuperblockOffset(Internal, m.size, 0), BlockSize)
	if err := sb.Decode(raw); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, BlockSize)
	sb.Encode(back)
	if string(back) != string(raw) {
		t.Error("encoding does not give the superblock back")
	}
	l, err := NewLayout(Internal, m.size, 0, sb.Stripes())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(&sb); err != nil {
		t.Error(err)
	}
	compareFields(t, l, &sb, d)
	compareBitmap(t, m, l, &sb, d)
	compareIdentifiers(t, &sb, d)
}

func compareFields(t *testing.T, l Layout, sb *Superblock, d dumped) {
	t.Helper()
	for _, f := range []struct {
		pattern string
		have    uint64
	}{
		{`^# md_size_sect (\d+)`, uint64(sb.MDSize)},
		{`^# md_size_sect (\d+)`, uint64(l.Size / SectorSize)},
		{`^# md_offset (\d+)`, uint64(l.Superblock)},
		{`^# al_offset (\d+)`, uint64(l.AL)},
		{`^# bm_offset (\d+)`, uint64(l.Bitmap)},
		{`^la-size-sect (\d+);`, sb.LastAgreedSize},
		{`^bm-byte-per-bit (\d+);`, uint64(sb.BytesPerBit)},
		{`^device-uuid (0x[0-9A-F]+);`, sb.DeviceUUID},
		{`^la-peer-max-bio-size (\d+);`, uint64(sb.PeerMaxBIO)},
		{`^(?:# )?al-extents (\d+);`, uint64(sb.ALExtents)},
		{`^al-stripes (\d+);`, uint64(sb.ALStripes)},
		{`^al-stripe-size-4k (\d+);`, uint64(sb.ALStripe4K)},
		{`^    (0x[0-9A-F]{16});`, sb.UUIDs.Current},
	} {
		if want := d.number(t, f.pattern); want != f.have {
			t.Errorf("%s: %d, drbdmeta says %d", f.pattern, f.have, want)
		}
	}
	if unclean := strings.Contains(d.text, "unclean_meta_data"); unclean != sb.Unclean {
		t.Errorf("unclean %v, drbdmeta says %v", sb.Unclean, unclean)
	}
}

func compareBitmap(t *testing.T, m image, l Layout, sb *Superblock, d dumped) {
	t.Helper()
	b := NewBitmap(int64(sb.LastAgreedSize) * SectorSize)
	if err := b.Decode(m.at(l.Bitmap, l.BitmapSize)); err != nil {
		t.Fatal(err)
	}
	for i := range b.Words() {
		if i < len(d.words) && b.Word(i) != d.words[i] {
			t.Errorf("bitmap word %d: %#x, drbdmeta says %#x", i, b.Word(i), d.words[i])
		}
	}
	if sb.LastAgreedSize == 0 {
		return
	}
	if set := d.number(t, `^# bits-set (\d+);`); set != b.Count() {
		t.Errorf("%d bits set, drbdmeta says %d", b.Count(), set)
	}
	var back []byte
	for i := range b.Pages() {
		page := make([]byte, BlockSize)
		b.EncodePage(i, page)
		back = append(back, page...)
	}
	if string(back[:8*b.Words()]) != string(m.at(l.Bitmap, l.BitmapSize)[:8*b.Words()]) {
		t.Error("encoding does not give the bitmap back")
	}
}

// compareIdentifiers checks the UUIDs and the seven flags of `show-gi`.
func compareIdentifiers(t *testing.T, sb *Superblock, d dumped) {
	t.Helper()
	bit := func(f Flags) int {
		if sb.Flags&f != 0 {
			return 1
		}
		return 0
	}
	want := fmt.Sprintf("\n%v:%d:%d:%d:%d:%d:%d:%d\n", sb.UUIDs, bit(Consistent), bit(WasUpToDate), bit(PrimaryInd),
		bit(ConnectedInd), bit(FullSync), bit(PeerOutdated), bit(CrashedPrimary))
	if !strings.Contains(d.text, want) {
		t.Errorf("drbdmeta does not say %s", want)
	}
	state := map[generation.DiskState]string{generation.Inconsistent: "Inconsistent", generation.Outdated: "Outdated",
		generation.Consistent: "UpToDate"}[sb.Disk()]
	if !regexp.MustCompile(`(?m)^flags: .*\b` + state + `\b`).MatchString(d.text) {
		t.Errorf("drbdmeta does not say %s", state)
	}
}

// TestRecordedActivityLogs replays the logs the kernel wrote.
func TestRecordedActivityLogs(t *testing.T) {
	hot := map[string]string{
		"1-create-md-nodeA":          "[]",
		"3-both-up-nodeA":            "[]",
		"6-primary-mounted-nodeA":    "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]", // mkfs wrote everywhere
		"14-oos-after-down-nodeB":    "[0 1 2 3 4 5 6 7]",
		"16-primary-lost-peer-nodeA": "[0]",
	}
	for _, name := range recordings(t) {
		tail, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := NewLayout(Internal, recordedDisk, 0, DefaultStripes())
		if err != nil {
			t.Fatal(err)
		}
		area := image{tail, recordedDisk}.at(l.AL, l.ALSize)
		r, err := ReplayAL(area, l.Stripes)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		base := strings.TrimSuffix(filepath.Base(name), ".tail132k.bin")
		t.Logf("%-28s extents %v next %d", base, r.Extents, r.Next)
		if want, known := hot[base]; known && fmt.Sprint(r.Extents) != want {
			t.Errorf("%s: hot extents %v, want %s", base, r.Extents, want)
		}
	}
}

// TestRecordedTransactions checks that our encoder gives a recorded transaction back, checksum included.
func TestRecordedTransactions(t *testing.T) {
	n := 0
	for _, name := range recordings(t) {
		tail, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for o := 0; o < len(tail); o += BlockSize {
			p := tail[o : o+BlockSize]
			b, ok := decodeAL(p)
			if !ok {
				continue
			}
			n++
			got := make([]byte, BlockSize)
			if b.initial {
				EncodeALInitial(got)
			} else {
				encodeAL(got, b.number, b.updates, int(b.slots), int(b.contextStart), func(slot int) uint32 {
					return binary.BigEndian.Uint32(b.context[4*(slot-int(b.contextStart)):])
				})
			}
			if string(got) != string(p) {
				t.Errorf("%s at %d: transaction %d is encoded differently", name, o, b.number)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d transactions found", n)
	}
}
