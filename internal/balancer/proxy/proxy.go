// Package proxy carries the bytes of one connection between a client and a backend, in the kernel (splice) as far as it
// goes: both directions, half-close, idle timeout, and a reset of both sides when the connection has to end at once.
package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// End says how a connection ended.
type End int

// The ends: both sides closed; no traffic for the idle time; told to by Reset; a side failed.
const (
	Closed End = iota
	Idle
	Ordered
	Broken
)

// Conn is a client's connection joined to a backend's.
type Conn struct {
	client, backend *net.TCPConn
	idle            time.Duration
	end             atomic.Int32
	once            sync.Once
	// Sent and Received count bytes from the client and to it; valid once Run has returned.
	Sent, Received int64
}

// Join makes a Conn; it owns both sides from then on.
func Join(client, backend *net.TCPConn, idle time.Duration) *Conn {
	return &Conn{client: client, backend: backend, idle: idle}
}

// Reset ends the connection at once with TCP resets to both sides. It may be called any time, from any goroutine.
func (c *Conn) Reset() { c.stop(Ordered) }

// stop resets both sides, once, noting why.
func (c *Conn) stop(why End) {
	c.once.Do(func() {
		c.end.Store(int32(why))
		Abort(c.client)
		Abort(c.backend)
	})
}

// Run carries bytes until the connection has ended and says how. Both sides are closed when it returns.
func (c *Conn) Run() End {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Sent = c.carry(c.backend, c.client)
	}()
	c.Received = c.carry(c.client, c.backend)
	<-done
	c.once.Do(func() {
		c.client.Close()
		c.backend.Close()
	})
	return End(c.end.Load())
}

// carry copies one direction until its source has nothing more, then tells the other side so.
func (c *Conn) carry(dst, src *net.TCPConn) int64 {
	var total int64
	wait := c.idle
	for {
		if err := src.SetReadDeadline(time.Now().Add(wait)); err != nil {
			c.stop(Broken)
			return total
		}
		n, err := io.Copy(dst, src)
		total += n
		switch {
		case err == nil:
			if dst.CloseWrite() != nil {
				c.stop(Broken)
			}
			return total
		case !errors.Is(err, os.ErrDeadlineExceeded):
			c.stop(Broken)
			return total
		}
		quiet := c.quiet()
		if quiet >= c.idle {
			c.stop(Idle)
			return total
		}
		wait = c.idle - quiet
	}
}

// quiet is for how long neither side has sent data, as the kernel counts it.
func (c *Conn) quiet() time.Duration {
	return min(lastData(c.client), lastData(c.backend))
}

// lastData is the time since data last arrived on a connection; 0 when the kernel does not say.
func lastData(conn *net.TCPConn) time.Duration {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var ms uint32
	cerr := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			ms = info.Last_data_recv
		}
	})
	if err != nil || cerr != nil {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// Abort closes a connection with a reset, so that the other end learns at once.
func Abort(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// Dial connects to a backend.
func Dial(ctx context.Context, addr string, timeout time.Duration) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// Gone waits until the client has hung up (true) or has sent something or ctx is done (false). It takes nothing from the
// connection. A client that has sent and then hangs up is not noticed.
func Gone(ctx context.Context, conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		conn.SetReadDeadline(time.Time{})
	}()
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, rerr := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if rerr == unix.EAGAIN || rerr == unix.EINTR {
			return false
		}
		gone = rerr != nil || n == 0
		return true
	})
	return gone && err == nil
}
