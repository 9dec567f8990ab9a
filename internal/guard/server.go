package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/clock"
)

func (g *guard) accept() {
	defer g.serving.Done()
	for {
		c, err := g.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			g.log.Error("cannot accept a connection", "err", err)
			time.Sleep(idleNap)
			continue
		}
		g.mu.Lock()
		full := len(g.clients) >= maxClients
		if !full {
			g.clients[c] = true
			g.serving.Add(1)
			go g.serve(c)
		}
		g.mu.Unlock()
		if full {
			g.log.Error("too many connections", "limit", maxClients)
			c.Close()
		}
	}
}

func (g *guard) serve(c *net.UnixConn) {
	defer g.serving.Done()
	defer func() {
		c.Close()
		g.mu.Lock()
		delete(g.clients, c)
		g.mu.Unlock()
	}()
	for {
		var req api.GuardRequest
		fd, err := receive(c, &req)
		if err != nil {
			closeIf(fd)
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				g.log.Warn("broken request", "err", err)
			}
			return
		}
		reply, give := g.answer(req, fd)
		err = send(c, reply, give)
		closeIf(give)
		if err != nil {
			g.log.Warn("cannot answer", "do", req.Do, "err", err)
			return
		}
	}
}

// answer carries a request out. It owns fd; give is a descriptor to send along, which the caller closes, or -1.
func (g *guard) answer(req api.GuardRequest, fd int) (reply api.GuardReply, give int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	give = -1
	err := fmt.Errorf("the guard speaks version %d of its protocol, not %d; restart it with the daemon's version", api.GuardProtocol, req.Version)
	if req.Version == api.GuardProtocol {
		give, err = g.perform(req, fd, &reply)
	} else {
		closeIf(fd)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	g.describe(&reply)
	return reply, give
}

func (g *guard) perform(req api.GuardRequest, fd int, reply *api.GuardReply) (give int, err error) {
	if req.Do == "hold" {
		return -1, g.hold(req.Name, req.GuardHeld, fd)
	}
	closeIf(fd)
	now := g.now()
	switch req.Do {
	case "get":
		return g.get(req.Name, reply)
	case "release":
		g.drop(req.Name)
		return -1, nil
	case "lease":
		err = g.machine.Lease(now, req.Session, clock.Boottime(req.Deadline))
	case "disarm":
		err = g.machine.Disarm(now)
	case "clear":
		err = g.machine.Clear(now, req.Session)
	case "status":
		g.machine.Tick(now)
	default:
		return -1, fmt.Errorf("unknown request %q", req.Do)
	}
	g.page.Store(g.machine.Page())
	g.wake()
	return -1, err
}

// get finds nothing without an error: the device has no kind then.
func (g *guard) get(name string, reply *api.GuardReply) (give int, err error) {
	h := g.held[name]
	if h == nil {
		return -1, nil
	}
	reply.GuardHeld = h.device
	if h.fd < 0 {
		return -1, nil
	}
	give, err = unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("copy the descriptor of %s: %w", name, err)
	}
	return give, nil
}

func (g *guard) describe(reply *api.GuardReply) {
	at, session := g.machine.Page()
	reply.State, reply.Session, reply.Deadline = string(g.machine.State()), session, int64(at)
	reply.Floor = g.machine.Floor()
	reply.Held, reply.Survivors = g.names(), g.machine.Survivors()
}

// send writes one frame, with a descriptor beside its first byte unless fd is -1.
func send(c *net.UnixConn, v any, fd int) error {
	var frame bytes.Buffer
	if err := api.WriteFrame(&frame, v); err != nil {
		return err
	}
	if fd < 0 {
		_, err := c.Write(frame.Bytes())
		return err
	}
	n, _, err := c.WriteMsgUnix(frame.Bytes(), unix.UnixRights(fd), nil)
	if err == nil && n < frame.Len() {
		_, err = c.Write(frame.Bytes()[n:])
	}
	return err
}

// receive reads one frame and the descriptor beside it, -1 if there is none. The caller owns it even after an error.
func receive(c *net.UnixConn, v any) (fd int, err error) {
	r := &rightsReader{conn: c, fd: -1}
	err = api.ReadFrame(r, v)
	if err == nil {
		err = r.err
	}
	return r.fd, err
}

// rightsReader reads a stream and keeps the one descriptor that comes with it.
type rightsReader struct {
	conn *net.UnixConn
	fd   int
	err  error // what was wrong with the descriptors; a reader of whole pieces would lose it beside their last byte
}

// maxRights is how many descriptors one message is searched for; more than one is a mistake of the sender.
const maxRights = 8

// Read reads, and picks up what travels along.
func (r *rightsReader) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxRights))
	n, oobn, _, _, err := r.conn.ReadMsgUnix(p, oob)
	if oobn > 0 {
		r.err = errors.Join(r.err, r.keep(oob[:oobn]))
	}
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (r *rightsReader) keep(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range fds {
			if r.fd >= 0 {
				unix.Close(fd)
				err = errors.New("more than one descriptor in a request")
				continue
			}
			r.fd = fd
		}
		if err != nil {
			return err
		}
	}
	return nil
}
