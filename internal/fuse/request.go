package fuse

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Op is what a Request asks of the file.
type Op uint8

// The operations that reach a File; everything else is answered by the connection itself.
const (
	Read Op = iota + 1
	Write
	Sync
	Allocate
)

// Request is one operation on the served file. It belongs to the File from Submit until Reply; then it is used again.
type Request struct {
	Op Op
	// Offset and Length are bytes. Read and Write stay within the file's size and MaxTransfer.
	Offset, Length int64
	// Mode is fallocate(2)'s, for Allocate: FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_KEEP_SIZE.
	Mode uint32
	// DataOnly, for Sync: fdatasync(2).
	DataOnly bool
	// Data is Length bytes at a page boundary: the payload of a Write, what a Read has to fill.
	Data []byte
	// Aux is the File's own: it stays with the Request from use to use, so that a File need not allocate.
	Aux any

	conn   *Conn
	unique uint64
	buf    []byte // one page, whose end takes the headers, and MaxTransfer bytes
}

// payload is where a READ's answer and a WRITE's data lie.
func (r *Request) payload() []byte { return r.buf[pageSize:] }

// incoming is what a read(2) of /dev/fuse fills: a WRITE's header and structure end exactly at the page boundary.
func (r *Request) incoming() []byte { return r.buf[pageSize-inHeaderSize-writeInSize:] }

// Reply answers the request: nil, or an error that becomes an errno (EIO unless it wraps one). It is called exactly
// once, from any goroutine. It does one write(2) to /dev/fuse, which does not wait for anything but the kernel's locks.
func (r *Request) Reply(err error) {
	switch {
	case err != nil:
		r.conn.answerError(r, errnoOf(err))
	case r.Op == Read:
		r.conn.answer(r, int(r.Length))
	case r.Op == Write:
		r.conn.answerWritten(r)
	default:
		r.conn.answer(r, 0)
	}
}

// pool hands out the connection's requests, last returned first: a quiet connection touches few pages of its memory.
type pool struct {
	mu     sync.Mutex
	cond   sync.Cond
	free   []*Request
	total  int
	closed bool
	memory []byte
	// idle runs once, when the pool is closed and has every request back.
	idle func()
}

// newPool makes n requests with page-aligned buffers in one anonymous mapping, which costs memory, but for its `touched` parts, only
// as it is used.
func newPool(c *Conn, n int, idle func()) (*pool, error) {
	const each = pageSize + MaxTransfer
	memory, err := unix.Mmap(-1, 0, n*each, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d request buffers of %d bytes: %w", n, each, err)
	}
	p := &pool{total: n, memory: memory, idle: idle, free: make([]*Request, 0, n)}
	p.cond.L = &p.mu
	for i := range n {
		touch(memory[i*each : i*each+touched])
		p.free = append(p.free, &Request{conn: c, buf: memory[i*each : (i+1)*each : (i+1)*each]})
	}
	return p, nil
}

// touched is how much of each buffer is given memory beforehand. The kernel fails a request with EIO, rather than leave it
// for the next process, if this one is killed while a page is being found to copy the request to; a page that is there
// needs no finding. Larger requests keep that window, for the page faults of their first use.
const touched = pageSize + 64<<10

// touch writes to each page of b, which holds nothing yet.
func touch(b []byte) {
	for i := 0; i < len(b); i += pageSize {
		b[i] = 0
	}
}

// get waits for a free request; nil after close.
func (p *pool) get() *Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) == 0 && !p.closed {
		p.cond.Wait()
	}
	if p.closed {
		return nil
	}
	r := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return r
}

func (p *pool) put(r *Request) {
	r.Data = nil
	p.mu.Lock()
	p.free = append(p.free, r)
	p.freeIfIdle()
	p.mu.Unlock()
	p.cond.Signal()
}

// close wakes every waiting get. The memory and the descriptor go back once the last request has been returned: until
// then a File may still be filling the one, and an answer be written to the other.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.freeIfIdle()
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *pool) freeIfIdle() {
	if !p.closed || len(p.free) != p.total || p.memory == nil {
		return
	}
	_ = unix.Munmap(p.memory) // the address is ours; if the kernel refused, the memory stays until exit
	p.memory = nil
	p.idle()
}
