package nbd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"net"
	"os"
	"sync"

	"holdfast/internal/block"
	"holdfast/internal/block/backing"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/ranges"
)

// Limits of the server.
const (
	// depth is how many requests of a connection are under way; more stay in the socket. The kernel has 128 at a time.
	depth = 256
	// readAhead is how much of the stream is read at a time, in bytes; longer payloads go where they belong at once.
	readAhead = 32 << 10
	// smallest is the least buffer, in bytes; all are powers of two.
	smallest = 4096
)

// server answers one connection from a target.
type server struct {
	target   kernel.Target
	cutter   *ranges.Cutter
	readOnly bool
	log      *slog.Logger
	conn     *net.UnixConn

	ops     opPool
	replies replyQueue
	ended   chan struct{} // the client has left, or was left
	closed  sync.Once
}

// newServer owns the descriptor of a connected stream socket.
func newServer(target kernel.Target, fd int, readOnly bool, log *slog.Logger) (*server, error) {
	f := os.NewFile(uintptr(fd), "nbd")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("nbd connection: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("nbd connection: not a unix socket")
	}
	s := &server{target: target, cutter: ranges.New(target), readOnly: readOnly, log: log, conn: u, ended: make(chan struct{})}
	s.ops.init()
	s.replies.wake.L = &s.replies.mu
	return s, nil
}

// start begins to serve. ended is closed at the end of the connection, whoever ends it.
func (s *server) start() {
	go s.cutter.Run(s.ended)
	go s.write()
	go func() {
		if err := s.read(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
			s.log.Error("the kernel's NBD connection has ended", "err", err)
		}
		s.close()
	}()
}

// close ends the connection; answers that come later go nowhere.
func (s *server) close() {
	s.closed.Do(func() {
		close(s.ended)
		s.conn.Close()
		s.replies.close()
	})
}

// read hands requests on until the client disconnects (nil) or the stream breaks.
func (s *server) read() error {
	in := bufio.NewReaderSize(s.conn, readAhead)
	var raw [requestSize]byte
	for {
		if _, err := io.ReadFull(in, raw[:]); err != nil {
			return err
		}
		h, err := decode(raw[:])
		if err != nil || h.command == cmdDisconnect {
			return err
		}
		o := s.ops.get(h.dataLength())
		o.server, o.cookie, o.command = s, h.cookie, h.command
		if h.command == cmdWrite {
			if _, err := io.ReadFull(in, o.data); err != nil {
				s.ops.put(o)
				return err
			}
		}
		s.submit(o, h)
	}
}

// dataLength is how much memory a request needs. What check refuses needs what its payload takes all the same.
func (h header) dataLength() int {
	if h.command == cmdWrite || h.command == cmdRead && h.length <= block.MaxIO {
		return int(h.length)
	}
	return 0
}

func (s *server) submit(o *op, h header) {
	if err := h.check(s.target.Size(), s.readOnly); err != nil {
		o.Complete(&o.request, err)
		return
	}
	o.request = kernel.Request{Offset: int64(h.offset), Length: int64(h.length), FUA: h.flags&flagFUA != 0, Owner: o}
	switch h.command {
	case cmdRead:
		o.request.Op, o.request.Data, o.request.FUA = kernel.Read, o.data, false
	case cmdWrite:
		o.request.Op, o.request.Data = kernel.Write, o.data
	case cmdFlush:
		o.request.Op, o.request.FUA = kernel.Flush, false
	case cmdTrim:
		o.request.Op = kernel.Discard
		s.cutter.Submit(&o.request)
		return
	case cmdWriteZeroes:
		o.request.Op, o.request.Unmap = kernel.WriteZeroes, h.flags&flagNoHole == 0
		s.cutter.Submit(&o.request)
		return
	}
	s.target.Submit(&o.request)
}

// op is a request under way, and its answer.
type op struct {
	request kernel.Request
	server  *server
	cookie  uint64
	command uint16
	data    []byte // of the request's length, part of buffer
	buffer  []byte
	head    [replySize]byte
	errno   uint32
}

// Complete queues the answer.
func (o *op) Complete(_ *kernel.Request, err error) {
	o.errno = errnoOf(err)
	o.server.replies.add(o)
}

// replyQueue holds answers for the writer.
type replyQueue struct {
	mu     sync.Mutex
	wake   sync.Cond
	list   []*op
	closed bool
}

func (q *replyQueue) add(o *op) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		o.server.ops.put(o)
		return
	}
	q.list = append(q.list, o)
	q.mu.Unlock()
	q.wake.Signal()
}

func (q *replyQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake.Signal()
}

// take waits for answers and gives all there are, in spare's memory for the next time; nil at the end.
func (q *replyQueue) take(spare []*op) []*op {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 && !q.closed {
		q.wake.Wait()
	}
	list := q.list
	q.list = spare[:0]
	return list
}

// write sends answers, as many at a time as there are.
func (s *server) write() {
	var list []*op
	var pieces net.Buffers
	for {
		list = s.replies.take(list)
		if len(list) == 0 {
			return
		}
		pieces = pieces[:0]
		for _, o := range list {
			putReply(o.head[:], o.cookie, o.errno)
			pieces = append(pieces, o.head[:])
			if o.command == cmdRead && o.errno == 0 {
				pieces = append(pieces, o.data)
			}
		}
		rest := pieces // WriteTo eats what it has written
		_, err := rest.WriteTo(s.conn)
		for _, o := range list {
			s.ops.put(o)
		}
		if err != nil {
			s.close()
		}
	}
}

// opPool hands out ops with page-aligned buffers of the size asked for, last returned first. At most depth are out.
type opPool struct {
	slots chan struct{}
	mu    sync.Mutex
	free  [bits.UintSize][]*op // by the logarithm of the buffer's size; [0] has none
}

func (p *opPool) init() { p.slots = make(chan struct{}, depth) }

// class is the index of the least buffer for n bytes.
func class(n int) int {
	if n == 0 {
		return 0
	}
	return bits.Len(uint(max(n, smallest) - 1))
}

func (p *opPool) get(n int) *op {
	p.slots <- struct{}{}
	c := class(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	var o *op
	if k := len(p.free[c]); k > 0 {
		o = p.free[c][k-1]
		p.free[c] = p.free[c][:k-1]
	} else {
		o = &op{}
		if c > 0 {
			o.buffer = backing.Buffer(1 << c)
		}
	}
	o.data = o.buffer[:n]
	return o
}

func (p *opPool) put(o *op) {
	c := class(len(o.buffer))
	p.mu.Lock()
	p.free[c] = append(p.free[c], o)
	p.mu.Unlock()
	<-p.slots
}
