package volume

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// control is the socket the daemon talks to. One daemon at a time: a newer connection replaces the older.
type control struct {
	r  *resource
	mu sync.Mutex
	// session is the connection in use; nil if no daemon is there.
	session *session
	closed  bool
}

// session is one daemon's connection.
type session struct {
	conn net.Conn
	out  chan api.VolumeMessage
	done chan struct{}
	once sync.Once
}

func newControl(r *resource) *control { return &control{r: r} }

func (c *control) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go c.talk(conn)
	}
}

// close ends the conversation once what is queued has been sent, or cannot be.
func (c *control) close() {
	c.mu.Lock()
	s := c.session
	c.closed, c.session = true, nil
	c.mu.Unlock()
	if s == nil {
		return
	}
	close(s.out)
	select {
	case <-s.done:
	case <-time.After(lastWords):
		s.end()
	}
}

// lastWords bounds the sending of the last answers when the process ends.
const lastWords = time.Second

// talk serves one connection.
func (c *control) talk(conn net.Conn) {
	name := c.r.cfg.Resource.Name
	var m api.VolumeMessage
	if err := api.ReadFrame(conn, &m); err != nil || m.Hello == nil {
		conn.Close()
		return
	}
	hello := &api.VolumeHello{Version: api.VolumeProtocol, Resource: name, PID: os.Getpid()}
	if err := api.WriteFrame(conn, api.VolumeMessage{Hello: hello}); err != nil || m.Hello.Version != api.VolumeProtocol || m.Hello.Resource != name {
		c.r.log.Warn("refused a control connection", "version", m.Hello.Version, "resource", m.Hello.Resource)
		conn.Close()
		return
	}
	s := c.adopt(conn)
	if s == nil {
		conn.Close()
		return
	}
	go s.write()
	c.r.inbox.call(c.r.meet)
	for {
		var m api.VolumeMessage
		if err := api.ReadFrame(conn, &m); err != nil {
			c.leave(s)
			return
		}
		c.r.inbox.call(func() { c.r.command(s, m) })
	}
}

func (c *control) adopt(conn net.Conn) *session {
	s := &session{conn: conn, out: make(chan api.VolumeMessage, block.ControlQueue), done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if c.session != nil {
		c.session.end()
	}
	c.session = s
	return s
}

func (c *control) leave(s *session) {
	s.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s {
		c.session = nil
	}
}

func (s *session) end() {
	s.once.Do(func() {
		close(s.done)
		s.conn.Close()
	})
}

func (s *session) write() {
	defer s.end()
	for {
		select {
		case m, ok := <-s.out:
			if !ok || api.WriteFrame(s.conn, m) != nil {
				return
			}
		case <-s.done:
			return
		}
	}
}

// send queues a message for the daemon; false if there is none, or it does not read (then it is dropped).
func (c *control) send(m api.VolumeMessage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return false
	}
	select {
	case c.session.out <- m:
		return true
	default:
		c.session.end()
		c.session = nil
		return false
	}
}

// reply answers a command to the daemon that gave it.
func (c *control) reply(s *session, id uint64, r api.VolumeReply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s {
		select {
		case s.out <- api.VolumeMessage{ID: id, Reply: &r}:
		default:
			s.end()
		}
	}
}

// meet is the arrival of a daemon: it is told everything.
func (r *resource) meet() {
	for _, e := range r.parts {
		e.lastStatus, e.statusDue, e.wantAt = nil, true, 0
	}
}

// command carries out what the daemon says, on the engine's goroutine.
func (r *resource) command(s *session, m api.VolumeMessage) {
	switch {
	case m.View != nil:
		r.view(*m.View)
	case m.Do != nil:
		do := *m.Do
		r.verb(do, func(answer api.VolumeReply) {
			if answer.Error != "" {
				r.log.Info("refused", "verb", do.Verb, "code", answer.Code, "why", answer.Error)
			}
			for _, e := range r.parts {
				e.sendStatusNow()
			}
			r.control.reply(s, m.ID, answer)
		})
	}
}

// view is the log's record of the resource. A cluster's log has room for one disk of each node.
func (r *resource) view(v api.VolumeView) {
	if v.Bound && r.several() {
		r.refuse(fmt.Sprintf("resource %s has %d volumes, and a cluster replicates resources of one: give each volume a resource of its own, or take "+
			"this host out of the cluster (pcs cluster destroy) and run it without", r.cfg.Resource.Name, len(r.parts)))
		return
	}
	for _, e := range r.parts {
		e.machine.View(e.env(), v)
		e.statusDue = true
	}
}

// await registers what is to be done with the answer of the machine to a request, and gives the request's number.
func (e *engine) await(answer func(api.VolumeReply)) uint64 {
	e.nextReply++
	e.replies[e.nextReply] = answer
	return e.nextReply
}

func (e *engine) answer(id uint64, r api.VolumeReply) {
	if f := e.replies[id]; f != nil {
		delete(e.replies, id)
		f(r)
	}
}

// followWant sends what the volume needs of the log, again and again until a view shows it.
func (e *engine) followWant() {
	w := e.machine.Want()
	if w == nil {
		e.wantAt = 0
		return
	}
	same := e.wantAt != 0 && sameWant(*w, e.wantSent)
	if same && e.now().Sub(e.wantAt) < block.WantRepeat {
		return
	}
	if e.control.send(api.VolumeMessage{Want: w}) {
		e.wantSent, e.wantAt = *w, e.now()
	}
}

func sameWant(a, b api.VolumeWant) bool {
	if a.Add != nil && b.Add != nil && *a.Add != *b.Add || (a.Add == nil) != (b.Add == nil) {
		return false
	}
	a.Add, b.Add = nil, nil
	return a == b
}

// sendStatus tells the daemon after a change, not too often.
func (e *engine) sendStatus() {
	if !e.statusDue || e.now().Sub(e.statusAt) < block.StatusGap {
		return
	}
	e.sendStatusNow()
}

func (e *engine) sendStatusNow() {
	e.statusDue, e.statusAt = false, e.now()
	st := e.status()
	text, err := json.Marshal(st)
	if err != nil || bytes.Equal(text, e.lastStatus) {
		return
	}
	if e.control.send(api.VolumeMessage{Status: st}) {
		e.lastStatus = text
	}
}

// status is all this process knows of the volume.
func (e *engine) status() *api.VolumeStatus {
	st := &api.VolumeStatus{Resource: e.cfg.Resource.Name, Volume: e.volume.Number, Minor: e.volume.Minor, Device: e.volume.Path(), PID: os.Getpid(),
		Protocol: e.cfg.Resource.Protocol(), InUse: e.inUse}
	e.machine.FillStatus(st)
	if e.conn.closing { // what it said of the peer no longer counts
		st.Conn, st.PeerRole, st.PeerDisk = wire.TearDown.String(), wire.RoleUnknown.String(), generation.DUnknown.String()
	}
	if e.front != nil {
		st.Kernel, st.KernelNumber, st.Front = e.front.DevicePath(), e.frontNumber, e.front.Kind()
	}
	kib := func(n uint64) uint64 { return n / 1024 }
	st.Counters = api.VolumeCounters{NS: kib(e.stats.sent), NR: kib(e.stats.received), DW: kib(e.stats.written),
		DR: kib(e.stats.read), EP: 1, WO: "f"}
	st.ResyncedBytes = e.stats.resynced
	st.Heal = e.healStatus()
	if e.target != nil {
		st.SizeBytes = e.target.Size()
	}
	if e.path != nil {
		st.Counters.AP = uint64(e.path.Active())
	}
	if e.store == nil {
		return st
	}
	st.SizeBytes = e.store.size
	st.Counters.OOS = e.store.bits.Count() * 4
	st.Counters.AL, st.Counters.BM = e.store.alWrites+e.store.log.Written(), e.store.bmWrites
	st.Counters.LO = uint64(e.conn.peerJobs + e.reading)
	if e.sync.progress != nil {
		left := e.store.bits.Count()
		if e.check.alg != nil {
			left = e.verifyLeft()
		}
		st.Resync = e.sync.progress.Status(e.env().Now, left)
		if e.sync.target != nil {
			st.Resync.WantKiB = uint64(e.sync.target.Rate() >> 10)
		}
	}
	return st
}

func failed(code int, format string, args ...any) api.VolumeReply {
	return api.VolumeReply{Code: code, Error: fmt.Sprintf(format, args...)}
}
