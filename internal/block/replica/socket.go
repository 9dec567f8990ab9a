package replica

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket reads and writes a TCP connection with system calls that the runtime is not told of. They never wait, because the
// descriptor is non-blocking; told of them, the runtime would take the processor away from the thread whenever one lasts
// longer than its watchdog's 20 µs, as sending does on a busy host, and the watchdog would never rest.
type socket struct {
	net.Conn
	raw    syscall.RawConn
	reader transfer
	writer transfer
	// mu is for the writing half: TLS sends an alert from the reader's goroutine.
	mu sync.Mutex
	// gathering keeps what is written until flush, or until there is gatherMost of it: TLS writes record by record.
	gathering bool
	gathered  []byte
}

// gatherMost bounds what one system call sends, in bytes.
const gatherMost = 256 << 10

// transfer is one direction's state, for a callback that is made once.
type transfer struct {
	call uintptr // SYS_READ or SYS_WRITE
	buf  []byte
	n    int
	err  error
	step func(fd uintptr) bool
}

// newSocket takes over a TCP connection; another kind stays as it is.
func newSocket(c net.Conn) (net.Conn, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &socket{Conn: c, raw: raw}
	s.reader.call, s.writer.call = unix.SYS_READ, unix.SYS_WRITE
	s.reader.step, s.writer.step = s.reader.once, s.writer.once
	return s, nil
}

// once tries; false if the socket is not ready.
func (t *transfer) once(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall(t.call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.buf))), uintptr(len(t.buf)))
		switch errno {
		case 0:
			t.n, t.err = int(n), nil
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		t.n, t.err = 0, os.NewSyscallError("tcp", errno)
		return true
	}
}

// Read is net.Conn's.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.reader.buf = p
	if err := s.raw.Read(s.reader.step); err != nil {
		return 0, err
	}
	if s.reader.err == nil && s.reader.n == 0 {
		return 0, io.EOF
	}
	return s.reader.n, s.reader.err
}

// Write is net.Conn's.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gathering {
		return s.send(p)
	}
	s.gathered = append(s.gathered, p...)
	if len(s.gathered) < gatherMost {
		return len(p), nil
	}
	return len(p), s.sendGathered()
}

// gather begins to keep what is written.
func (s *socket) gather() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gathering = true
}

// flush sends what was gathered.
func (s *socket) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendGathered()
}

func (s *socket) sendGathered() error {
	_, err := s.send(s.gathered)
	s.gathered = s.gathered[:0]
	return err
}

func (s *socket) send(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		s.writer.buf = p[done:]
		if err := s.raw.Write(s.writer.step); err != nil {
			return done, err
		}
		if s.writer.err != nil {
			return done, s.writer.err
		}
		done += s.writer.n
	}
	return done, nil
}
