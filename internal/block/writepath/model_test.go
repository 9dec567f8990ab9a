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
		m := model{c: c, t: t, ops: map[ID]*modelOp{}, bits: bits}
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
}

func (m *model) step() {
	switch rapid.IntRange(0, 10).Draw(m.t, "what") {
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

func (m *model) admit(o Op) {
	id := m.c.Admit(o)
	if m.ops[id] != nil {
		m.t.Fatalf("ID %d given twice", id)
	}
	m.ops[id] = &modelOp{span: o.Span, flush: o.Kind == Flush, fua: o.FUA}
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
	case SendBarrier:
		m.barrier = e.Number
	case FlushLocal:
		m.flushing = true
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
