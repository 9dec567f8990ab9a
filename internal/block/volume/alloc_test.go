package volume

import (
	"runtime"
	"testing"
)

// TestNothingAllocatedPerWrite counts what the engines, links and disks of both sides allocate while writes, each with a
// flush, go through, in the best of several series: what the passing of time costs (ticks, status) is in each.
func TestNothingAllocatedPerWrite(t *testing.T) {
	p := newPair(t, "")
	for _, n := range []*node{p.a, p.b} {
		n.realDisk(t, 64<<20)
		setup := n.config
		n.config = func(c *Config) { setup(c); c.Frontend = nil }
	}
	p.synced()
	w := newBenchWriter(p.a.target)
	const times = 100
	least := uint64(1 << 60)
	for range 20 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range int64(times) {
			w.write(i * 4096)
			w.flush()
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least >= times {
		t.Errorf("%d allocations in %d writes with a flush", least, times)
	}
}
