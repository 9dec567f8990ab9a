package process

import (
	"fmt"
	"sync"
)

// tail keeps the first and the last half of what is written to it: an agent's first complaint and its last words.
// It never blocks and never fails, so that a flood cannot stop the writer.
type tail struct {
	mu      sync.Mutex
	half    int
	head    []byte
	ring    []byte
	next    int // where the next byte of ring goes, once ring is full
	dropped int64
}

func newTail(limit int) *tail { return &tail{half: limit / 2} }

// Write takes all of p.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if room := t.half - len(t.head); room > 0 {
		take := min(room, len(p))
		t.head = append(t.head, p[:take]...)
		p = p[take:]
	}
	for _, b := range p {
		t.push(b)
	}
	return n, nil
}

func (t *tail) push(b byte) {
	if len(t.ring) < t.half {
		t.ring = append(t.ring, b)
		return
	}
	t.ring[t.next] = b
	t.next = (t.next + 1) % t.half
	t.dropped++
}

// bytes gives what was kept, with a line telling how much was not.
func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := append([]byte(nil), t.head...)
	if t.dropped > 0 {
		out = fmt.Appendf(out, "\n[%d bytes left out]\n", t.dropped)
	}
	out = append(out, t.ring[t.next:]...)
	return append(out, t.ring[:t.next]...)
}
