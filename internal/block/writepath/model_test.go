package writepath

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"holdfast/internal/block/metadata"
)

// TestPath drives the path at random against a model: every operation completes exactly once, none before what it needs,
// and what a lost peer may lack is out of sync.
func TestPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, bits := newCore(t, 8)
		m := model{c: c, t: t, ops: map[ID]*modelOp{}, bits: bits, paired: rapid.Bool().Draw(t, "paired")}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			m.step()
		}
		m.finish()
	})
}

type modelOp struct {
	span          Span
	flush, fua    bool
	local, remote bool // answered
	sent, started bool
	lost          bool // sent to a peer that was given up before it answered
	durable       struct{ here, there bool }
	covers        []*modelOp // of a flush: the writes acknowledged when it was asked for
}

type model struct {
	c        *Core
	t        *rapid.T
	bits     *metadata.Bitmap
	ops      map[ID]*modelOp
	logging  bool
	flushing bool
	barrier  uint32 // outstanding, 0 none
	held     bool
	dropped  bool // the local disk has failed
	hadPeer  bool // a peer has been there

	paired    bool // the application sends one write, then one flush, and so on
	wroteLast bool
	acked     []*modelOp // writes
	written   []*modelOp // on the local disk
	sent      []*modelOp // in the open epoch
	flushed   []*modelOp // by the local flush under way
	closed    []*modelOp // by the barrier under way
}

func (m *model) step() {
	what := rapid.IntRange(0, 10).Draw(m.t, "what")
	if m.paired && (what <= 3 || what >= 8 && rapid.IntRange(0, 7).Draw(m.t, "fault") != 0) {
		what = m.nextOfPair()
	}
	switch what {
	case 10:
		m.dropDisk()
	case 0, 1, 2:
		off := rapid.Int64Range(0, testSize/8192-2).Draw(m.t, "block") * 8192 % (12 * metadata.ExtentSize)
		o := Op{Kind: Write, Span: Span{off, off + 4096*rapid.Int64Range(1, 3).Draw(m.t, "blocks")}, FUA: rapid.Bool().Draw(m.t, "fua")}
		m.admit(o)
	case 3:
		m.admit(Op{Kind: Flush})
	case 4:
		m.answerLocal()
	case 5:
		m.answerRemote()
	case 6:
		m.answerFlush()
	case 7:
		if m.barrier != 0 {
			n := m.barrier
			m.barrier = 0
			for _, o := range m.closed {
				o.durable.there = true
			}
			if m.c.PeerMode() == Up && !m.c.BarrierAck(n) {
				m.t.Fatalf("barrier %d refused", n)
			}
		}
	case 8:
		m.peerEvent()
	case 9:
		if m.held = !m.held; m.held {
			m.c.Hold()
		} else {
			m.c.Release()
		}
	}
	m.drain()
}

// nextOfPair is the step of an application that waits for each answer, or, while it waits, one of the disk or the peer. Now and
// then another one writes.
func (m *model) nextOfPair() int {
	switch {
	case rapid.IntRange(0, 11).Draw(m.t, "another") == 0:
		return rapid.SampledFrom([]int{0, 3}).Draw(m.t, "of another")
	case m.c.Active() > 0:
		return rapid.IntRange(4, 7).Draw(m.t, "answer")
	case m.wroteLast:
		return 3
	}
	return 0
}

func (m *model) admit(o Op) {
	m.wroteLast = o.Kind == Write
	id := m.c.Admit(o)
	if m.ops[id] != nil {
		m.t.Fatalf("ID %d given twice", id)
	}
	m.ops[id] = &modelOp{span: o.Span, flush: o.Kind == Flush, fua: o.FUA, covers: slices.Clone(m.acked)}
}

func (m *model) drain() {
	for list := m.c.Effects(); len(list) > 0; list = m.c.Effects() {
		for _, e := range list {
			m.effect(e)
		}
	}
	if m.logging && rapid.Bool().Draw(m.t, "log done") {
		m.logging = false
		m.c.LogDone()
		m.drain()
	}
}

func (m *model) effect(e Effect) {
	o := m.ops[e.ID]
	switch e.Do {
	case LogExtents:
		if _, ok := m.c.BeginLog(make([]byte, metadata.BlockSize)); ok {
			m.logging = true
		}
	case WriteLocal:
		first, last := extents(o.span)
		for x := first; x <= last; x++ {
			if !m.c.log.Hot(x) {
				m.t.Fatalf("write %d started in extent %d, which is not in the log", e.ID, x)
			}
		}
		for id, other := range m.ops {
			if id != e.ID && other.started && !(other.local && (other.remote || !other.sent)) && other.span.blocks().overlaps(o.span.blocks()) {
				m.t.Fatalf("writes %d and %d overlap in flight", id, e.ID)
			}
		}
		o.started = true
	case Send:
		o.sent, o.remote = true, false
		m.sent = append(m.sent, o)
	case SendBarrier:
		m.barrier = e.Number
		m.closed, m.sent = append(m.closed, m.sent...), nil
	case FlushLocal:
		m.flushing = true
		m.flushed = slices.Clone(m.written)
	case Complete:
		m.completed(e, o)
	}
}

func (m *model) completed(e Effect, o *modelOp) {
	if o == nil {
		m.t.Fatalf("operation %d completed twice", e.ID)
	}
	if e.Err == nil && (m.c.Held()) {
		m.t.Fatalf("operation %d acknowledged while held", e.ID)
	}
	if e.Err == nil && (o.flush || o.fua) {
		m.durable(e.ID, o)
	}
	if e.Err == nil && !o.flush {
		m.acked = append(m.acked, o)
	}
	if m.dropped {
		m.completedThere(e, o)
	} else if !o.flush && e.Err == nil {
		if !o.local {
			m.t.Fatalf("write %d acknowledged before the local disk had it", e.ID)
		}
		if o.sent && !o.remote && m.c.PeerMode() == Up {
			m.t.Fatalf("write %d acknowledged before the peer had it", e.ID)
		}
		if o.lost || m.c.PeerMode() == Gone && !o.remote {
			for b := o.span.Start / Block; b < (o.span.End+Block-1)/Block; b++ {
				if !m.bits.Test(uint64(b)) {
					m.t.Fatalf("write %d is not on the lost peer, and its block %d counts as in sync", e.ID, b)
				}
			}
		}
	}
	delete(m.ops, e.ID)
}

// durable judges a flush, or a write with FUA: what it covers is on the stable storage of every disk that counts.
func (m *model) durable(id ID, o *modelOp) {
	covers := o.covers
	if !o.flush {
		covers = []*modelOp{o}
	}
	for _, w := range covers {
		if !m.dropped && !w.durable.here {
			m.t.Fatalf("operation %d acknowledged before a write it covers was durable here", id)
		}
		if !m.dropped && !w.durable.there && m.c.PeerMode() == Up && !m.marked(w) {
			m.t.Fatalf("operation %d acknowledged before a write it covers was durable there", id)
		}
	}
}

// marked tells whether a write counts as out of sync.
func (m *model) marked(o *modelOp) bool {
	for b := o.span.Start / Block; b < (o.span.End+Block-1)/Block; b++ {
		if !m.bits.Test(uint64(b)) {
			return false
		}
	}
	return true
}

// completedThere judges an answer of a path that has lost its disk: what succeeds is the peer's.
func (m *model) completedThere(e Effect, o *modelOp) {
	switch {
	case e.Err != nil:
	case !o.flush && !o.remote:
		m.t.Fatalf("write %d acknowledged without any disk that has it", e.ID)
	case o.started && !o.local:
		m.t.Fatalf("write %d acknowledged while the failed disk may still carry it out", e.ID)
	case o.flush && !m.hadPeer:
		m.t.Fatalf("flush %d acknowledged without any disk", e.ID)
	}
}

// dropDisk has the local disk fail: now and then, once.
func (m *model) dropDisk() {
	if m.dropped || rapid.IntRange(0, 3).Draw(m.t, "fails") != 0 {
		return
	}
	m.dropped, m.logging = true, false
	m.c.DropDisk()
}

// diskError is how the local disk answers.
func (m *model) diskError() error {
	if m.dropped {
		return errTorn
	}
	return nil
}

func (m *model) pick(f func(*modelOp) bool) (ID, *modelOp) {
	var ids []ID
	for id, o := range m.ops {
		if f(o) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(m.t, "which")
	return id, m.ops[id]
}

func (m *model) answerLocal() bool {
	id, o := m.pick(func(o *modelOp) bool { return o.started && !o.local })
	if o == nil {
		return false
	}
	o.local = true
	m.written = append(m.written, o)
	m.c.LocalDone(id, m.diskError())
	return true
}

func (m *model) answerRemote() bool {
	id, o := m.pick(func(o *modelOp) bool { return o.sent && !o.remote })
	if o == nil || m.c.PeerMode() != Up {
		return false
	}
	o.remote = true
	if !m.c.PeerAck(id) {
		m.t.Fatalf("acknowledgement of %d refused", id)
	}
	return true
}

func (m *model) answerFlush() bool {
	if !m.flushing {
		return false
	}
	m.flushing = false
	for _, o := range m.flushed {
		o.durable.here = true
	}
	m.c.LocalFlushed(m.diskError())
	return true
}

func (m *model) peerEvent() {
	switch m.c.PeerMode() {
	case Gone:
		m.hadPeer = true
		m.c.PeerUp()
	case Up:
		if rapid.Bool().Draw(m.t, "suspend") {
			m.c.Suspend()
			m.barrier = 0
			m.sent, m.closed = append(m.closed, m.sent...), nil
			return
		}
		m.barrier = 0
		m.giveUp()
	case Suspended:
		if rapid.Bool().Draw(m.t, "back") {
			m.c.PeerUp()
			return
		}
		m.giveUp()
	}
}

func (m *model) giveUp() {
	for _, o := range m.ops {
		if o.sent && !o.remote {
			o.sent, o.lost = false, true
		}
	}
	m.sent, m.closed = nil, nil
	m.c.PeerGone()
}

// finish lets everything end and checks that nothing is left.
func (m *model) finish() {
	if m.c.PeerMode() != Gone {
		m.giveUp()
	}
	if m.held {
		m.held = false
		m.c.Release()
	}
	m.drain()
	for busy := true; busy; {
		busy = m.answerLocal()
		if m.logging {
			m.logging = false
			m.c.LogDone()
			busy = true
		}
		busy = m.answerFlush() || busy
		m.drain()
	}
	if len(m.ops) != 0 || m.c.Active() != 0 || !m.c.Idle() {
		m.t.Fatalf("%d operations never completed (active %d, idle %v)", len(m.ops), m.c.Active(), m.c.Idle())
	}
}
