package ublkdev

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue is the server's side of a device: requests come by their tag, 0 up to the depth, and are answered by it. Each tag
// has memory of its own for the data of its request.
type Queue struct {
	device  uint32
	depth   int
	maxIO   int
	fd      int    // of /dev/ublkcN
	shared  []byte // the descriptors
	memory  []byte // a buffer for each tag, and one more for what is answered by Abandon
	event   int    // eventfd: there are answers to hand over
	counter uint64 // what was read from it

	mu      sync.Mutex
	answers []answer
	spare   []answer
	state   []tagState
	gone    bool // Abandon was called
	held    int  // requests in the owner's hands
	ended   bool
	freed   bool
}

type answer struct {
	tag    uint16
	result int32
}

// tagState says where the request of a tag is.
type tagState struct {
	waits bool // for an answer: the kernel's side
	held  bool // by the owner, who uses its memory
}

// eventUser marks the eventfd's entry; tags have their number.
const eventUser = 1 << 32

// OpenQueue opens a device for serving. One process at a time can.
func OpenQueue(id uint32, depth, maxIO int) (*Queue, error) {
	q := &Queue{device: id, depth: depth, maxIO: maxIO, fd: -1, event: -1, state: make([]tagState, depth)}
	if err := q.open(); err != nil {
		q.release()
		return nil, fmt.Errorf("serve ublk device %d: %w", id, err)
	}
	return q, nil
}

func (q *Queue) open() error {
	var err error
	path := "/dev/ublkc" + strconv.FormatUint(uint64(q.device), 10)
	if q.fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	page := unix.Getpagesize()
	length := (q.depth*int(unsafe.Sizeof(Descriptor{})) + page - 1) / page * page
	if q.shared, err = unix.Mmap(q.fd, 0, length, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("map the requests of %s: %w", path, err)
	}
	q.memory, err = unix.Mmap(-1, 0, (q.depth+1)*q.maxIO, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map %d buffers of %d bytes: %w", q.depth+1, q.maxIO, err)
	}
	if q.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	return nil
}

// Buffer is the memory of a tag, page-aligned. A write's data are in it; a read's are to be put there.
func (q *Queue) Buffer(tag int) []byte { return q.memory[tag*q.maxIO : (tag+1)*q.maxIO] }

// Run serves until the device has ended and every request is answered; handle gets a request's tag and its description, on
// the queue's own thread, and must not wait for another request. ready is closed once the kernel knows the server: Start
// or EndRecovery may follow. It is called once, in a goroutine of its own.
func (q *Queue) Run(ready chan<- struct{}, handle func(tag int, d Descriptor)) error {
	runtime.LockOSThread() // the driver knows a queue's server by its thread
	defer runtime.UnlockOSThread()
	ring, err := newRing(q.depth+1, setupSQE128|setupCoopTaskrun|setupSingleIssuer)
	if err != nil {
		q.finish()
		return fmt.Errorf("serve ublk device %d: %w", q.device, err)
	}
	defer q.finish()
	defer ring.Close()
	for tag := range q.depth {
		q.queue(ring, ioFetch, answer{tag: uint16(tag)}, false)
	}
	ring.Read(q.event, &q.counter, eventUser)
	if err := ring.Enter(false); err != nil {
		return fmt.Errorf("serve ublk device %d: %w", q.device, err)
	}
	close(ready)
	for live := q.depth; live > 0; {
		more := q.commit(ring)
		if err := ring.Enter(!more); err != nil {
			return fmt.Errorf("serve ublk device %d: %w", q.device, err)
		}
		live -= q.take(ring, handle)
	}
	return nil
}

// queue hands a tag to the kernel: with an answer, or as new.
func (q *Queue) queue(ring *Ring, number uint32, a answer, gone bool) {
	slot := int(a.tag)
	if gone {
		slot = q.depth
	}
	own := ioCommand{tag: a.tag, result: a.result, address: uint64(uintptr(unsafe.Pointer(&q.memory[slot*q.maxIO])))}
	// The ring has room for every tag and the eventfd.
	ring.Command(q.fd, ioctl(3, number, unsafe.Sizeof(own)), uint64(a.tag), bytesOf(&own))
}

// commit hands answers over.
func (q *Queue) commit(ring *Ring) (some bool) {
	q.mu.Lock()
	list, gone := q.answers, q.gone
	q.answers, q.spare = q.spare[:0], list
	q.mu.Unlock()
	for _, a := range list {
		q.queue(ring, ioCommitAndFetch, a, gone)
	}
	return len(list) > 0
}

// take passes requests on, and tells how many tags have come to their end.
func (q *Queue) take(ring *Ring, handle func(int, Descriptor)) (ends int) {
	for {
		user, result, ok := ring.Answer()
		switch {
		case !ok:
			return ends
		case user == eventUser:
			ring.Read(q.event, &q.counter, eventUser)
		case result < 0:
			ends++
		default:
			q.pass(int(user), handle)
		}
	}
}

func (q *Queue) pass(tag int, handle func(int, Descriptor)) {
	d := *(*Descriptor)(unsafe.Pointer(&q.shared[tag*int(unsafe.Sizeof(Descriptor{}))]))
	q.mu.Lock()
	q.state[tag].waits = true
	gone := q.gone
	if gone {
		q.answerLocked(tag, -int32(unix.EIO))
	} else {
		q.state[tag].held = true
		q.held++
	}
	q.mu.Unlock()
	if !gone {
		handle(tag, d)
	}
}

// Answer ends the request of a tag: with the bytes read or written, 0 for the other operations, or a negated errno. Its
// memory is the kernel's from then on.
func (q *Queue) Answer(tag int, result int32) {
	q.mu.Lock()
	q.state[tag].held = false
	q.held--
	if q.state[tag].waits {
		q.answerLocked(tag, result)
	}
	q.freeLocked()
	q.mu.Unlock()
}

func (q *Queue) answerLocked(tag int, result int32) {
	q.state[tag].waits = false
	q.answers = append(q.answers, answer{uint16(tag), result})
	if len(q.answers) == 1 && q.event >= 0 {
		one := [8]byte{1}
		_, _ = unix.Write(q.event, one[:]) // it cannot fail: the counter is far from its end
	}
}

// Abandon fails every request with EIO from now on, those in the owner's hands at once. Their memory stays theirs until they
// are answered.
func (q *Queue) Abandon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone = true
	if q.ended {
		return
	}
	for tag := range q.state {
		if q.state[tag].waits {
			q.answerLocked(tag, -int32(unix.EIO))
		}
	}
}

// finish ends the use of the device; the memory goes with the last request.
func (q *Queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	for tag := range q.state {
		q.state[tag].waits = false
	}
	q.freeLocked()
}

func (q *Queue) freeLocked() {
	if q.ended && q.held == 0 && !q.freed {
		q.freed = true
		q.release()
	}
}

func (q *Queue) release() {
	if q.memory != nil {
		_ = unix.Munmap(q.memory) // whole mappings of ours
	}
	if q.shared != nil {
		_ = unix.Munmap(q.shared)
	}
	for _, fd := range []*int{&q.fd, &q.event} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}
