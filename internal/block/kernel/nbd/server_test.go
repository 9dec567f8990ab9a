package nbd

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
)

const bound = 30 * time.Second

// memory is a target that keeps everything in memory, and answers in another goroutine when told to.
type memory struct {
	mu      sync.Mutex
	data    []byte
	flushes int
	fua     int
	unmaps  int
	fail    error
	held    []*kernel.Request // requests that are not answered yet, while holding
	holding bool
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) Submit(r *kernel.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holding {
		m.held = append(m.held, r)
		return
	}
	go r.Owner.Complete(r, m.do(r))
}

func (m *memory) do(r *kernel.Request) error {
	if m.fail != nil {
		return m.fail
	}
	at := m.data[r.Offset : r.Offset+r.Length]
	if r.FUA {
		m.fua++
	}
	switch r.Op {
	case kernel.Read:
		copy(r.Data, at)
	case kernel.Write:
		copy(at, r.Data)
	case kernel.Flush:
		m.flushes++
	case kernel.Discard, kernel.WriteZeroes:
		if r.Unmap {
			m.unmaps++
		}
		clear(at)
	}
	return nil
}

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// client speaks the protocol to a server over a pair of sockets.
type client struct {
	t    *testing.T
	conn net.Conn
	s    *server
	next uint64
}

func connect(t *testing.T, target kernel.Target, readOnly bool) *client {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(target, ends[0], readOnly, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(ends[1]), "client")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(bound)) // a socket knows deadlines
	s.start()
	t.Cleanup(func() { conn.Close(); s.close() })
	return &client{t: t, conn: conn, s: s}
}

func (c *client) send(h header, data []byte) uint64 {
	c.t.Helper()
	c.next++
	h.cookie = c.next
	b := make([]byte, requestSize, requestSize+len(data))
	h.encode(b)
	if _, err := c.conn.Write(append(b, data...)); err != nil {
		c.t.Fatal(err)
	}
	return h.cookie
}

func (c *client) answer(length int) (cookie uint64, errno uint32, data []byte) {
	c.t.Helper()
	var b [replySize]byte
	if _, err := io.ReadFull(c.conn, b[:]); err != nil {
		c.t.Fatal(err)
	}
	if binary.BigEndian.Uint32(b[:]) != replyMagic {
		c.t.Fatalf("reply %x", b)
	}
	errno = binary.BigEndian.Uint32(b[4:])
	if errno == 0 {
		data = make([]byte, length)
		if _, err := io.ReadFull(c.conn, data); err != nil {
			c.t.Fatal(err)
		}
	}
	return binary.BigEndian.Uint64(b[8:]), errno, data
}

// do sends a request and wants its answer.
func (c *client) do(h header, data []byte, want uint32) []byte {
	c.t.Helper()
	cookie, n := c.send(h, data), 0
	if h.command == cmdRead {
		n = int(h.length)
	}
	got, errno, back := c.answer(n)
	if got != cookie || errno != want {
		c.t.Fatalf("%+v: answer to %d with errno %d, want %d with %d", h, got, errno, cookie, want)
	}
	return back
}

func TestServerReadsAndWrites(t *testing.T) {
	m := &memory{data: make([]byte, 8<<20)}
	c := connect(t, m, false)
	rng := rand.New(rand.NewSource(1))
	shadow := make([]byte, len(m.data))
	for range 300 {
		n := (1 + rng.Intn(64)) * sector
		if rng.Intn(8) == 0 {
			n = block.MaxIO
		}
		at := rng.Intn((len(shadow)-n)/sector+1) * sector
		h := header{offset: uint64(at), length: uint32(n)}
		if rng.Intn(2) == 0 {
			h.command = cmdRead
			if got := c.do(h, nil, 0); !bytes.Equal(got, shadow[at:at+n]) {
				t.Fatalf("read %d at %d: not what was written", n, at)
			}
			continue
		}
		rng.Read(shadow[at : at+n])
		h.command, h.flags = cmdWrite, uint16(rng.Intn(2))*flagFUA
		c.do(h, shadow[at:at+n], 0)
	}
	if !bytes.Equal(m.data, shadow) {
		t.Error("the target has something else")
	}
}

func TestServerPassesTheRestOn(t *testing.T) {
	m := &memory{data: bytes.Repeat([]byte{7}, 1<<20)}
	c := connect(t, m, false)
	c.do(header{command: cmdFlush}, nil, 0)
	c.do(header{command: cmdWrite, flags: flagFUA, length: 512}, make([]byte, 512), 0)
	c.do(header{command: cmdTrim, offset: 4096, length: 4096}, nil, 0)
	c.do(header{command: cmdWriteZeroes, offset: 8192, length: 8192}, nil, 0)
	c.do(header{command: cmdWriteZeroes, flags: flagNoHole | flagFUA, offset: 65536, length: 512}, nil, 0)
	m.set(func() {
		if m.flushes != 2 || m.fua != 1 || m.unmaps != 1 {
			t.Errorf("%d flushes, %d FUA, %d unmaps; want 2 (one after the FUA zeroing), 1, 1", m.flushes, m.fua, m.unmaps)
		}
		for _, r := range [][2]int{{4096, 16384}, {65536, 66048}} {
			if !bytes.Equal(m.data[r[0]:r[1]], make([]byte, r[1]-r[0])) {
				t.Errorf("bytes %d to %d are not zero", r[0], r[1])
			}
		}
		m.fail = unix.ENOSPC
	})
	c.do(header{command: cmdWrite, length: 512}, make([]byte, 512), 28)
	c.do(header{command: cmdRead, length: 512}, nil, 28)
	m.set(func() { m.fail = unix.EMEDIUMTYPE })
	c.do(header{command: cmdRead, length: 512}, nil, 5)
}

// What is refused leaves the stream in order, its payload included.
func TestServerRefuses(t *testing.T) {
	m := &memory{data: make([]byte, 1<<20)}
	c := connect(t, m, true)
	c.do(header{command: cmdWrite, length: 4096}, bytes.Repeat([]byte{9}, 4096), 1)
	c.do(header{command: cmdRead, offset: 1 << 40, length: 512}, nil, 22)
	c.do(header{command: cmdRead, length: 64 << 20}, nil, 75)
	c.do(header{command: 99}, nil, 22)
	c.do(header{command: cmdRead, length: 4096}, nil, 0)
	if !bytes.Equal(m.data, make([]byte, len(m.data))) {
		t.Error("a refused write was carried out")
	}
}

// Answers come in the order of completion, each with its own cookie and data.
func TestServerAnswersOutOfOrder(t *testing.T) {
	m := &memory{data: make([]byte, 1<<20), holding: true}
	c := connect(t, m, false)
	const n = 100
	for i := range n {
		m.data[i*4096] = byte(i)
		c.send(header{command: cmdRead, offset: uint64(i) * 4096, length: 4096}, nil)
	}
	await(t, "all requests", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.held) == n
	})
	m.set(func() {
		for _, i := range rand.New(rand.NewSource(2)).Perm(n) {
			r := m.held[i]
			r.Owner.Complete(r, m.do(r))
		}
	})
	seen := map[uint64]bool{}
	for range n {
		cookie, errno, data := c.answer(4096)
		if errno != 0 || seen[cookie] || data[0] != byte(cookie-1) {
			t.Fatalf("cookie %d errno %d begins with %d", cookie, errno, data[0])
		}
		seen[cookie] = true
	}
}

func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A connection ends with the client's word, with a stream that is no NBD, with a cut, and with close; requests still in the
// target's hands come back without harm.
func TestServerEnds(t *testing.T) {
	for name, end := range map[string]func(*client){
		"disconnect": func(c *client) { c.send(header{command: cmdDisconnect}, nil) },
		"nonsense":   func(c *client) { c.conn.Write(bytes.Repeat([]byte("GET /"), 20)) },
		"too long": func(c *client) {
			c.send(header{command: cmdWrite, length: block.MaxIO + 512}, nil)
		},
		"cut":         func(c *client) { c.conn.Close() },
		"cut in data": func(c *client) { c.send(header{command: cmdWrite, length: 4096}, make([]byte, 100)); c.conn.Close() },
		"close":       func(c *client) { c.s.close() },
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{data: make([]byte, 1<<20), holding: true}
			c := connect(t, m, false)
			c.send(header{command: cmdWrite, length: 4096}, make([]byte, 4096))
			c.send(header{command: cmdRead, length: 4096}, nil)
			await(t, "the requests", func() bool {
				m.mu.Lock()
				defer m.mu.Unlock()
				return len(m.held) == 2
			})
			end(c)
			select {
			case <-c.s.ended:
			case <-time.After(bound):
				t.Fatal("the server does not end")
			}
			m.set(func() {
				for _, r := range m.held {
					r.Owner.Complete(r, nil)
				}
			})
			await(t, "the slots to come back", func() bool { return len(c.s.ops.slots) == 0 })
		})
	}
}

func TestBuffersAreAligned(t *testing.T) {
	var p opPool
	p.init()
	for _, n := range []int{0, 1, 512, 4096, 4097, block.MaxIO} {
		o := p.get(n)
		if len(o.data) != n || n > 0 && !aligned(o.data) {
			t.Errorf("%d bytes: got %d, aligned %v", n, len(o.data), aligned(o.data))
		}
		p.put(o)
		if again := p.get(n); again != o {
			t.Errorf("%d bytes: the op was not used again", n)
		}
	}
}

// aligned tells whether memory begins at a page.
func aligned(p []byte) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%smallest == 0 }
