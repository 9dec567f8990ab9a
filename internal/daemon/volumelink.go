package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// volumeLink is the daemon's end of the control socket of one volume process.
type volumeLink struct {
	resource string
	pid      int
	conn     net.Conn
	log      *slog.Logger
	notify   func(*volumeLink, api.VolumeMessage) // status and wants, in order, from the reading goroutine
	closed   func(*volumeLink)                    // once, when the connection has ended

	// pushing is held while a view is taken from the log and sent, so that an older one never follows a newer.
	pushing sync.Mutex

	mu      sync.Mutex // also serialises writes
	nextID  uint64
	waiting map[uint64]chan api.VolumeReply
	states  []*api.VolumeStatus // the latest of each volume of the resource, by number
	done    chan struct{}

	settling
}

// errVolumeGone is returned for calls under way when the volume process goes away.
var errVolumeGone = errors.New("the volume process has ended; see its log in the log directory")

// dialVolume connects to a volume process that is already listening and exchanges hellos. The caller then runs
// read in a goroutine.
func dialVolume(root paths.Root, resource string, log *slog.Logger) (*volumeLink, error) {
	conn, err := net.DialTimeout("unix", root.VolumeSocket(resource), time.Second)
	if err != nil {
		return nil, fmt.Errorf("connect to the process of volume %s: %w", resource, err)
	}
	l := &volumeLink{resource: resource, conn: conn, log: log, waiting: map[uint64]chan api.VolumeReply{}, done: make(chan struct{})}
	l.settled = make(chan struct{})
	if err := l.hello(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to the process of volume %s: %w", resource, err)
	}
	return l, nil
}

func (l *volumeLink) hello() error {
	deadline := time.Now().Add(volumeHelloTimeout)
	if err := l.conn.SetDeadline(deadline); err != nil {
		return err
	}
	hello := &api.VolumeHello{Version: api.VolumeProtocol, Resource: l.resource}
	if err := api.WriteFrame(l.conn, api.VolumeMessage{Hello: hello}); err != nil {
		return err
	}
	var m api.VolumeMessage
	if err := api.ReadFrame(l.conn, &m); err != nil {
		return err
	}
	if m.Hello == nil || m.Hello.Version != api.VolumeProtocol || m.Hello.Resource != l.resource {
		return fmt.Errorf("it is of another version or of another volume (%+v): restart it", m.Hello)
	}
	l.pid = m.Hello.PID
	return l.conn.SetDeadline(time.Time{})
}

// read takes messages until the connection ends.
func (l *volumeLink) read() {
	for {
		var m api.VolumeMessage
		if err := api.ReadFrame(l.conn, &m); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				l.log.Warn("volume process connection lost", "volume", l.resource, "err", err)
			}
			break
		}
		l.take(m)
	}
	l.end()
}

func (l *volumeLink) take(m api.VolumeMessage) {
	if m.Reply != nil {
		l.mu.Lock()
		ch := l.waiting[m.ID]
		delete(l.waiting, m.ID)
		l.mu.Unlock()
		if ch != nil {
			ch <- *m.Reply
		}
		return
	}
	if m.Status != nil {
		l.mu.Lock()
		l.note(m.Status)
		l.mu.Unlock()
	}
	l.notify(l, m)
}

func (l *volumeLink) end() {
	l.conn.Close()
	l.closed(l) // before done: whoever waits for that finds the link forgotten
	close(l.done)
}

// do sends a verb and waits for its answer.
func (l *volumeLink) do(ctx context.Context, d api.VolumeDo) (api.VolumeReply, error) {
	ch := make(chan api.VolumeReply, 1)
	l.mu.Lock()
	l.nextID++
	id := l.nextID
	l.waiting[id] = ch
	err := l.write(api.VolumeMessage{ID: id, Do: &d})
	l.mu.Unlock()
	if err != nil {
		return api.VolumeReply{}, fmt.Errorf("%s %s: %w", d.Verb, l.resource, err)
	}
	select {
	case r := <-ch:
		return r, nil
	case <-l.done:
		return api.VolumeReply{}, fmt.Errorf("%s %s: %w", d.Verb, l.resource, errVolumeGone)
	case <-ctx.Done():
		return api.VolumeReply{}, fmt.Errorf("%s %s: no answer from the volume process: %w", d.Verb, l.resource, ctx.Err())
	}
}

// send pushes a view.
func (l *volumeLink) send(v api.VolumeView) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(api.VolumeMessage{View: &v})
}

// write sends a message; the caller holds mu. A process that takes nothing is hung, and what it would read after a part of
// a frame means nothing: the connection ends.
func (l *volumeLink) write(m api.VolumeMessage) error {
	err := l.conn.SetWriteDeadline(time.Now().Add(volumeHelloTimeout))
	if err == nil {
		err = api.WriteFrame(l.conn, m)
	}
	if err != nil {
		l.conn.Close()
	}
	return err
}

// note keeps a status; the caller holds mu.
func (l *volumeLink) note(st *api.VolumeStatus) {
	i, found := slices.BinarySearchFunc(l.states, st.Volume, func(known *api.VolumeStatus, number int) int { return known.Volume - number })
	if found {
		l.states[i] = st
		return
	}
	l.states = slices.Insert(l.states, i, st)
}

// last is the latest status of the resource's first volume, nil before the first.
func (l *volumeLink) last() *api.VolumeStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.states) == 0 {
		return nil
	}
	return l.states[0]
}

// all are the latest statuses of the resource's volumes, by number.
func (l *volumeLink) all() []*api.VolumeStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.states)
}
