package labdisk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func cacheOn(t testing.TB, path string, sectors int, limit int64, seed uint64) *cache {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		err = f.Truncate(int64(sectors) * sectorSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return newCache(f, limit, seed)
}

// The naive disk keeps every value a sector may have after a power cut: the durable one and those written since.
type naive struct {
	now     []byte
	allowed []map[byte]bool
}

func newNaive(sectors int) *naive {
	n := &naive{now: make([]byte, sectors), allowed: make([]map[byte]bool, sectors)}
	n.flush()
	return n
}

func (n *naive) write(s int, v byte) { n.now[s] = v; n.allowed[s][v] = true }
func (n *naive) flush() {
	for s, v := range n.now {
		n.allowed[s] = map[byte]bool{v: true}
	}
}

const modelSectors = 64

// Reads always see the last write; after a cut each sector has its flushed value or one written since; the sector is
// whole.
func TestCacheAgainstNaiveDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.Int64Range(1, 6).Draw(rt, "pages cached") * pageSize
		c := cacheOn(t, path, modelSectors, limit, rapid.Uint64().Draw(rt, "seed"))
		model := newNaive(modelSectors)
		defer c.file.Close()
		for step := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			from := rapid.IntRange(0, modelSectors-1).Draw(rt, "from")
			n := rapid.IntRange(1, modelSectors-from).Draw(rt, "sectors")
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0, 1, 2, 3, 4:
				v := byte(step + 1)
				if err := c.write(bytes.Repeat([]byte{v}, n*sectorSize), int64(from)*sectorSize); err != nil {
					rt.Fatal(err)
				}
				for s := from; s < from+n; s++ {
					model.write(s, v)
				}
			case 5, 6:
				checkSame(rt, c, model)
			case 7, 8:
				if err := c.writeBack(c.dirty()); err != nil {
					rt.Fatal(err)
				}
				model.flush()
			case 9:
				keep := rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(rt, "keep")
				if _, _, err := c.cut(keep); err != nil {
					rt.Fatal(err)
				}
				checkAllowed(rt, c, model, keep)
			}
			if len(c.pages) > c.limit || len(c.pages) != len(c.numbers) {
				rt.Fatalf("%d pages, %d numbers, limit %d", len(c.pages), len(c.numbers), c.limit)
			}
		}
	})
}

func contents(t *rapid.T, c *cache) []byte {
	b := make([]byte, modelSectors*sectorSize)
	if err := c.read(b, 0); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, modelSectors)
	for s := range out {
		sector := b[s*sectorSize : (s+1)*sectorSize]
		if !bytes.Equal(sector, bytes.Repeat(sector[:1], sectorSize)) {
			t.Fatalf("sector %d is torn", s)
		}
		out[s] = sector[0]
	}
	return out
}

func checkSame(t *rapid.T, c *cache, model *naive) {
	if got := contents(t, c); !bytes.Equal(got, model.now) {
		t.Fatalf("read %v, want %v", got, model.now)
	}
}

func checkAllowed(t *rapid.T, c *cache, model *naive, keep float64) {
	got := contents(t, c)
	for s, v := range got {
		if !model.allowed[s][v] {
			t.Fatalf("sector %d has %d after the cut, allowed %v", s, v, model.allowed[s])
		}
		if keep == 1 && v != model.now[s] {
			t.Fatalf("sector %d has %d; nothing was to be lost", s, v)
		}
		model.now[s] = v
	}
	model.flush() // what is there now is on the medium
}

func TestCutKeepsAShare(t *testing.T) {
	c := cacheOn(t, filepath.Join(t.TempDir(), "disk"), 4096, 64<<20, 1)
	if err := c.write(make([]byte, 4096*sectorSize), 0); err != nil {
		t.Fatal(err)
	}
	kept, lost, err := c.cut(0.5)
	if err != nil || kept+lost != 4096 || kept < 1500 || lost < 1500 {
		t.Errorf("kept %d, lost %d, %v", kept, lost, err)
	}
	again := cacheOn(t, filepath.Join(t.TempDir(), "disk"), 4096, 64<<20, 1)
	if err := again.write(make([]byte, 4096*sectorSize), 0); err != nil {
		t.Fatal(err)
	}
	if k, l, _ := again.cut(0.5); k != kept || l != lost {
		t.Errorf("the same seed kept %d and lost %d, then %d and %d", kept, lost, k, l)
	}
}

func TestForgetDropsSectors(t *testing.T) {
	c := cacheOn(t, filepath.Join(t.TempDir(), "disk"), 64, 64<<20, 1)
	if err := c.write(bytes.Repeat([]byte{9}, 64*sectorSize), 0); err != nil {
		t.Fatal(err)
	}
	c.forget(10*sectorSize, 3*sectorSize)
	b := make([]byte, 64*sectorSize)
	if err := c.read(b, 0); err != nil {
		t.Fatal(err)
	}
	for s := range 64 {
		want := byte(9)
		if s >= 3 && s < 13 {
			want = 0
		}
		if b[s*sectorSize] != want {
			t.Errorf("sector %d has %d, want %d", s, b[s*sectorSize], want)
		}
	}
}
