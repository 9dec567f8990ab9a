package transport

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/cluster"
)

// accept takes connections in until the listener closes.
func (t *Transport) accept(l net.Listener) {
	shaking := make(chan struct{}, cluster.MaxHandshakes)
	for {
		conn, err := l.Accept()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			t.cfg.Log.Warn("accept a connection", "error", err)
			time.Sleep(cluster.BackoffMin) // out of descriptors: do not spin
			continue
		}
		if !t.admit(conn) {
			conn.Close()
			continue
		}
		shaking <- struct{}{}
		t.wg.Go(func() { t.serve(conn, shaking) })
	}
}

// admit counts a connection in.
func (t *Transport) admit(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conns) >= cluster.MaxConns || t.ctx.Err() != nil {
		return false
	}
	t.conns[conn] = ""
	return true
}

func (t *Transport) leave(conn net.Conn) {
	conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, conn)
}

// serve authenticates a connection and serves it until it ends. Its place among the handshakes is given back after that.
func (t *Transport) serve(raw net.Conn, shaking chan struct{}) {
	defer t.leave(raw)
	var once sync.Once
	release := func() { once.Do(func() { <-shaking }) }
	defer release()
	if sc, ok := raw.(*net.TCPConn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			_ = userTimeout("", "", rc) // without it a dead peer is found out by LinkIdle
		}
	}
	conn := tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: t.configFor})
	raw.SetDeadline(time.Now().Add(cluster.DialTimeout))
	if err := conn.HandshakeContext(t.ctx); err != nil {
		t.cfg.Log.Debug("a connection was not authenticated", "from", raw.RemoteAddr(), "error", err)
		return
	}
	raw.SetDeadline(time.Time{})
	var err error
	switch conn.ConnectionState().NegotiatedProtocol {
	case peerProtocol:
		err = t.servePeer(raw, conn, release)
	case contactProtocol:
		release()
		err = t.serveContact(conn)
	}
	if err != nil && t.ctx.Err() == nil {
		t.cfg.Log.Debug("a connection ended", "from", raw.RemoteAddr(), "error", err)
	}
}

// configFor chooses certificate and demands by the protocol the client asks for.
func (t *Transport) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	base := tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert}
	if slices.Contains(hello.SupportedProtos, peerProtocol) {
		own := t.membership()
		if own == nil {
			return nil, fmt.Errorf("%s belongs to no cluster", t.cfg.Name)
		}
		base.NextProtos, base.Certificates = []string{peerProtocol}, []tls.Certificate{own.Cert}
		base.VerifyConnection = func(cs tls.ConnectionState) error {
			_, err := own.PeerName(cs.PeerCertificates)
			return err
		}
		return &base, nil
	}
	base.NextProtos, base.Certificates = []string{contactProtocol}, []tls.Certificate{t.identity.Cert}
	return &base, nil
}

// servePeer serves a member's connection.
func (t *Transport) servePeer(raw net.Conn, conn *tls.Conn, release func()) error {
	from := conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	conn.SetDeadline(time.Now().Add(cluster.DialTimeout))
	var h hello
	if err := readJSON(conn, &h, cluster.MaxHello); err != nil {
		return fmt.Errorf("greeting of %s: %w", from, err)
	}
	if h.Version != helloVersion {
		return fmt.Errorf("%s speaks version %d of the peer protocol, this host %d", from, h.Version, helloVersion)
	}
	if err := t.isMember(from); err != nil {
		return err
	}
	take := t.taker(from, h, conn)
	if take == nil {
		return fmt.Errorf("%s opened a connection of unknown class %.20q", from, h.Class)
	}
	if _, err := conn.Write(appendFrame(nil)); err != nil {
		return fmt.Errorf("greet %s: %w", from, err)
	}
	conn.SetDeadline(time.Time{})
	release()
	t.mu.Lock()
	t.conns[raw] = peerProtocol
	t.mu.Unlock()
	return t.receive(from, h.Class, conn, take)
}

// isMember refuses whoever the CA has certified but is no member, or not any more.
func (t *Transport) isMember(from string) error {
	if t.peer(from) == nil {
		return fmt.Errorf("%s is no member this host knows", from)
	}
	return nil
}

// taker is what to do with the frames of a connection, nil for an unknown class.
func (t *Transport) taker(from string, h hello, conn net.Conn) func(w *lockedWriter, body []byte) error {
	switch h.Class {
	case classRaft, classBulk:
		return func(_ *lockedWriter, body []byte) error { return t.takeRaft(from, body) }
	case classBeat:
		return func(_ *lockedWriter, body []byte) error {
			t.mu.RLock()
			f := t.onBeat
			t.mu.RUnlock()
			if f != nil {
				f(from, h.Link, body)
			}
			return nil
		}
	case classCall:
		serving := make(chan struct{}, cluster.MaxServed)
		return func(w *lockedWriter, body []byte) error { return t.takeCall(from, w, serving, body) }
	}
	return nil
}

func (t *Transport) takeRaft(from string, body []byte) error {
	m := &raftpb.Message{}
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("a Raft message of %s: %w", from, err)
	}
	t.mu.RLock()
	f := t.onRaft
	t.mu.RUnlock()
	if f != nil {
		f(from, m)
	}
	return nil
}

// takeCall serves a call beside the connection's reader; it waits when too many are being served.
func (t *Transport) takeCall(from string, w *lockedWriter, serving chan struct{}, body []byte) error {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("a call of %s: %w", from, err)
	}
	select {
	case serving <- struct{}{}:
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
	t.wg.Go(func() {
		defer func() { <-serving }()
		timeout := min(max(time.Duration(r.TimeoutMS)*time.Millisecond, 0), cluster.CallTimeout)
		ctx, cancel := context.WithTimeout(w.ctx, timeout)
		defer cancel()
		w.reply(t.serveCall(ctx, from, r))
	})
	return nil
}

// receive reads frames until the connection fails or falls silent.
func (t *Transport) receive(from string, c class, conn net.Conn, take func(*lockedWriter, []byte) error) error {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	w := &lockedWriter{ctx: ctx, conn: conn}
	for {
		conn.SetReadDeadline(time.Now().Add(c.idle()))
		body, err := readFrame(conn, c.maxFrame())
		if err != nil {
			return fmt.Errorf("%s connection of %s: %w", c, from, err)
		}
		// The peer may have been removed from the cluster since its connection began.
		if err = t.isMember(from); err != nil {
			return err
		}
		if len(body) == 0 {
			err = w.write(appendFrame(nil))
		} else {
			err = take(w, body)
		}
		if err != nil {
			return err
		}
	}
}

// lockedWriter writes frames of several goroutines to one connection. Its ctx ends with the connection.
type lockedWriter struct {
	ctx  context.Context
	mu   sync.Mutex
	conn net.Conn
}

func (w *lockedWriter) write(frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.SetWriteDeadline(time.Now().Add(cluster.WriteTimeout))
	_, err := w.conn.Write(frame)
	return err
}

// reply sends an answer; a connection that cannot take it is closed, so that the caller knows.
func (w *lockedWriter) reply(r reply) {
	body, err := json.Marshal(r)
	if err == nil && len(body) > cluster.MaxPeerFrame {
		body, err = json.Marshal(failed(r.ID, fmt.Errorf("the answer of %d bytes is over the limit of %d", len(body), cluster.MaxPeerFrame)))
	}
	if err == nil {
		err = w.write(appendFrame(body))
	}
	if err != nil {
		w.conn.Close()
	}
}
