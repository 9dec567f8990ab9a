package balancer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/loopback"
	"holdfast/internal/paths"
)

// patient bounds every wait of these tests; none of them waits that long unless something is broken.
const patient = 20 * time.Second

// host is a balancer under test with the test in the daemon's place.
type host struct {
	t      *testing.T
	root   paths.Root
	cancel context.CancelFunc
	ended  chan error
	log    *lockedBuffer

	mu     sync.Mutex
	daemon net.Conn
	update api.BalancerUpdate
	status api.BalancerStatus
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a balancer and connects as its daemon.
func start(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, root: paths.Root(shortDir(t)), ended: make(chan error, 1), log: &lockedBuffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		h.ended <- Run(ctx, Config{Root: h.root, Clock: clock.System{}, Log: log, Node: "web1"})
	}()
	t.Cleanup(h.stop)
	h.connect()
	return h
}

// shortDir is a temporary directory with a name short enough for unix sockets.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "bal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (h *host) connect() {
	h.t.Helper()
	h.until("the balancer to listen", func() bool {
		conn, err := net.Dial("unix", h.root.BalancerSocket())
		if err == nil {
			h.daemon = conn
		}
		return err == nil
	})
}

// stop ends the balancer and fails the test if it does not end cleanly.
func (h *host) stop() {
	h.cancel()
	select {
	case err := <-h.ended:
		if err != nil {
			h.t.Errorf("the balancer ended with: %v", err)
		}
		h.ended <- nil
	case <-time.After(patient):
		h.t.Fatal("the balancer does not end")
	}
	if h.t.Failed() {
		h.t.Logf("log:\n%s", h.log)
	}
}

// until waits for a state.
func (h *host) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(patient)
	for !ok() {
		if time.Now().After(deadline) {
			h.t.Fatalf("waited in vain for %s\nstatus: %+v\nlog:\n%s", what, h.status, h.log)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// push sends the update as it is now, with a view that is good for a minute, and reads the status.
func (h *host) push() { h.pushUntil(time.Minute) }

func (h *host) pushUntil(good time.Duration) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.update.Version = 1
	h.update.ConfirmedUntil = int64(clock.System{}.Boottime().Add(good))
	if err := api.WriteFrame(h.daemon, h.update); err != nil {
		h.t.Fatal(err)
	}
	h.status = api.BalancerStatus{}
	if err := api.ReadFrame(h.daemon, &h.status); err != nil {
		h.t.Fatal(err)
	}
}

// backend gives a backend's status as of the last push.
func (h *host) backend(addr string) api.BalancerBackendStatus {
	for _, r := range h.status.Rules {
		for _, b := range r.Backends {
			if b.Addr == addr {
				return b
			}
		}
	}
	return api.BalancerBackendStatus{}
}

func (h *host) rule(name string) api.BalancerRuleStatus {
	for _, r := range h.status.Rules {
		if r.Name == name {
			return r
		}
	}
	return api.BalancerRuleStatus{}
}

// untilOpen pushes until a backend is open, or closed.
func (h *host) untilOpen(addr string, open bool) {
	h.t.Helper()
	h.until(fmt.Sprintf("%s open=%v", addr, open), func() bool {
		h.push()
		return h.backend(addr).Open == open && h.backend(addr).Addr != ""
	})
}

// server is a backend: it says its name to each client and then echoes.
type server struct {
	name     string
	addr     string
	mu       sync.Mutex
	l        net.Listener
	conns    map[net.Conn]bool
	accepted atomic.Int64
}

func newServer(t *testing.T, name string) *server {
	s := &server{name: name, addr: loopback.Address(t), conns: map[net.Conn]bool{}}
	s.open(t)
	t.Cleanup(s.kill)
	return s
}

// open listens, at the former address if there was one.
func (s *server) open(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.l, s.addr = l, l.Addr().String()
	s.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			go func() {
				fmt.Fprintf(conn, "%s\n", s.name)
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
}

// closeListener stops accepting; connections stay.
func (s *server) closeListener() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.l.Close()
}

func (s *server) kill() {
	s.closeListener()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// client connects to a frontend, waiting for it to be there.
func (h *host) client(frontend string) *net.TCPConn {
	h.t.Helper()
	var out *net.TCPConn
	h.until("the frontend "+frontend, func() bool {
		conn, err := net.Dial("tcp", frontend)
		if err == nil {
			out = conn.(*net.TCPConn)
		}
		return err == nil
	})
	out.SetDeadline(time.Now().Add(patient))
	h.t.Cleanup(func() { out.Close() })
	return out
}

// hello reads the name a server greets with.
func hello(conn net.Conn) (string, error) {
	var b [1]byte
	var name strings.Builder
	for {
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return name.String(), nil
		}
		name.WriteByte(b[0])
	}
}

func (h *host) expect(conn net.Conn, want string) {
	h.t.Helper()
	if got, err := hello(conn); err != nil || got != want {
		h.t.Fatalf("greeted by %q, %v; want %q\nlog:\n%s", got, err, want, h.log)
	}
}

func (h *host) expectReset(conn net.Conn) {
	h.t.Helper()
	_, err := conn.Read(make([]byte, 1))
	if !errors.Is(err, syscall.ECONNRESET) {
		h.t.Fatalf("the client sees %v, want a reset\nlog:\n%s", err, h.log)
	}
}

// events reads the names and backends of the timeline so far.
func (h *host) events() []string {
	data, err := os.ReadFile(filepath.Join(h.root.Log(), "events.jsonl"))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}
