package replica

import (
	"bufio"
	"crypto/tls"
	"errors"
	"hash"
	"io"
	"net"
	"sync"
	"time"

	"holdfast/internal/block"
	"holdfast/internal/block/wire"
)

// channel is one of the two connections, with its queue of packets to send.
type channel struct {
	conn     net.Conn
	in       *bufio.Reader
	tls      bool
	lastForm wire.Form
	body     []byte

	mu      sync.Mutex
	wake    *sync.Cond
	queue   outbox
	stopped bool
}

// outbox is what waits to be sent: fixed parts one after the other in heads, and what follows each of them.
type outbox struct {
	heads []byte
	items []outItem
}

type outItem struct {
	end    int  // of its fixed part in heads, with the room for a digest at its end
	sum    bool // a digest of extra goes there
	extra  []byte
	buffer *Buffer
}

// fillSums writes the digests of the data, on the goroutine that sends it.
func (q outbox) fillSums(h hash.Hash) {
	for _, it := range q.items {
		if !it.sum {
			continue
		}
		h.Reset()
		h.Write(it.extra)
		h.Sum(q.heads[it.end-h.Size() : it.end-h.Size()])
	}
}

// Sizes of the buffers between TLS and the packets, in bytes.
const (
	readBuffer = 64 << 10
	sendBuffer = 64 << 10
)

func newChannel(c net.Conn, secure bool) *channel {
	ch := &channel{conn: c, in: bufio.NewReaderSize(c, readBuffer), tls: secure}
	ch.wake = sync.NewCond(&ch.mu)
	return ch
}

func (c *channel) header() (wire.Header, error) {
	p, err := c.in.Peek(8)
	if err != nil {
		return wire.Header{}, err
	}
	h, size, err := wire.DecodeHeader(p)
	if errors.Is(err, wire.ErrMore) {
		if p, err = c.in.Peek(size); err != nil {
			return h, err
		}
		h, size, err = wire.DecodeHeader(p)
	}
	if err != nil {
		return h, err
	}
	c.lastForm = formOf(size, p)
	_, err = c.in.Discard(size)
	return h, err
}

func formOf(size int, p []byte) wire.Form {
	switch {
	case size == wire.MaxHeader:
		return wire.Form100
	case p[0] == 0x83 && p[1] == 0x5a:
		return wire.Form95
	}
	return wire.Form80
}

func (c *channel) scratch(n int) []byte {
	if cap(c.body) < n {
		c.body = make([]byte, n)
	}
	return c.body[:n]
}

func (c *channel) push(l *Link, volume uint16, cmd wire.Command, p wire.Payload, extra []byte, buffer *Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begin(l, volume, cmd, p.Len(), extra, buffer) {
		c.queue.heads = p.AppendTo(c.queue.heads)
		c.finish(l, cmd, extra, buffer)
	}
}

// pushData is push of what is sent with every write: as an interface's value it would cost an allocation.
func (c *channel) pushData(l *Link, volume uint16, cmd wire.Command, p wire.DataInfo, extra []byte, buffer *Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begin(l, volume, cmd, p.Len(), extra, buffer) {
		c.queue.heads = p.AppendTo(c.queue.heads)
		c.finish(l, cmd, extra, buffer)
	}
}

// pushAck is the same of what answers a write.
func (c *channel) pushAck(l *Link, volume uint16, cmd wire.Command, p wire.BlockAck) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begin(l, volume, cmd, p.Len(), nil, nil) {
		c.queue.heads = p.AppendTo(c.queue.heads)
		c.finish(l, cmd, nil, nil)
	}
}

// pushBarrier is the same of what goes with every flush, both ways; it is of all volumes.
func (c *channel) pushBarrier(l *Link, cmd wire.Command, p wire.BarrierInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begin(l, 0, cmd, p.Len(), nil, nil) {
		c.queue.heads = p.AppendTo(c.queue.heads)
		c.finish(l, cmd, nil, nil)
	}
}

// sumRoomOf is the room for a digest in a packet.
func (l *Link) sumRoomOf(cmd wire.Command) int {
	if cmd.CarriesDigest() {
		return l.sumLen
	}
	return 0
}

// begin queues a packet's header; false if nothing can be queued. Called with the lock.
func (c *channel) begin(l *Link, volume uint16, cmd wire.Command, payload int, extra []byte, buffer *Buffer) bool {
	if c.refuse(l) {
		buffer.Release()
		return false
	}
	n := payload + l.sumRoomOf(cmd) + len(extra)
	c.queue.heads = wire.AppendHeader(c.queue.heads, l.form(n), wire.Header{Command: cmd, Volume: volume, Length: uint32(n)})
	return true
}

// finish ends the packet whose fixed part has been queued.
func (c *channel) finish(l *Link, cmd wire.Command, extra []byte, buffer *Buffer) {
	sum := l.sumRoomOf(cmd)
	var room [wire.MaxDigest]byte
	c.queue.heads = append(c.queue.heads, room[:sum]...)
	c.queue.items = append(c.queue.items, outItem{end: len(c.queue.heads), sum: sum > 0, extra: extra, buffer: buffer})
	c.wake.Signal()
}

func (c *channel) pushRaw(l *Link, packets []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse(l) {
		return
	}
	c.queue.heads = append(c.queue.heads, packets...)
	c.queue.items = append(c.queue.items, outItem{end: len(c.queue.heads)})
	c.wake.Signal()
}

// refuse tells that nothing can be queued. A queue over its limit ends the link.
func (c *channel) refuse(l *Link) bool {
	if c.stopped {
		return true
	}
	if len(c.queue.items) >= block.MaxSendQueue {
		go l.end("the peer does not take what it is sent", false)
		return true
	}
	return false
}

func (c *channel) stop() {
	c.mu.Lock()
	c.stopped = true
	c.wake.Broadcast()
	c.mu.Unlock()
	if c.conn == nil {
		return
	}
	// A packet that says why (a reply, a last state) may be queued: let the writer have its moment.
	c.conn.SetWriteDeadline(time.Now().Add(lingerTimeout))
	c.conn.SetReadDeadline(time.Now())
}

// lingerTimeout bounds the sending of what is queued when a link is closed.
const lingerTimeout = 100 * time.Millisecond

// farewellTimeout bounds the wait for a foreign peer to close its end too.
const farewellTimeout = time.Second

// farewell ends our direction and waits for the peer to end its own: a close that leaves something unread resets the
// connection, and the peer would not learn what was sent last, such as the generations that show a split brain.
func (c *channel) farewell() {
	tcp, ok := c.conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil {
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(farewellTimeout))
	io.Copy(io.Discard, c.conn)
}

// take waits for packets and swaps the queue with an empty one; ok is false when the link is closed and all is sent.
func (c *channel) take(empty outbox) (outbox, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue.items) == 0 {
		if c.stopped {
			return outbox{}, false
		}
		c.wake.Wait()
	}
	q := c.queue
	c.queue = outbox{heads: empty.heads[:0], items: empty.items[:0]}
	return q, true
}

type sender interface{ send(outbox) error }

// vectorSender writes a queue with few system calls and without copying.
type vectorSender struct {
	conn net.Conn
	vec  net.Buffers
	rest net.Buffers // of vec, while it is being sent
}

func (s *vectorSender) send(q outbox) error {
	s.vec = s.vec[:0]
	from := 0
	for i, it := range q.items {
		if len(it.extra) == 0 && i+1 < len(q.items) {
			continue // joins the next one's fixed part
		}
		s.vec = append(s.vec, q.heads[from:it.end])
		from = it.end
		if len(it.extra) > 0 {
			s.vec = append(s.vec, it.extra)
		}
	}
	s.rest = s.vec
	_, err := s.rest.WriteTo(s.conn)
	return err
}

// bufferSender gathers small packets into TLS records, and records into system calls.
type bufferSender struct {
	w      *bufio.Writer
	socket *socket // below TLS; nil if it is of another kind
}

func newBufferSender(c net.Conn) *bufferSender {
	s := &bufferSender{w: bufio.NewWriterSize(c, sendBuffer)}
	if t, ok := c.(*tls.Conn); ok {
		if s.socket, ok = t.NetConn().(*socket); ok {
			s.socket.gather() // the handshake is over: all that is written from now on is flushed below
		}
	}
	return s
}

func (s *bufferSender) send(q outbox) error {
	from := 0
	for _, it := range q.items {
		if _, err := s.w.Write(q.heads[from:it.end]); err != nil {
			return err
		}
		from = it.end
		if _, err := s.w.Write(it.extra); err != nil {
			return err
		}
	}
	err := s.w.Flush()
	if err == nil && s.socket != nil {
		err = s.socket.flush()
	}
	return err
}
