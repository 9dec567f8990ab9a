package volume

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"holdfast/internal/block/kernel"
)

// BenchmarkWrite writes 4 KiB blocks at random through both replicas, so many at a time; Flush adds a flush to each.
func BenchmarkWrite(b *testing.B) {
	for _, depth := range []int{1, 32} {
		for _, flush := range []bool{false, true} {
			b.Run(fmt.Sprintf("depth=%d/flush=%v", depth, flush), func(b *testing.B) { benchWrite(b, depth, flush) })
		}
	}
}

func benchWrite(b *testing.B, depth int, flush bool) {
	p := newPair(b, "")
	for _, n := range []*node{p.a, p.b} {
		n.realDisk(b, 64<<20)
		setup := n.config
		n.config = func(c *Config) { setup(c); c.Frontend = nil }
	}
	p.synced()
	b.ReportAllocs()
	b.SetBytes(4096)
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.ResetTimer()
	for range depth {
		go func() {
			w := newBenchWriter(p.a.target)
			for left.Add(-1) >= 0 {
				w.write(rand.Int64N(8<<10) * 4096)
				if flush {
					w.flush()
				}
			}
			done <- struct{}{}
		}()
	}
	for range depth {
		<-done
	}
	b.StopTimer()
}

// benchWriter is a kernel thread with one request at a time.
type benchWriter struct {
	target kernel.Target
	data   []byte
	r      kernel.Request
	done   chan error
}

func newBenchWriter(t kernel.Target) *benchWriter {
	return &benchWriter{target: t, data: fill(7, 4096), done: make(chan error, 1)}
}

func (w *benchWriter) Complete(_ *kernel.Request, err error) { w.done <- err }

func (w *benchWriter) submit(r kernel.Request) {
	w.r = r
	w.r.Owner = w
	w.target.Submit(&w.r)
	if err := <-w.done; err != nil {
		panic(err)
	}
}

func (w *benchWriter) write(off int64) {
	w.submit(kernel.Request{Op: kernel.Write, Offset: off, Length: 4096, Data: w.data})
}

func (w *benchWriter) flush() { w.submit(kernel.Request{Op: kernel.Flush}) }
