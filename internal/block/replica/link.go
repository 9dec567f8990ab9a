package replica

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/block"
	"holdfast/internal/block/wire"
)

// Link is an established pair of connections. Start begins reading; Send and SendMeta may be called from any goroutine;
// nothing blocks on the network.
type Link struct {
	Protocol int
	Features uint32
	// ResolveConflicts is true on the side that accepted the meta connection.
	ResolveConflicts bool
	// PeerDevice and PeerInstance are from a bound peer's hello.
	PeerDevice   uint64
	PeerInstance string

	cfg  Config
	pool *Pool
	data *channel
	meta *channel

	handler func(Packet)
	down    func(reason string, silent bool)
	once    sync.Once
	closed  chan struct{}
	reason  string
	silent  bool
	running sync.WaitGroup

	heard     atomic.Int64 // last packet on meta, monotonic nanoseconds since born
	born      time.Time
	pingsSent atomic.Int64
	pingsBack atomic.Int64
	pingWant  atomic.Int64
	credit    *credit
}

// Packet is what came from the peer. Body is valid during the handler only; Data, if not nil, belongs to the receiver,
// who releases it and then calls Done.
type Packet struct {
	Command wire.Command
	Form    wire.Form
	Body    []byte        // payload, without Data
	Info    wire.DataInfo // of packets with Data
	Data    *Buffer
}

func newLink(cfg Config, p *pairing) *Link {
	l := &Link{cfg: cfg, closed: make(chan struct{}), born: time.Now(), credit: newCredit()}
	l.ResolveConflicts = !p.meta.dialed
	l.PeerDevice, l.PeerInstance = parseHex(p.data.hello.Device), p.data.hello.Instance
	l.data, l.meta = newChannel(p.data.conn, cfg.Bound), newChannel(p.meta.conn, cfg.Bound)
	return l
}

// Start begins. handler gets every packet, from two goroutines; for a packet with Data it may block until there is room.
// down is called once, after everything has stopped and no buffer given to Send is in use any more.
func (l *Link) Start(pool *Pool, handler func(Packet), down func(reason string, silent bool)) {
	l.pool, l.handler, l.down = pool, handler, down
	l.touch()
	for _, f := range []func(){l.readData, l.readMeta, func() { l.write(l.data) }, func() { l.write(l.meta) }, l.watch} {
		l.running.Add(1)
		go func() {
			defer l.running.Done()
			f()
		}()
	}
	go func() {
		l.running.Wait()
		down(l.reason, l.silent)
	}()
}

// Close drops the connection; down follows.
func (l *Link) Close(reason string) { l.end(reason, false) }

func (l *Link) end(reason string, silent bool) {
	l.once.Do(func() {
		l.reason, l.silent = reason, silent
		close(l.closed)
		l.credit.close()
		for _, c := range []*channel{l.data, l.meta} {
			c.stop()
		}
	})
}

// Discard closes a link that was never started.
func (l *Link) Discard() {
	l.data.conn.Close()
	l.meta.conn.Close()
}

func (l *Link) touch()                    { l.heard.Store(int64(time.Since(l.born))) }
func (l *Link) silence() time.Duration    { return time.Since(l.born) - time.Duration(l.heard.Load()) }
func (l *Link) form(length int) wire.Form { return wire.FormFor(l.Protocol, length) }

// Send queues a packet for the data connection, in order. extra follows the payload without being copied: it must stay
// unchanged until the peer has acknowledged the packet or the link is down; buffer, if not nil, is released once sent.
func Send[P wire.Payload](l *Link, cmd wire.Command, p P, extra []byte, buffer *Buffer) {
	l.data.push(l, cmd, p, extra, buffer)
}

// SendMeta queues a packet for the meta connection.
func SendMeta[P wire.Payload](l *Link, cmd wire.Command, p P) { l.meta.push(l, cmd, p, nil, nil) }

// SendBytes queues ready-made packets for the data connection.
func (l *Link) SendBytes(packets []byte) { l.data.pushRaw(l, packets) }

// Form is the header form of a packet with this payload length.
func (l *Link) Form(length int) wire.Form { return l.form(length) }

// Ping asks for a PingAck that tells that the peer has read all that was sent on the meta connection; handler gets it.
func (l *Link) Ping() {
	l.pingWant.Store(l.ping())
}

func (l *Link) ping() int64 {
	l.meta.pushRaw(l, wire.AppendEmpty(nil, l.form(0), 0, wire.Ping))
	return l.pingsSent.Add(1)
}

// Done tells that a packet's data has been dealt with, so that more may be read.
func (l *Link) Done(bytes int) { l.credit.give(bytes) }

func (l *Link) readData() {
	for {
		h, err := l.data.header()
		if err == nil {
			err = l.receive(h)
		}
		if err != nil {
			l.fail("data connection", err)
			return
		}
	}
}

func (l *Link) fail(where string, err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the peer")
	}
	l.end(fmt.Sprintf("%s: %v", where, err), false)
}

// receive reads a packet of the data connection.
func (l *Link) receive(h wire.Header) error {
	p := Packet{Command: h.Command, Form: l.data.lastForm}
	if !h.Command.Known() {
		return fmt.Errorf("unknown packet %v", h.Command)
	}
	size := int(h.Length)
	switch h.Command {
	case wire.Data, wire.RSDataReply:
		return l.receiveData(p, size)
	}
	body := l.data.scratch(size)
	if _, err := io.ReadFull(l.data.in, body); err != nil {
		return err
	}
	p.Body = body
	l.handler(p)
	return nil
}

func (l *Link) receiveData(p Packet, size int) error {
	if size < wire.DataInfoLen || (size-wire.DataInfoLen)%512 != 0 || size-wire.DataInfoLen > block.MaxIO {
		return fmt.Errorf("%v of %d bytes", p.Command, size)
	}
	fixed := l.data.scratch(wire.DataInfoLen)
	if _, err := io.ReadFull(l.data.in, fixed); err != nil {
		return err
	}
	if err := p.Info.Decode(fixed); err != nil {
		return err
	}
	n := size - wire.DataInfoLen
	if !l.credit.take(n) {
		return errors.New("closed here")
	}
	p.Data = l.pool.Get(n)
	if _, err := io.ReadFull(l.data.in, p.Data.B); err != nil {
		p.Data.Release()
		return err
	}
	l.handler(p)
	return nil
}

func (l *Link) readMeta() {
	for {
		h, err := l.meta.header()
		if err == nil {
			err = l.receiveMeta(h)
		}
		if err != nil {
			l.fail("meta connection", err)
			return
		}
	}
}

func (l *Link) receiveMeta(h wire.Header) error {
	body := l.meta.scratch(int(h.Length))
	if _, err := io.ReadFull(l.meta.in, body); err != nil {
		return err
	}
	l.touch()
	switch h.Command {
	case wire.Ping:
		l.meta.pushRaw(l, wire.AppendEmpty(nil, l.form(0), 0, wire.PingAck))
		return nil
	case wire.PingAck:
		back := l.pingsBack.Add(1)
		if want := l.pingWant.Load(); want == 0 || back < want {
			return nil
		}
		l.pingWant.Store(0)
	}
	if !h.Command.Known() {
		return fmt.Errorf("unknown packet %v", h.Command)
	}
	l.handler(Packet{Command: h.Command, Body: body})
	return nil
}

// watch pings a silent peer and drops one that does not answer. A pause of this process itself is not held against it.
func (l *Link) watch() {
	step := min(l.cfg.PingTimeout/5, 100*time.Millisecond)
	tick := time.NewTicker(step)
	defer tick.Stop()
	last := time.Now()
	var asked time.Time
	for {
		select {
		case <-l.closed:
			return
		case now := <-tick.C:
			paused := now.Sub(last) > l.cfg.PingTimeout/2
			last = now
			switch quiet := l.silence(); {
			case paused && !asked.IsZero():
				asked = now
			case quiet < l.cfg.PingInterval:
				asked = time.Time{}
			case asked.IsZero():
				asked = now
				l.ping()
			case now.Sub(asked) >= l.cfg.PingTimeout && quiet >= now.Sub(asked):
				l.end("PingAck did not arrive in time", true)
				return
			}
		}
	}
}

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
	end    int // of its fixed part in heads
	extra  []byte
	buffer *Buffer
}

const readBuffer = 64 << 10

func newChannel(c net.Conn, tls bool) *channel {
	ch := &channel{conn: c, in: bufio.NewReaderSize(c, readBuffer), tls: tls}
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

func (c *channel) push(l *Link, cmd wire.Command, p wire.Payload, extra []byte, buffer *Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse(l) {
		buffer.Release()
		return
	}
	n := p.Len() + len(extra)
	c.queue.heads = wire.AppendHeader(c.queue.heads, l.form(n), wire.Header{Command: cmd, Length: uint32(n)})
	c.queue.heads = p.AppendTo(c.queue.heads)
	c.queue.items = append(c.queue.items, outItem{end: len(c.queue.heads), extra: extra, buffer: buffer})
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
	// A packet that says why (a reply, a last state) may be queued: let the writer have its moment.
	c.conn.SetWriteDeadline(time.Now().Add(lingerTimeout))
	c.conn.SetReadDeadline(time.Now())
}

// lingerTimeout bounds the sending of what is queued when a link is closed.
const lingerTimeout = 100 * time.Millisecond

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

func (l *Link) write(c *channel) {
	var out sender = &vectorSender{conn: c.conn}
	if c.tls {
		out = &bufferSender{w: bufio.NewWriterSize(c.conn, 64<<10)}
	}
	defer c.conn.Close()
	var spent outbox
	for {
		q, ok := c.take(spent)
		if !ok {
			return
		}
		err := l.transmit(c, out, q)
		if err != nil {
			l.fail("send", err)
			l.drain(c)
			return
		}
		clear(q.items)
		spent = q
	}
}

// drain releases what will not be sent.
func (l *Link) drain(c *channel) {
	for {
		q, ok := c.take(outbox{})
		if !ok {
			return
		}
		for _, it := range q.items {
			it.buffer.Release()
		}
	}
}

// transmit sends a queue; a peer that takes nothing for PeerTimeout is dropped.
func (l *Link) transmit(c *channel, out sender, q outbox) error {
	select {
	case <-l.closed:
	default:
		c.conn.SetWriteDeadline(time.Now().Add(block.PeerTimeout))
	}
	err := out.send(q)
	for _, it := range q.items {
		it.buffer.Release()
	}
	return err
}

type sender interface{ send(outbox) error }

// vectorSender writes a queue with few system calls and without copying.
type vectorSender struct {
	conn net.Conn
	vec  net.Buffers
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
	vec := s.vec
	_, err := vec.WriteTo(s.conn)
	return err
}

// bufferSender gathers small packets into TLS records.
type bufferSender struct{ w *bufio.Writer }

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
	return s.w.Flush()
}

// credit bounds the data received and not yet dealt with.
type credit struct {
	mu     sync.Mutex
	wake   *sync.Cond
	bytes  int
	count  int
	closed bool
}

func newCredit() *credit {
	c := &credit{}
	c.wake = sync.NewCond(&c.mu)
	return c
}

func (c *credit) take(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && (c.bytes+n > block.MaxPeerBytes || c.count >= block.MaxPeerRequests) {
		c.wake.Wait()
	}
	c.bytes += n
	c.count++
	return !c.closed
}

func (c *credit) give(n int) {
	c.mu.Lock()
	c.bytes -= n
	c.count--
	c.mu.Unlock()
	c.wake.Signal()
}

func (c *credit) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wake.Broadcast()
}
