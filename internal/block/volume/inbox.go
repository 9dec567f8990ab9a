package volume

import (
	"sync"
	"time"

	"holdfast/internal/block/kernel"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
)

// event is something for the engine. Exactly one of request, job, link or call tells what.
type event struct {
	request *kernel.Request
	part    *engine // of request
	job     *job
	link    *replica.Link // of packet
	packet  packet
	call    func()
}

// packet is a peer's packet, with what it holds decoded or copied.
type packet struct {
	command wire.Command
	volume  uint16
	form    wire.Form
	ack     wire.BlockAck
	info    wire.DataInfo
	bytes   uint32 // of a range without data
	number  uint32 // barrier
	writes  uint32
	body    []byte
	data    *replica.Buffer
}

// inbox is the engine's queue: what is posted while the engine works is taken in one go. It is bounded by those who
// post: requests by MaxInFlight, the peer's data by the link's credit, jobs by both.
type inbox struct {
	mu    sync.Mutex
	queue []event
	wake  chan struct{}
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) post(e event) {
	b.mu.Lock()
	b.queue = append(b.queue, e)
	first := len(b.queue) == 1
	b.mu.Unlock()
	if first {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// call runs f on the engine's goroutine.
func (b *inbox) call(f func()) { b.post(event{call: f}) }

// drain returns what is queued, without waiting.
func (b *inbox) drain() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.queue
	b.queue = nil
	return list
}

// take waits for events, or until the timer fires or done is closed, and swaps the queue for an empty one.
func (b *inbox) take(spent []event, timer <-chan time.Time, done <-chan struct{}) (list []event, ticked, ended bool) {
	clear(spent)
	select {
	case <-done: // whatever else there is: nothing that came after the end is dealt with
		return nil, false, true
	default:
	}
	select {
	case <-b.wake:
	case <-timer:
		ticked = true
	case <-done:
		return nil, false, true
	}
	b.mu.Lock()
	list, b.queue = b.queue, spent[:0]
	b.mu.Unlock()
	return list, ticked, false
}
