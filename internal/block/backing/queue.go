package backing

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/internal/block"
	"holdfast/internal/disk"
)

// queue is the kernel's asynchronous I/O (io_submit(2)) on one descriptor opened with O_DIRECT. Operations that come
// together go to the kernel in one call, which hands them to the disk in one go; none needs a thread that waits for it. Two
// goroutines belong to it: one submits, the other tells the owners.
//
// Operations are submitted with RWF_NOWAIT, so that the call cannot last and need not be told to the runtime, which would
// give the processor to another thread, and back. What the kernel cannot begin without waiting (a file's time stamp is due,
// the disk's own queue is full) comes back with EAGAIN and is submitted once more by a call that may wait.
type queue struct {
	dev     *Device
	context uintptr
	event   *os.File

	mu                sync.Mutex
	wake              sync.Cond // of the submitter
	waiting           []*disk.Operation
	again             []*disk.Operation // came back with EAGAIN
	patient           bool              // this file knows no RWF_NOWAIT
	inFlight          []*disk.Operation // by slot; nil if the slot is free
	free              []int
	closed            bool
	submitted, reaped sync.WaitGroup // the goroutines
	waiters           sync.Pool      // of *waiter
}

// iocb is the kernel's struct iocb (linux/aio_abi.h), as little-endian machines have it.
type iocb struct {
	data    uint64
	key     uint32
	rwFlags int32
	opcode  uint16
	prio    int16
	fd      uint32
	buf     uint64
	nbytes  uint64
	offset  int64
	_       uint64
	flags   uint32
	resfd   uint32
}

// ioEvent is the kernel's struct io_event.
type ioEvent struct {
	data, obj uint64
	res, res2 int64
}

// Codes of linux/aio_abi.h.
const (
	iocbPread  = 0
	iocbPwrite = 1
	iocbFdsync = 3
	flagResfd  = 1 << 0
	rwfNowait  = 8 // of linux/fs.h
)

// newQueue sets the kernel's queue up; it fails where the kernel has none to give.
func newQueue(d *Device) (*queue, error) {
	q := &queue{dev: d, inFlight: make([]*disk.Operation, block.DiskDepth)}
	q.wake.L = &q.mu
	for i := range q.inFlight {
		q.free = append(q.free, i)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, block.DiskDepth, uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 {
		return nil, fmt.Errorf("asynchronous I/O on %s: %w", d.path, errno)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		q.destroy()
		return nil, fmt.Errorf("asynchronous I/O on %s: eventfd: %w", d.path, err)
	}
	q.event = os.NewFile(uintptr(fd), "eventfd")
	raw, err := q.event.SyscallConn()
	if err != nil {
		q.event.Close()
		q.destroy()
		return nil, fmt.Errorf("asynchronous I/O on %s: %w", d.path, err)
	}
	q.submitted.Add(1)
	q.reaped.Add(1)
	go q.submit(fd)
	go q.reap(raw)
	return q, nil
}

func (q *queue) destroy() { _, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, q.context, 0, 0) }

// add queues an operation; false if the queue is closed.
func (q *queue) add(o *disk.Operation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, o)
	q.wake.Signal()
	return true
}

// close waits for what is under way, and gives everything back.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.wake.Signal()
	q.mu.Unlock()
	q.submitted.Wait()
	q.event.Close() // ends the reaper
	q.reaped.Wait()
	q.destroy()
}

// submitter is what the submitting goroutine works with.
type submitter struct {
	resfd uint32
	fd    uint32
	wait  bool // what is submitted next may wait
	slots []int
	cbs   []iocb
	ptrs  []*iocb
}

func (q *queue) submit(resfd int) {
	defer q.submitted.Done()
	s := &submitter{resfd: uint32(resfd), fd: uint32(q.dev.file.Fd()), cbs: make([]iocb, block.DiskDepth), ptrs: make([]*iocb, block.DiskDepth)}
	for q.next(s) {
		for from := 0; from < len(s.slots); {
			n, errno := q.enter(s.ptrs[from:len(s.slots)], s.wait)
			from += n
			if n == 0 && errno != unix.EINTR {
				q.refused(s.slots[from], errno, s.wait)
				from++
			}
		}
	}
}

// next takes what waits, as far as slots are free; false at the end.
func (q *queue) next(s *submitter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting)+len(q.again) == 0 || len(q.free) == 0 {
		if q.closed && len(q.waiting)+len(q.again) == 0 && len(q.free) == len(q.inFlight) {
			return false
		}
		q.wake.Wait()
		q.mu.Unlock()
		runtime.Gosched() // who woke us has more to begin: other operations, and what goes to the peer, which takes longer
		q.mu.Lock()
	}
	from := &q.waiting
	s.wait = q.patient
	if len(q.again) > 0 {
		from, s.wait = &q.again, true
	}
	s.slots = s.slots[:0]
	n := min(len(*from), len(q.free))
	for i, o := range (*from)[:n] {
		slot := q.free[len(q.free)-1]
		q.free = q.free[:len(q.free)-1]
		q.inFlight[slot] = o
		s.slots = append(s.slots, slot)
		s.cbs[i] = s.encode(o, slot)
		s.ptrs[i] = &s.cbs[i]
	}
	rest := copy(*from, (*from)[n:])
	clear((*from)[rest:])
	*from = (*from)[:rest]
	return true
}

// encode describes an operation to the kernel. The buffer stays where it is and reachable: inFlight has the operation.
func (s *submitter) encode(o *disk.Operation, slot int) iocb {
	cb := iocb{data: uint64(slot), fd: s.fd, flags: flagResfd, resfd: s.resfd}
	if o.Kind == disk.Flush {
		cb.opcode = iocbFdsync // carried out by a thread of the kernel's, so that it needs no flag
		return cb
	}
	cb.opcode = iocbPwrite
	if o.Kind == disk.Read {
		cb.opcode = iocbPread
	}
	if !s.wait {
		cb.rwFlags = rwfNowait
	}
	cb.buf, cb.nbytes, cb.offset = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(o.Data)))), uint64(len(o.Data)), o.Off
	return cb
}

// enter hands operations to the kernel, and tells how many it took.
func (q *queue) enter(list []*iocb, mayWait bool) (int, unix.Errno) {
	call := unix.RawSyscall
	if mayWait {
		call = unix.Syscall
	}
	n, _, errno := call(unix.SYS_IO_SUBMIT, q.context, uintptr(len(list)), uintptr(unsafe.Pointer(unsafe.SliceData(list))))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// refused deals with an operation that the kernel did not take: once more, in the way that may wait, or, if that was it,
// without the kernel's queue. A kernel before 4.18 has no asynchronous flush, and EAGAIN is a lack of memory.
func (q *queue) refused(slot int, why unix.Errno, waited bool) {
	if why == unix.EOPNOTSUPP && !waited {
		q.mu.Lock()
		q.patient = true
		q.mu.Unlock()
	}
	o := q.at(slot)
	switch {
	case !waited && o.Kind != disk.Flush && (why == unix.EOPNOTSUPP || why == unix.EAGAIN):
		q.resubmit(slot)
	case why == unix.EAGAIN || why == unix.EINVAL:
		go func() {
			err := q.dev.plain(o, 0)
			q.release(slot)
			o.Owner.Finished(o, err)
		}()
	default:
		q.release(slot)
		o.Owner.Finished(o, q.describe(o, why))
	}
}

// at is the operation in a slot.
func (q *queue) at(slot int) *disk.Operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inFlight[slot]
}

// resubmit takes an operation back, to be submitted in the way that may wait.
func (q *queue) resubmit(slot int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.again = append(q.again, q.inFlight[slot])
	q.inFlight[slot] = nil
	q.free = append(q.free, slot)
	q.wake.Signal()
}

// release ends the use of a slot.
func (q *queue) release(slot int) *disk.Operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := q.inFlight[slot]
	q.inFlight[slot] = nil
	q.free = append(q.free, slot)
	if q.closed || len(q.waiting)+len(q.again) > 0 {
		q.wake.Signal()
	}
	return o
}

// reaper is what the reaping goroutine works with.
type reaper struct {
	queue  *queue
	events []ioEvent
	n      int
}

// look is for the poller: false means that nothing is finished. The eventfd itself is not read: each signal wakes the
// poller, whatever the counter is.
func (r *reaper) look(uintptr) bool {
	var zero unix.Timespec
	n, _, errno := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, r.queue.context, 0, uintptr(len(r.events)),
		uintptr(unsafe.Pointer(unsafe.SliceData(r.events))), uintptr(unsafe.Pointer(&zero)), 0)
	r.n = int(n)
	return errno == 0 && n > 0
}

// reap tells owners until the eventfd is closed.
func (q *queue) reap(raw syscall.RawConn) {
	defer q.reaped.Done()
	r := &reaper{queue: q, events: make([]ioEvent, block.DiskDepth)}
	look := r.look
	for raw.Read(look) == nil {
		for _, e := range r.events[:r.n] {
			q.finish(e)
		}
	}
}

func (q *queue) finish(e ioEvent) {
	slot := int(e.data)
	o := q.at(slot)
	switch {
	case e.res == -int64(unix.EAGAIN) && o.Kind != disk.Flush:
		q.resubmit(slot)
	case e.res < 0:
		q.release(slot)
		o.Owner.Finished(o, q.describe(o, unix.Errno(-e.res)))
	case o.Kind != disk.Flush && e.res < int64(len(o.Data)):
		go func() {
			err := q.dev.plain(o, int(e.res)) // the rest, or the reason why there is none
			q.release(slot)
			o.Owner.Finished(o, err)
		}()
	default:
		q.release(slot)
		o.Owner.Finished(o, nil)
	}
}

func (q *queue) describe(o *disk.Operation, why error) error {
	switch o.Kind {
	case disk.Flush:
		return fmt.Errorf("flush %s: %w", q.dev.path, why)
	case disk.Read:
		return fmt.Errorf("read %s at %d, %d bytes: %w", q.dev.path, o.Off, len(o.Data), why)
	}
	return fmt.Errorf("write %s at %d, %d bytes: %w", q.dev.path, o.Off, len(o.Data), why)
}

// waiter is an operation whose owner waits for it.
type waiter struct {
	op   disk.Operation
	done chan error
}

// Finished ends the wait.
func (w *waiter) Finished(_ *disk.Operation, err error) { w.done <- err }

// wait carries an operation out and waits; false if the queue is closed.
func (q *queue) wait(kind disk.Kind, p []byte, off int64) (bool, error) {
	w, ok := q.waiters.Get().(*waiter)
	if !ok {
		w = &waiter{done: make(chan error, 1)}
	}
	w.op = disk.Operation{Kind: kind, Off: off, Data: p, Owner: w}
	if !q.add(&w.op) {
		return false, nil
	}
	err := <-w.done
	w.op.Data = nil
	q.waiters.Put(w)
	return true, err
}
