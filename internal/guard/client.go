package guard

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/paths"
)

// Client is a connection to the guard. Its methods may be called from several goroutines; they take turns. After an
// error of the connection every call fails: Dial again.
type Client struct {
	mu   sync.Mutex
	conn *net.UnixConn
	path string
}

// RefusedError is the guard's own refusal, as opposed to a connection that failed.
type RefusedError struct {
	Do     string // the request
	Reason string
	Reply  api.GuardReply
}

// Error gives the guard's reason.
func (e *RefusedError) Error() string { return fmt.Sprintf("guard refuses %s: %s", e.Do, e.Reason) }

// Dial connects to the guard of a root. It fails if none runs.
func Dial(root paths.Root) (*Client, error) {
	path := root.GuardSocket()
	c, err := net.DialTimeout("unix", path, clientTimeout)
	if err != nil {
		return nil, fmt.Errorf("reach the guard (is `holdfast guard` running?): %w", err)
	}
	return &Client{conn: c.(*net.UnixConn), path: path}, nil
}

// Close ends the connection. What the guard holds, it keeps.
func (c *Client) Close() error { return c.conn.Close() }

// Hold has the guard keep a device, with a copy of descriptor fd; what it held under the name is let go of. With fd -1 and a
// FUSE connection it only notes the connection, to abort it at the deadline.
func (c *Client) Hold(name string, device api.GuardHeld, fd int) error {
	_, _, err := c.do(api.GuardRequest{Do: "hold", Name: name, GuardHeld: device}, fd)
	return err
}

// Get returns what is held under a name: a device, without a Kind if nothing is held, and a descriptor that belongs to the
// caller, -1 if there is none.
func (c *Client) Get(name string) (device api.GuardHeld, fd int, err error) {
	reply, fd, err := c.do(api.GuardRequest{Do: "get", Name: name}, -1)
	return reply.GuardHeld, fd, err
}

// Release lets go of what is held under a name; no error if there is nothing.
func (c *Client) Release(name string) error {
	_, _, err := c.do(api.GuardRequest{Do: "release", Name: name}, -1)
	return err
}

// Lease extends the deadline of a session, or arms the guard with the first. An earlier deadline is ignored; one that has
// passed, or a session that has been enforced or is older than the present one, is refused (RefusedError).
func (c *Client) Lease(session uint64, deadline clock.Boottime) error {
	_, _, err := c.do(api.GuardRequest{Do: "lease", Session: session, Deadline: int64(deadline)}, -1)
	return err
}

// Disarm ends the watch: the node has stopped everything and leaves the cluster.
func (c *Client) Disarm() error {
	_, _, err := c.do(api.GuardRequest{Do: "disarm"}, -1)
	return err
}

// Clear lets leases of a newer session begin after one was enforced.
func (c *Client) Clear(session uint64) error {
	_, _, err := c.do(api.GuardRequest{Do: "clear", Session: session}, -1)
	return err
}

// Status tells the guard's state; see api.GuardReply.
func (c *Client) Status() (api.GuardReply, error) {
	reply, _, err := c.do(api.GuardRequest{Do: "status"}, -1)
	return reply, err
}

// do asks and waits for the answer, at most clientTimeout. The descriptor returned belongs to the caller.
func (c *Client) do(req api.GuardRequest, fd int) (api.GuardReply, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	req.Version = api.GuardProtocol
	var reply api.GuardReply
	got := -1
	err := c.conn.SetDeadline(time.Now().Add(clientTimeout))
	if err == nil {
		err = send(c.conn, req, fd)
	}
	if err == nil {
		got, err = receive(c.conn, &reply)
	}
	if err != nil {
		closeIf(got)
		err = errors.Join(err, c.conn.Close()) // the stream may be in the middle of a frame
		return reply, -1, fmt.Errorf("guard on %s: %s: %w", c.path, req.Do, err)
	}
	if reply.Error != "" {
		closeIf(got)
		return reply, -1, &RefusedError{Do: req.Do, Reason: reply.Error, Reply: reply}
	}
	return reply, got, nil
}
