package sim

import (
	"hash/fnv"
	"time"
)

// instant is virtual time in nanoseconds.
type instant int64

func (i instant) add(d time.Duration) instant { return i + instant(d) }

func (i instant) sub(j instant) time.Duration { return time.Duration(i - j) }

// event is something that happens at a time, to a process if proc is not nil: not at all if that has ended since, and
// later if it is paused.
type event struct {
	at   instant
	seq  uint64
	proc *process
	life int
	what string
	do   func()
}

// queue is a heap of events by time, and by the order in which they were made.
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) less(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.less(i, up) {
			return
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() event {
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if q.less(c, least) {
				least = c
			}
		}
		if least == i {
			return top
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

// trace is a running hash of everything that happened.
type trace struct{ sum uint64 }

func (t *trace) add(values ...uint64) {
	for _, v := range values {
		t.sum = (t.sum ^ v) * 0x100000001b3
		t.sum ^= t.sum >> 29
	}
}

func (t *trace) text(s string) {
	h := fnv.New64a()
	h.Write([]byte(s))
	t.add(h.Sum64())
}

// process is something that can be killed and paused alone. Events for a paused one wait.
type process struct {
	name    string
	host    *host
	life    int
	alive   bool
	paused  bool
	waiting []event
}

func (p *process) stopped() bool { return p.paused || p.host.frozen }

// begin starts a new life.
func (p *process) begin() {
	p.life++
	p.alive, p.paused, p.waiting = true, false, nil
}

// end is a SIGKILL.
func (p *process) end() {
	p.life++
	p.alive, p.paused, p.waiting = false, false, nil
}
