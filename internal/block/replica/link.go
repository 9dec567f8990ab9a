package replica

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
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
	// dataEnded is closed when the data connection is.
	dataEnded chan struct{}
	reason    string
	silent    bool
	running   sync.WaitGroup

	heard     atomic.Int64 // last packet on meta, monotonic nanoseconds since born
	born      time.Time
	pingsSent atomic.Int64
	pingsBack atomic.Int64
	pingWant  atomic.Int64
	credit    *credit
	newSum    func() hash.Hash // of the data of a packet; nil for none
	sumIn     hash.Hash        // of the reader's goroutine
	sumLen    int
	sumRoom   [wire.MaxDigest]byte // of the reader's goroutine
	stepped   bool                 // its caller moves the packets: see Stepped
}

// Packet is what came from the peer. Body is valid during the handler only; Data, if not nil, belongs to the receiver,
// who releases it and then calls Done.
type Packet struct {
	Command wire.Command
	Volume  uint16 // number of the volume it is about; 0 if it is about the connection, or before version 100
	Form    wire.Form
	Body    []byte        // payload, without Data
	Info    wire.DataInfo // of packets with Data
	Data    *Buffer
}

func newLink(cfg Config, p *pairing) *Link {
	l := &Link{cfg: cfg, closed: make(chan struct{}), dataEnded: make(chan struct{}), born: time.Now(), credit: newCredit()}
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
	if l.stepped {
		return
	}
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

// Send queues a packet about a volume, or about the connection (0), for the data connection, in order. extra follows the payload without being copied: it must stay
// unchanged until the peer has acknowledged the packet or the link is down; buffer, if not nil, is released once sent.
func Send[P wire.Payload](l *Link, volume uint16, cmd wire.Command, p P, extra []byte, buffer *Buffer) {
	switch v := any(p).(type) {
	case wire.DataInfo:
		l.data.pushData(l, volume, cmd, v, extra, buffer)
	case wire.BarrierInfo:
		l.data.pushBarrier(l, cmd, v)
	default:
		l.data.push(l, volume, cmd, p, extra, buffer)
	}
}

// SendMeta queues a packet about a volume, or about the connection (0), for the meta connection.
func SendMeta[P wire.Payload](l *Link, volume uint16, cmd wire.Command, p P) {
	switch v := any(p).(type) {
	case wire.BlockAck:
		l.meta.pushAck(l, volume, cmd, v)
	case wire.BarrierInfo:
		l.meta.pushBarrier(l, cmd, v)
	default:
		l.meta.push(l, volume, cmd, p, nil, nil)
	}
}

// SendBytes queues ready-made packets for the data connection.
func (l *Link) SendBytes(packets []byte) { l.data.pushRaw(l, packets) }

// Form is the header form of a packet with this payload length.
func (l *Link) Form(length int) wire.Form { return l.form(length) }

// Ping asks for a PingAck that tells that the peer has read all that was sent on the meta connection; handler gets it.
func (l *Link) Ping() {
	l.pingWant.Store(l.pingsSent.Add(1)) // before the answer can come
	l.sendPing()
}

func (l *Link) sendPing() { l.meta.pushRaw(l, wire.AppendEmpty(nil, l.form(0), 0, wire.Ping)) }

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
	p := Packet{Command: h.Command, Volume: h.Volume, Form: l.data.lastForm}
	if err := expected(h.Command, false); err != nil {
		return err
	}
	size := int(h.Length)
	switch h.Command {
	case wire.Data, wire.DataReply, wire.RSDataReply:
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
	head := wire.DataInfoLen + l.sumLen
	n := size - head
	if n < 0 || n%512 != 0 || n > block.MaxIO {
		return fmt.Errorf("%v of %d bytes", p.Command, size)
	}
	fixed := l.data.scratch(head)
	if _, err := io.ReadFull(l.data.in, fixed); err != nil {
		return err
	}
	if err := p.Info.Decode(fixed); err != nil {
		return err
	}
	if !l.credit.take(n) {
		return errors.New("closed here")
	}
	p.Data = l.pool.Get(n)
	if _, err := io.ReadFull(l.data.in, p.Data.B); err != nil {
		p.Data.Release()
		return err
	}
	if err := l.checkSum(fixed[wire.DataInfoLen:], p.Data.B); err != nil {
		p.Data.Release()
		return fmt.Errorf("%v of %d bytes at sector %d: %w", p.Command, n, p.Info.Sector, err)
	}
	l.handler(p)
	return nil
}

// checkSum compares data with the digest that came before it.
func (l *Link) checkSum(want, data []byte) error {
	if l.sumLen == 0 {
		return nil
	}
	l.sumIn.Reset()
	l.sumIn.Write(data)
	if !bytes.Equal(l.sumIn.Sum(l.sumRoom[:0]), want) {
		return errors.New("Digest integrity check FAILED: the data changed on its way, or in memory while it was sent")
	}
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
	if err := expected(h.Command, true); err != nil {
		return err
	}
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
	l.handler(Packet{Command: h.Command, Volume: h.Volume, Body: body})
	return nil
}

// expected refuses a command that cannot come on a connection: a handler relies on what each of the two carries.
func expected(c wire.Command, meta bool) error {
	switch {
	case !c.Known():
		return fmt.Errorf("unknown packet %v", c)
	case !c.Belongs(meta):
		return fmt.Errorf("packet %v came on the wrong one of the two connections", c)
	}
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
				l.pingsSent.Add(1)
				l.sendPing()
			case now.Sub(asked) >= l.cfg.PingTimeout && quiet >= now.Sub(asked):
				l.end("PingAck did not arrive in time", true)
				return
			}
		}
	}
}

func (l *Link) write(c *channel) {
	var out sender = &vectorSender{conn: c.conn}
	if c.tls {
		out = newBufferSender(c.conn)
	}
	if c == l.data {
		defer close(l.dataEnded)
	}
	defer c.conn.Close()
	sum := l.sumOut()
	var spent outbox
	for {
		q, ok := c.take(spent)
		if !ok {
			l.farewell(c)
			return
		}
		q.fillSums(sum)
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

// farewell ends a connection in good order, the data connection first: the kernel module drops everything when the meta
// connection ends.
func (l *Link) farewell(c *channel) {
	if l.silent {
		return
	}
	if c == l.meta && !c.tls {
		<-l.dataEnded
	}
	c.farewell()
}

// sumOut is a digest for one writer; nil for none.
func (l *Link) sumOut() hash.Hash {
	if l.newSum == nil {
		return nil
	}
	return l.newSum()
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

// transmit sends a queue; a peer that takes nothing for SendTimeout is dropped.
func (l *Link) transmit(c *channel, out sender, q outbox) error {
	select {
	case <-l.closed:
	default:
		c.conn.SetWriteDeadline(time.Now().Add(l.cfg.SendTimeout))
	}
	err := out.send(q)
	for _, it := range q.items {
		it.buffer.Release()
	}
	return err
}
