package volume

import (
	"fmt"
	"sync"

	"holdfast/internal/block/kernel"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/writepath"
	"holdfast/internal/disk"
)

// work is what a job does.
type work uint8

const (
	doRead work = iota + 1
	doWrite
	doDiscard
	doZero
	doFlush
	doPieces  // write and flush pieces of metadata
	doSave    // read a piece and add it to the file of saved blocks
	doKeep    // make that file durable
	doCheck   // read a file of saved blocks
	doRestore // write its blocks back
)

// purpose is whom a job is for.
type purpose uint8

const (
	forRead     purpose = iota + 1 // a kernel's read
	forPath                        // an operation of the write path
	forPathSync                    // a flush of the write path
	forLog                         // an activity log transaction
	forBitmap                      // pages of the bitmap
	forPeer                        // a write of the peer
	forPeerSync                    // a flush for the peer
	forResync                      // a read for the peer's resync
	forPeerRead                    // a read for the peer's application
	forCsum                        // a read whose digest goes with a resync request
	forVerify                      // a read to compare
	forFinish                      // the flush at the end of a resync
	forHeal                        // a heal or its undo
	forGrow                        // new blocks are zeroed, and that is made durable
)

// job is a piece of disk I/O, carried out by a worker and returned to the engine.
type job struct {
	work    work
	purpose purpose
	before  bool // flush before writing
	after   bool // flush after writing
	dev     disk.Device
	off     int64
	length  int64
	data    []byte
	first   []piece // doPieces: durable before pieces are written
	pieces  []piece
	err     error

	part    *engine
	id      writepath.ID
	request *kernel.Request
	link    *replica.Link
	buffer  *replica.Buffer
	packet  packet
	begun   bool // of those that wait for others of the peer: it is being carried out
	resync  *resyncRead
	verify  *verifyRead
	side    *sideFile
	sideErr error         // of side, not of the disk
	done    chan struct{} // closed when carried out, if not nil

	op      disk.Operation // as the disk itself gets it
	workers *workers
}

// piece is a part of metadata to write.
type piece struct {
	off  int64
	data []byte
}

// workers carry jobs out: the disk itself where it can, else as many threads as were started.
type workers struct {
	mu      sync.Mutex
	wake    *sync.Cond
	queue   []*job
	stopped bool
	deliver func(*job)
}

func startWorkers(n int, deliver func(*job)) *workers {
	w := &workers{deliver: deliver}
	w.wake = sync.NewCond(&w.mu)
	for range n {
		go w.run()
	}
	return w
}

// add begins a job: the disk itself carries it out, if it can, or a worker.
func (w *workers) add(j *job) {
	if dev, ok := j.dev.(disk.AsyncDevice); ok && j.asOperation() {
		j.workers = w
		if dev.Start(&j.op) {
			return
		}
	}
	w.mu.Lock()
	w.queue = append(w.queue, j)
	w.mu.Unlock()
	w.wake.Signal()
}

func (w *workers) wait(done <-chan struct{}) { <-done }

// stop ends the threads once the queue is empty.
func (w *workers) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.wake.Broadcast()
}

func (w *workers) run() {
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.stopped {
			w.wake.Wait()
		}
		if len(w.queue) == 0 {
			w.mu.Unlock()
			return
		}
		j := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.mu.Unlock()
		j.err = j.run()
		w.finish(j)
	}
}

func (j *job) run() error {
	if j.before {
		if err := j.dev.Flush(); err != nil {
			return err
		}
	}
	err := j.perform()
	if err == nil && j.after {
		err = j.dev.Flush()
	}
	return err
}

func (j *job) perform() error {
	switch j.work {
	case doRead:
		return j.dev.ReadAt(j.data, j.off)
	case doWrite:
		return j.dev.WriteAt(j.data, j.off)
	case doDiscard:
		return j.dev.Discard(j.off, j.length)
	case doZero:
		return j.dev.WriteZeroes(j.off, j.length)
	case doFlush:
		return j.dev.Flush()
	case doSave, doKeep, doCheck, doRestore:
		return j.heal()
	}
	for _, list := range [][]piece{j.first, j.pieces} {
		if err := writePieces(j.dev, list); err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
	}
	return nil
}

// asOperation describes the job as one for the disk itself; false if it is none, or if flushes belong to it.
func (j *job) asOperation() bool {
	if j.before || j.after {
		return false
	}
	kind := disk.Flush
	switch j.work {
	case doRead:
		kind = disk.Read
	case doWrite:
		kind = disk.Write
	case doFlush:
	default:
		return false
	}
	j.op = disk.Operation{Kind: kind, Off: j.off, Data: j.data, Owner: j}
	return true
}

// Finished takes the job back from the disk.
func (j *job) Finished(_ *disk.Operation, err error) {
	j.err = err
	j.workers.finish(j)
}

func (w *workers) finish(j *job) {
	if j.done != nil {
		close(j.done)
	}
	w.deliver(j)
}

func writePieces(dev disk.Device, list []piece) error {
	if len(list) == 0 {
		return nil
	}
	for _, p := range list {
		if err := dev.WriteAt(p.data, p.off); err != nil {
			return err
		}
	}
	return dev.Flush()
}

// jobPool keeps jobs for the next use. Only the engine's goroutine uses it.
type jobPool struct{ free []*job }

func (p *jobPool) get() *job {
	if n := len(p.free); n > 0 {
		j := p.free[n-1]
		p.free = p.free[:n-1]
		return j
	}
	return &job{}
}

func (p *jobPool) put(j *job) {
	*j = job{}
	p.free = append(p.free, j)
}
