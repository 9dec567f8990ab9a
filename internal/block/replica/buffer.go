package replica

import (
	"sync"

	"holdfast/internal/block"
	"holdfast/internal/block/backing"
)

// Buffer is page-aligned memory of a Pool.
type Buffer struct {
	B     []byte // as long as was asked for
	whole []byte
	pool  *sync.Pool
	sent  func()
}

// Notice is an empty buffer that calls f, once and from any goroutine, when it is released: after the packet it was given to
// Send with has been sent, or never will be.
func Notice(f func()) *Buffer { return &Buffer{sent: f} }

// Release gives the buffer back; it must not be used afterwards.
func (b *Buffer) Release() {
	switch {
	case b == nil:
	case b.sent != nil:
		b.sent()
	case b.pool != nil:
		b.pool.Put(b)
	}
}

// Pool keeps buffers of a few sizes.
type Pool struct{ classes [4]sync.Pool }

var _ = block.MaxIO

func classSize(i int) int { return [...]int{4 << 10, 32 << 10, 256 << 10, block.MaxIO}[i] }

// Get gives a buffer of n bytes, at most block.MaxIO.
func (p *Pool) Get(n int) *Buffer {
	for i := range p.classes {
		size := classSize(i)
		if n > size {
			continue
		}
		b, ok := p.classes[i].Get().(*Buffer)
		if !ok {
			b = &Buffer{whole: backing.Buffer(size), pool: &p.classes[i]}
		}
		b.B = b.whole[:n]
		return b
	}
	return &Buffer{B: backing.Buffer(n)}
}
