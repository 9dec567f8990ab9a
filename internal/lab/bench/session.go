package bench

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"holdfast/internal/api"
)

// session is the daemon's side of a volume's control socket.
type session struct {
	conn net.Conn

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every message
	status  *api.VolumeStatus
	replies map[uint64]api.VolumeReply
	next    uint64
	ended   error
	onWant  func(api.VolumeWant)
}

// dialVolume waits for the process's socket and opens a session; wants go to onWant, on the reader's goroutine.
func dialVolume(ctx context.Context, path string, onWant func(api.VolumeWant)) (*session, error) {
	conn, err := dialSocket(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("volume process: %w", err)
	}
	s := &session{conn: conn, changed: make(chan struct{}), replies: map[uint64]api.VolumeReply{}, onWant: onWant}
	if err := api.WriteFrame(conn, api.VolumeMessage{Hello: &api.VolumeHello{Version: api.VolumeProtocol, Resource: resource}}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("volume process: %w", err)
	}
	go s.read()
	return s, nil
}

func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(poll):
		}
	}
}

func (s *session) read() {
	for {
		var m api.VolumeMessage
		if err := api.ReadFrame(s.conn, &m); err != nil {
			s.update(func() { s.ended = err })
			return
		}
		s.update(func() {
			switch {
			case m.Status != nil:
				s.status = m.Status
			case m.Reply != nil:
				s.replies[m.ID] = *m.Reply
			}
		})
		if m.Want != nil && s.onWant != nil {
			s.onWant(*m.Want)
		}
	}
}

func (s *session) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until done, which runs under the lock, says so.
func (s *session) await(ctx context.Context, what string, done func() bool) error {
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		ok, ended, changed, status := done(), s.ended, s.changed, s.status
		s.mu.Unlock()
		if ok {
			return nil
		}
		if ended != nil {
			return fmt.Errorf("the volume process went away while waiting for %s: %w", what, ended)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("waited %v for %s; the volume's status is %+v", patience, what, status)
		}
	}
}

// until waits for a status.
func (s *session) until(ctx context.Context, what string, f func(*api.VolumeStatus) bool) (api.VolumeStatus, error) {
	var got api.VolumeStatus
	err := s.await(ctx, what, func() bool {
		if s.status == nil || !f(s.status) {
			return false
		}
		got = *s.status
		return true
	})
	return got, err
}

// do gives a command and waits for its answer.
func (s *session) do(ctx context.Context, d api.VolumeDo) error {
	s.mu.Lock()
	s.next++
	id := s.next
	err := api.WriteFrame(s.conn, api.VolumeMessage{ID: id, Do: &d})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	var reply api.VolumeReply
	err = s.await(ctx, "the answer to "+string(d.Verb), func() (ok bool) {
		reply, ok = s.replies[id]
		return ok
	})
	if err == nil && reply.Code != 0 {
		err = fmt.Errorf("volume %s: %s: code %d: %s", resource, d.Verb, reply.Code, reply.Error)
	}
	return err
}

func (s *session) view(v api.VolumeView) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return api.WriteFrame(s.conn, api.VolumeMessage{View: &v})
}
