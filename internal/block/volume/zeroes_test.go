package volume

import (
	"bytes"
	"testing"

	"holdfast/internal/block/kernel"
	"holdfast/internal/disk"
)

// dirtyDisk is a disk whose discarded ranges read as anything.
type dirtyDisk struct{ *memDisk }

// Discard leaves garbage.
func (d dirtyDisk) Discard(off, n int64) error {
	return d.WriteAt(bytes.Repeat([]byte{0xdd}, int(n)), off)
}

// TestZeroes: where P_TRIM stands for P_ZEROES, the peer makes zeros of it.
func TestZeroes(t *testing.T) {
	for name, options := range map[string]string{"plain": "", "digest": "net { data-integrity-alg sha1; }"} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, options)
			p.b.config = func(c *Config) {
				c.OpenDisk = func(string) (disk.Device, error) { return dirtyDisk{p.b.disk}, nil }
			}
			p.synced()
			p.a.write(0, fill(1, 64<<10))
			must(t, p.a.wait(p.a.submit(kernel.WriteZeroes, 4096, nil, 8192)))
			if got := p.b.disk.content(16384); !bytes.Equal(got[4096:12288], make([]byte, 8192)) || got[0] != 1 || got[12288] != 1 {
				t.Error("a zeroed range is not zero on the peer")
			}
		})
	}
}
