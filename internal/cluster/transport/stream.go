package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/cluster"
)

// class is what a connection between members is for.
type class string

const (
	classRaft class = "raft"
	classBulk class = "bulk" // Raft snapshots
	classBeat class = "beat"
	classCall class = "call"
)

// limits of a class.
func (c class) maxFrame() int {
	if c == classBeat {
		return cluster.MaxBeat
	}
	return cluster.MaxPeerFrame
}

func (c class) idle() time.Duration {
	switch c {
	case classBeat:
		return cluster.BeatIdle
	case classBulk:
		return cluster.BulkWriteTimeout // while a snapshot is written, no keep-alive is
	}
	return cluster.LinkIdle
}

func (c class) keepAlive() time.Duration {
	if c == classBeat {
		return cluster.BeatKeepAlive
	}
	return cluster.LinkKeepAlive
}

func (c class) writeTimeout() time.Duration {
	if c == classBulk {
		return cluster.BulkWriteTimeout
	}
	return cluster.WriteTimeout
}

func (c class) queue() int {
	switch c {
	case classRaft:
		return cluster.RaftQueue
	case classBulk:
		return cluster.BulkQueue
	case classBeat:
		return cluster.BeatQueue
	}
	return cluster.MaxCalls
}

// hello is the first frame of a connection between members.
type hello struct {
	Version int   `json:"version"` // 1
	Class   class `json:"class"`
	Link    int   `json:"link,omitempty"`
}

const helloVersion = 1

// peer is another member with the connections we keep to it.
type peer struct {
	Peer
	cancel context.CancelFunc
	raft   *stream
	bulk   *stream
	calls  *caller
	beats  []*stream // one per link
}

func (t *Transport) newPeer(p Peer) *peer {
	ctx, cancel := context.WithCancel(t.ctx)
	out := &peer{Peer: p, cancel: cancel, calls: newCaller(p.Name)}
	out.raft = t.open(ctx, p, classRaft, 0, p.Addrs, nil)
	out.bulk = t.open(ctx, p, classBulk, 0, p.Addrs, nil)
	out.calls.stream = t.open(ctx, p, classCall, 0, p.Addrs, out.calls)
	for i, addr := range p.Addrs {
		out.beats = append(out.beats, t.open(ctx, p, classBeat, i, []string{addr}, nil))
	}
	return out
}

// receiver takes what comes back on a stream; only calls have one.
type receiver interface {
	received(body []byte)
	lost(err error)
}

// stream is a connection kept open to a member, for one class. What is sent while it is down is dropped: every class but
// calls repeats itself, and calls wait for it.
type stream struct {
	t     *Transport
	to    string
	class class
	link  int
	addrs []string
	queue chan []byte
	back  receiver

	mu      sync.Mutex
	live    bool
	err     error
	changed chan struct{}
}

func (t *Transport) open(ctx context.Context, p Peer, c class, link int, addrs []string, back receiver) *stream {
	s := &stream{t: t, to: p.Name, class: c, link: link, addrs: addrs, queue: make(chan []byte, c.queue()), back: back, changed: make(chan struct{})}
	t.wg.Go(func() { s.run(ctx) })
	return s
}

func (s *stream) up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

func (s *stream) lastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *stream) set(live bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.err = live, err
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until the stream is up.
func (s *stream) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		live, err, changed := s.live, s.err, s.changed
		s.mu.Unlock()
		if live {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return err
		}
	}
}

// send queues a body; it tells whether there was room and a connection.
func (s *stream) send(body []byte) bool {
	if !s.up() {
		return false
	}
	select {
	case s.queue <- appendFrame(body):
		return true
	default:
		return false
	}
}

// sendNewest is send for heartbeats: the oldest in the queue gives way.
func (s *stream) sendNewest(body []byte) {
	for !s.send(body) && s.up() {
		select {
		case <-s.queue:
		default:
		}
	}
}

// run keeps the connection until ctx is done.
func (s *stream) run(ctx context.Context) {
	failures := 0
	for turn := 0; ctx.Err() == nil; turn++ {
		began := s.t.cfg.Clock.Boottime()
		err := s.connect(ctx, turn)
		s.set(false, err)
		if s.back != nil {
			s.back.lost(err)
		}
		if s.t.cfg.Clock.Boottime().Sub(began) > cluster.BackoffMax {
			failures = 0
		}
		select {
		case <-time.After(backoff(failures)):
		case <-ctx.Done():
		}
		failures++
	}
}

// connect dials one of the addresses, in turn, and carries frames until the connection ends.
func (s *stream) connect(ctx context.Context, turn int) error {
	own := s.t.membership()
	if own == nil || len(s.addrs) == 0 {
		return fmt.Errorf("no way to %s: this host is in no cluster, or the member has no address", s.to)
	}
	addr := withPort(s.addrs[turn%len(s.addrs)])
	dial, cancel := context.WithTimeout(ctx, cluster.DialTimeout)
	defer cancel()
	d := tls.Dialer{NetDialer: &net.Dialer{Control: userTimeout}, Config: clientTLS(own, s.to)}
	conn, err := d.DialContext(dial, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect to %s at %s: %w", s.to, addr, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(cluster.DialTimeout))
	if err := writeJSON(conn, hello{Version: helloVersion, Class: s.class, Link: s.link}, cluster.MaxHello); err != nil {
		return fmt.Errorf("greet %s at %s: %w", s.to, addr, err)
	}
	// The first frame back says that the other side has taken us in.
	if _, err := readFrame(conn, cluster.MaxHello); err != nil {
		return fmt.Errorf("%s at %s does not take this host in: %w", s.to, addr, err)
	}
	return s.carry(conn)
}

// carry writes the queue and keep-alives, and reads answers, until one of both fails.
func (s *stream) carry(conn net.Conn) error {
	for len(s.queue) > 0 {
		<-s.queue // from before: stale
	}
	s.set(true, nil)
	done := make(chan error, 1)
	go func() { done <- s.read(conn) }()
	tick := time.NewTicker(s.class.keepAlive())
	defer tick.Stop()
	for {
		var frame []byte
		select {
		case err := <-done:
			return err
		case frame = <-s.queue:
		case <-tick.C:
			frame = appendFrame(nil)
		}
		conn.SetWriteDeadline(time.Now().Add(s.class.writeTimeout()))
		if _, err := conn.Write(frame); err != nil {
			conn.Close()
			<-done
			return fmt.Errorf("send to %s: %w", s.to, err)
		}
	}
}

func (s *stream) read(conn net.Conn) error {
	defer conn.Close()
	for {
		conn.SetReadDeadline(time.Now().Add(s.class.idle()))
		body, err := readFrame(conn, s.class.maxFrame())
		if err != nil {
			return s.readError(err)
		}
		if len(body) > 0 && s.back != nil {
			s.back.received(body)
		}
	}
}

func (s *stream) readError(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%s has not answered for %s", s.to, s.class.idle())
	}
	return fmt.Errorf("connection to %s: %w", s.to, err)
}

// userTimeout has the kernel give up on a connection whose data is not acknowledged, instead of after many minutes.
func userTimeout(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(cluster.LinkIdle.Milliseconds()))
	})
	return errors.Join(err, set)
}
