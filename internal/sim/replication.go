package sim

import (
	"time"

	"holdfast/internal/block"
	"holdfast/internal/block/replica"
)

// replication is the pair of TCP connections between the two volume processes: two streams each way, each in order, one not
// in order with the other; what is sent into a cut waits for its end, or for the end of the connection.
type replication struct {
	w     *World
	wants [2]*want
	pairs []*pair
	meets int
	made  int // connections so far
	// resetIn, when positive, counts down packets that arrive to one at which the connection is lost.
	resetIn int
}

// want is a volume process that looks for its peer.
type want struct {
	h    *host
	life int
	cfg  replica.Config
	up   func(*replica.Link)
	gone bool
}

// pair is a connection.
type pair struct {
	w    *World
	ends [2]*linkEnd
	lost bool // nothing gets through any more
}

// linkEnd is one side of a connection.
type linkEnd struct {
	p       *pair
	h       *host
	life    int // of the process it belongs to
	link    replica.Stepped
	other   *linkEnd
	streams [2]stream // what this side sends: data, meta
	heard   instant
	asked   instant // when a ping was sent, 0 when none is
	watched instant
	started bool // in use; what comes before waits
	early   []func()
	ending  bool // closed here, down not told yet
	ended   bool // down told
	coming  int  // packets that have arrived and that the process has not read
}

// stream is what is under way in one direction of one connection.
type stream struct {
	last   instant
	queue  [][]byte
	moving bool
	fin    bool
}

func (r *replication) connect(h *host, cfg replica.Config, up func(*replica.Link)) (cancel func()) {
	want := &want{h: h, life: h.volumeProc.life, cfg: cfg, up: up}
	r.wants[h.index] = want
	r.meet(r.w.between(2*time.Millisecond, 30*time.Millisecond))
	return func() { want.gone = true }
}

// meet tries in a while whether both sides are looking for one another. One attempt is under way at a time.
func (r *replication) meet(d time.Duration) {
	r.meets++
	mine := r.meets
	r.w.after(d, "connect", func() {
		if mine == r.meets {
			r.pairUp()
		}
	})
}

func (w *want) live() bool {
	return w != nil && !w.gone && w.h.volumeProc.alive && w.h.volumeProc.life == w.life
}

func (r *replication) pairUp() {
	a, b := r.wants[0], r.wants[1]
	if !a.live() || !b.live() {
		return
	}
	w := r.w
	if a.h.volumeProc.stopped() || b.h.volumeProc.stopped() || !w.open(a.h, b.h) || !w.open(b.h, a.h) {
		r.meet(block.BoundConnectRetry)
		return
	}
	accepted := w.rng.IntN(2)
	p := &pair{w: w}
	for i, side := range []*want{a, b} {
		l, err := replica.NewStepped(side.cfg, r.wants[1-i].cfg, i == accepted)
		if err != nil {
			r.meet(block.BoundConnectRetry)
			return
		}
		p.ends[i] = &linkEnd{p: p, h: side.h, life: side.life, link: l, heard: w.now, watched: w.now}
	}
	if a.cfg.Bound && a.cfg.Branch != b.cfg.Branch {
		w.fail("S8", "a connection between branches %x and %x of the log", a.cfg.Branch, b.cfg.Branch)
	}
	if a.cfg.Bound && a.cfg.Epoch != b.cfg.Epoch {
		w.fail("S3", "a connection between epochs %d and %d", a.cfg.Epoch, b.cfg.Epoch)
	}
	p.ends[0].other, p.ends[1].other = p.ends[1], p.ends[0]
	r.pairs = append(r.pairs[:0], append(r.livePairs(), p)...)
	r.made++
	r.wants = [2]*want{}
	for i, side := range []*want{a, b} {
		end := p.ends[i]
		w.later(side.h.volumeProc, w.latency(), "connected", func() {
			if side.gone {
				end.ended = true
				end.finish()
				return
			}
			side.up(end.link.Link)
			side.h.volume.turn()
			end.start()
		})
		end.watch()
	}
}

// whole tells whether there is a connection that both processes use.
func (r *replication) whole() bool {
	for _, p := range r.pairs {
		a, b := p.ends[0], p.ends[1]
		if !p.lost && a.started && b.started && !a.ended && !b.ended && !a.ending && !b.ending &&
			a.life == a.h.volumeProc.life && b.life == b.h.volumeProc.life {
			return true
		}
	}
	return false
}

func (r *replication) livePairs() []*pair {
	var live []*pair
	for _, p := range r.pairs {
		if !p.ends[0].ended || !p.ends[1].ended {
			live = append(live, p)
		}
	}
	return live
}

// pump takes what the engines have to send.
func (r *replication) pump(h *host) {
	for _, p := range r.pairs {
		e := p.ends[h.index]
		if e.ended || e.life != h.volumeProc.life {
			continue
		}
		for i := range e.streams {
			if packets := e.link.Take(i == 1); packets != nil {
				e.streams[i].queue = append(e.streams[i].queue, packets)
				e.move(i)
			}
		}
		if e.link.Closed() && !e.ending {
			e.close("closed by the volume")
		}
	}
}

// move delivers the first of what waits in a stream, after a while.
func (e *linkEnd) move(i int) {
	s := &e.streams[i]
	if s.moving || len(s.queue) == 0 && !s.fin || e.p.lost {
		return
	}
	s.moving = true
	w := e.p.w
	at := max(w.now.add(w.latency()), s.last+1)
	s.last = at
	w.after(at.sub(w.now), "stream", func() {
		s.moving = false
		if e.p.lost {
			return
		}
		if !w.open(e.h, e.other.h) {
			if e.h.up {
				s.moving = true
				w.after(w.between(50*time.Millisecond, 200*time.Millisecond), "retransmit", func() { s.moving = false; e.move(i) })
			}
			return
		}
		if len(s.queue) == 0 {
			e.arriveEnd()
			return
		}
		list := s.queue
		s.queue = nil
		e.arrive(i, list)
		e.move(i)
	})
}

// arrive hands packets to the peer's process.
func (e *linkEnd) arrive(i int, list [][]byte) {
	to := e.other
	proc := to.h.volumeProc
	if proc.life != to.life || !proc.alive {
		return
	}
	if r := e.p.w.link; r.resetIn > 0 {
		if r.resetIn--; r.resetIn == 0 {
			e.p.reset()
			return
		}
	}
	to.coming++
	e.p.w.later(proc, 0, "packets", func() {
		to.coming--
		to.receive(i, list)
	})
}

// reset is the loss of a connection with what is under way on it; both sides hear of it.
func (p *pair) reset() {
	p.lost = true
	for _, e := range p.ends {
		for i := range e.streams {
			e.streams[i].queue = nil
		}
		p.w.later(e.h.volumeProc, p.w.between(0, 20*time.Millisecond), "reset", func() { e.tellDown("reset by the network", false) })
	}
}

// empty tells whether nothing is under way on any connection.
func (r *replication) empty() bool {
	for _, p := range r.livePairs() {
		for _, e := range p.ends {
			if e.coming > 0 || len(e.early) > 0 {
				return false
			}
			for i := range e.streams {
				if e.streams[i].moving || len(e.streams[i].queue) > 0 {
					return false
				}
			}
		}
	}
	return true
}

// start takes in what came before this side used the link.
func (e *linkEnd) start() {
	e.started = true
	for _, f := range e.early {
		f()
	}
	e.early = nil
}

func (to *linkEnd) receive(i int, list [][]byte) {
	if !to.started {
		to.early = append(to.early, func() { to.receive(i, list) })
		return
	}
	if to.ended || to.link.Closed() {
		return
	}
	if i == 1 {
		to.heard, to.asked = to.p.w.now, 0
	}
	for _, packets := range list {
		if err := to.link.Receive(i == 1, packets); err != nil {
			to.link.Close(err.Error())
			break
		}
	}
	to.h.volume.turn()
}

// arriveEnd is a FIN or RST.
func (e *linkEnd) arriveEnd() {
	to := e.other
	proc := to.h.volumeProc
	if proc.life != to.life || !proc.alive {
		to.ended = true
		return
	}
	e.p.w.later(proc, 0, "closed by peer", func() { to.tellDown("closed by the peer", false) })
}

// close drops the connection on this side: the peer learns of it after what was sent before, and the owner when nothing
// is under way here any more.
func (e *linkEnd) close(string) {
	if e.ending || e.ended {
		return
	}
	e.ending = true
	e.finish()
	w := e.p.w
	w.later(e.h.volumeProc, w.between(100*time.Microsecond, 100*time.Millisecond), "link down", func() { e.tellDown("", false) })
}

// finish ends what this side sends.
func (e *linkEnd) finish() {
	for i := range e.streams {
		e.streams[i].fin = true
		e.move(i)
	}
}

func (e *linkEnd) tellDown(reason string, silent bool) {
	if e.ended {
		return
	}
	if !e.started {
		e.early = append(e.early, func() { e.tellDown(reason, silent) })
		return
	}
	e.ended = true
	if !e.ending {
		e.finish()
	}
	e.link.End(reason, silent)
	e.h.volume.turn()
}

// watch is replica.Link's: a ping when the peer is silent, and the end when it does not answer.
func (e *linkEnd) watch() {
	w := e.p.w
	w.later(e.h.volumeProc, 100*time.Millisecond, "watch", func() {
		if e.ended || e.ending {
			return
		}
		if w.now.sub(e.watched) > block.BoundPingTimeout/2 && e.asked != 0 {
			e.asked = w.now // this process was paused
		}
		e.watched = w.now
		quiet := w.now.sub(e.heard)
		switch {
		case quiet < block.BoundPingInterval:
			e.asked = 0
		case e.asked == 0:
			e.asked = w.now
			e.link.Beat()
			w.link.pump(e.h)
		case w.now.sub(e.asked) >= block.BoundPingTimeout:
			e.tellDown("PingAck did not arrive in time", true)
			return
		}
		e.watch()
	})
}

// processDown: the kernel of a host closes what a dead process had open.
func (r *replication) processDown(h *host) {
	for _, p := range r.pairs {
		e := p.ends[h.index]
		if e.ended || e.life != h.volumeProc.life {
			continue
		}
		e.ended = true
		e.finish()
	}
}

// hostDown: nobody says anything any more.
func (r *replication) hostDown(h *host) {
	if h.disk == nil {
		return
	}
	for _, p := range r.pairs {
		p.ends[h.index].ended = true
	}
}
