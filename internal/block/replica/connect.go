// Package replica is the connection to the peer on real sockets: two TCP connections, made as DRBD 8.4 makes them, inside
// TLS 1.3 between members of a cluster.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/wire"
)

// Config says whom to connect with, and as whom.
type Config struct {
	// Local is where this node listens, Remote where the peer does: HOST:PORT.
	Local, Remote string
	Resource      string
	Node, Peer    string // names
	// Bound: within a cluster. The connections are TLS with the files of TLS, the peer's certificate names Peer, and a
	// hello of the same resource, branch of the cluster's log and epoch begins them.
	Bound    bool
	Branch   uint64
	Epoch    uint64
	TLS      api.TLSFiles
	Device   string // this disk's UUID, hex, for the hello
	Instance string // random name of this process's life, for the hello
	// Secret and HMAC (sha1, sha256, ...) authenticate an unbound peer; HMAC empty: not.
	Secret, HMAC string
	// Integrity is data-integrity-alg, empty for none (between two holdfast peers CRC32C then).
	Integrity string
	// Refused is told when the peer was refused (ErrRefused); Connect returns. It may be called from any goroutine.
	Refused func(error)
	// PingInterval, PingTimeout and Retry; zero values are block's limits for a bound or an unbound peer.
	PingInterval, PingTimeout, Retry time.Duration
	// SendTimeout is how long the peer may take nothing of what it is sent; zero: block.PeerTimeout.
	SendTimeout time.Duration
	Log         *slog.Logger
}

func (c Config) withDefaults() Config {
	pick := func(d *time.Duration, bound, plain time.Duration) {
		switch {
		case *d != 0:
		case c.Bound:
			*d = bound
		default:
			*d = plain
		}
	}
	pick(&c.PingInterval, block.BoundPingInterval, block.PingInterval)
	pick(&c.PingTimeout, block.BoundPingTimeout, block.PingTimeout)
	pick(&c.Retry, block.BoundConnectRetry, block.ConnectRetry)
	if c.SendTimeout == 0 {
		c.SendTimeout = block.PeerTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// handshake bounds the agreement on a new pair of connections.
func (c Config) handshake() time.Duration {
	if c.Bound {
		return block.HandshakeTimeout
	}
	return block.HandshakeTimeout + block.ForeignPatience + c.PingTimeout
}

// hello opens each connection of a bound peer, both ways.
type hello struct {
	Version  int    `json:"version"`
	Resource string `json:"resource"`
	Node     string `json:"node"`
	Device   string `json:"device"`
	Branch   uint64 `json:"branch,omitempty"`
	Epoch    uint64 `json:"epoch"`
	Instance string `json:"instance"`
}

const helloVersion = 1

// Connect makes the pair of connections, agrees on features and authenticates; it goes on trying until ctx ends.
func Connect(ctx context.Context, cfg Config) (*Link, error) {
	cfg = cfg.withDefaults()
	last := ""
	for pause := firstPause; ; pause = min(2*pause, cfg.Retry) {
		l, err := attempt(ctx, cfg)
		if err == nil {
			return l, nil
		}
		if errors.Is(err, ErrRefused) && !cfg.Bound {
			if cfg.Refused != nil {
				cfg.Refused(err)
			}
			return nil, fmt.Errorf("connect to %s: %w", cfg.Peer, err)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to %s: %w", cfg.Peer, ctx.Err())
		}
		if err.Error() != last {
			last = err.Error()
			cfg.Log.Info("cannot connect to the peer yet", "peer", cfg.Peer, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// firstPause is what is waited after the first attempt that came to nothing; nobody listens meanwhile.
const firstPause = 10 * time.Millisecond

// lostPairWait is how long a pairing that has its meta connection waits for the data connection, which was made first. A
// host short of processor time needs longer than the network does.
const lostPairWait = time.Second

func attempt(ctx context.Context, cfg Config) (*Link, error) {
	p, err := newPairing(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.run(); err != nil {
		p.closeBoth()
		return nil, err
	}
	l := newLink(cfg, p)
	if err := l.negotiate(); err != nil {
		p.closeBoth()
		return nil, err
	}
	return l, nil
}

// end is one connection, made or accepted.
type end struct {
	conn   net.Conn
	cmd    wire.Command // InitialData or InitialMeta, of an accepted one
	hello  hello
	dialed bool
	err    error
}

// pairing makes the two connections. Both sides listen and dial; when both dialled, the one of the side whose address
// sorts first stays.
type pairing struct {
	cfg       Config
	ctx       context.Context
	cancel    context.CancelFunc
	listener  net.Listener
	ends      chan end
	preferred bool
	dialing   bool
	data      *end
	meta      *end
}

func newPairing(ctx context.Context, cfg Config) (*pairing, error) {
	p := &pairing{cfg: cfg, ends: make(chan end), preferred: cfg.Local < cfg.Remote}
	p.ctx, p.cancel = context.WithCancel(ctx)
	var lc net.ListenConfig
	var err error
	if p.listener, err = lc.Listen(p.ctx, "tcp", cfg.Local); err != nil {
		p.cancel()
		return nil, fmt.Errorf("listen for the peer: %w", err)
	}
	go p.accept()
	return p, nil
}

func (p *pairing) stop() {
	p.cancel()
	p.listener.Close()
}

func (p *pairing) closeBoth() {
	for _, e := range []*end{p.data, p.meta} {
		if e != nil {
			e.conn.Close()
		}
	}
}

func (p *pairing) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.greet(c)
	}
}

// yieldDelay is how long the side that is not preferred lets the other dial.
const yieldDelay = 250 * time.Millisecond

func (p *pairing) run() error {
	first := time.Duration(0)
	if !p.preferred {
		first = yieldDelay
	}
	dial := time.NewTimer(first)
	defer dial.Stop()
	var deadline <-chan time.Time
	for p.data == nil || p.meta == nil {
		switch {
		case deadline != nil:
		case p.data != nil:
			deadline = time.After(block.PairTimeout)
		case p.meta != nil: // the other was made first: it must be here soon, or is lost
			deadline = time.After(lostPairWait)
		}
		select {
		case <-p.ctx.Done():
			return p.ctx.Err()
		case <-deadline:
			return errors.New("the second of the two connections did not come in time")
		case <-dial.C:
			if !p.dialing {
				p.dialing = true
				go p.dial()
			}
		case e := <-p.ends:
			if e.err != nil {
				p.dialing = false
				if p.data != nil && p.cfg.Bound {
					return e.err
				}
				dial.Reset(p.again())
				p.note(e.err)
				continue
			}
			if p.take(&e) {
				dial.Reset(first)
			}
		}
	}
	return nil
}

// again is the pause before another dial. The kernel module listens only now and then, and may dial the second connection
// itself; with one connection there, it is not left waiting.
func (p *pairing) again() time.Duration {
	if p.data != nil || p.meta != nil {
		return min(yieldDelay, p.cfg.Retry)
	}
	return p.cfg.Retry
}

func (p *pairing) note(err error) { p.cfg.Log.Debug("dial the peer", "peer", p.cfg.Peer, "err", err) }

// take places an end; true means that another may be dialled for.
func (p *pairing) take(e *end) bool {
	if e.dialed {
		p.dialing = false
		return p.takeDialed(e)
	}
	slot := &p.data
	if e.cmd == wire.InitialMeta {
		slot = &p.meta
	}
	if *slot != nil {
		if p.preferred && (*slot).dialed {
			e.conn.Close()
			return false
		}
		(*slot).conn.Close()
	}
	*slot = e
	return true
}

func (p *pairing) takeDialed(e *end) bool {
	slot, cmd := &p.data, wire.InitialData
	if p.data != nil {
		slot, cmd = &p.meta, wire.InitialMeta
	}
	if *slot != nil {
		e.conn.Close()
		return false
	}
	if _, err := e.conn.Write(wire.AppendEmpty(nil, wire.Form80, 0, cmd)); err != nil {
		e.conn.Close()
		return true
	}
	*slot = e
	return true
}

// deliver gives an end to run, or closes it when nobody takes it any more.
func (p *pairing) deliver(e end) {
	select {
	case p.ends <- e:
	case <-p.ctx.Done():
		if e.conn != nil {
			e.conn.Close()
		}
	}
}

func (p *pairing) dial() {
	d := net.Dialer{Timeout: block.DialTimeout}
	if host, _, err := net.SplitHostPort(p.cfg.Local); err == nil {
		if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
			d.LocalAddr = &net.TCPAddr{IP: ip}
		}
	}
	c, err := d.DialContext(p.ctx, "tcp", p.cfg.Remote)
	if err != nil {
		p.deliver(end{err: err})
		return
	}
	e := end{conn: c, dialed: true}
	if err := p.secure(&e); err != nil {
		c.Close()
		p.deliver(end{err: err})
		return
	}
	p.deliver(e)
}

// greet receives a peer that dialled us.
func (p *pairing) greet(c net.Conn) {
	e := end{conn: c}
	if err := p.checkAddress(c); err != nil {
		p.note(err)
		c.Close()
		return
	}
	if err := p.secure(&e); err != nil {
		p.cfg.Log.Info("refused a connection", "from", c.RemoteAddr().String(), "err", err)
		c.Close()
		return
	}
	c.SetReadDeadline(time.Now().Add(block.HandshakeTimeout))
	cmd, err := readInitial(e.conn)
	c.SetReadDeadline(time.Time{})
	if err != nil {
		p.note(err)
		e.conn.Close()
		return
	}
	e.cmd = cmd
	p.deliver(e)
}

// checkAddress refuses others than the configured peer.
func (p *pairing) checkAddress(c net.Conn) error {
	host, _, err := net.SplitHostPort(p.cfg.Remote)
	want := net.ParseIP(host)
	from, ok := c.RemoteAddr().(*net.TCPAddr)
	if err == nil && want != nil && ok && !from.IP.Equal(want) {
		return fmt.Errorf("connection from %s, the peer is %s", from, p.cfg.Remote)
	}
	return nil
}

func readInitial(c net.Conn) (wire.Command, error) {
	var head [8]byte
	if _, err := readFull(c, head[:]); err != nil {
		return 0, fmt.Errorf("first packet: %w", err)
	}
	h, _, err := wire.DecodeHeader(head[:])
	if err != nil {
		return 0, err
	}
	if h.Command != wire.InitialData && h.Command != wire.InitialMeta || h.Length != 0 {
		return 0, fmt.Errorf("the first packet is %v", h.Command)
	}
	return h.Command, nil
}
