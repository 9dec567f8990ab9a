package writepath

import "holdfast/internal/planted"

// A program that makes each of its writes durable at once, as a database does with its log, sends a write, waits for it, sends a
// flush and waits for that. Where a few writes in a row have been followed so, the flush is begun together with the next
// write: the barrier leaves in the write's wake, and the local disk is flushed as soon as it has the write. The flush that is then
// asked for has been waited for in part, or altogether. It promises what any flush does: all writes that had
// completed when it was asked for are durable here and there.

// earlyAfter is how many writes in a row must each have been followed by a flush before one is begun unasked.
const earlyAfter = 2

// pairs watches whether writes come one by one, each followed by a flush.
type pairs struct {
	writes uint64 // started, all told
	since  int    // of these, since the last flush that was asked for
	streak int    // writes in a row that were alone before their flush
	// confirmed: a flush begun early is over, and with it the first so many writes are durable. 0: none is known of.
	confirmed uint64
}

func (p *pairs) write() {
	p.writes++
	p.since++
	if p.since > 1 {
		p.streak = 0
	}
}

func (p *pairs) flush() {
	if p.since == 1 {
		p.streak++
	}
	p.since = 0
}

// startEarly begins a flush for the write id, which has just been started, if one is expected to be asked for. Nothing else may be
// under way, so that it covers all writes started so far. Of several volumes it would cover one's alone, where a flush that is asked for is a
// barrier for all.
func (c *Core) startEarly(id ID) {
	if len(c.ep.cores) > 1 {
		return
	}
	if c.pairs.streak < earlyAfter || c.active != 1 || c.group.running || c.forced || c.owed || c.unordered || c.ops[id].FUA {
		return
	}
	c.started++
	g := &c.group
	g.running, g.local, g.err = true, true, nil
	g.early, g.covers, g.waits, g.after = true, c.pairs.writes, true, id
	g.there = c.peer == Up
	g.remote = c.peer == Up && !planted.SkipPeerFlush && c.sendBarrier()
}

// flushAfter begins the local part of an early flush once the local disk has answered the write it goes with. A disk that is not
// there any more is not flushed.
func (c *Core) flushAfter(id ID) {
	g := &c.group
	if !g.waits || g.after != id {
		return
	}
	g.waits = false
	if c.without || c.broken != nil {
		c.LocalFlushed(ErrNoData)
		return
	}
	c.emit(Effect{Do: FlushLocal})
}

// joinEarly has a flush be answered by one begun early, under way or over, if that covers all writes started so far. It tells
// whether it does.
func (c *Core) joinEarly(id ID) bool {
	g := &c.group
	under := g.running && g.early && g.covers == c.pairs.writes
	switch {
	case under && !planted.FlushAssumed:
		g.members = append(g.members, id)
		return true
	case under: // planted: it is answered before it is over
	case g.running || c.forced || c.owed || c.held || c.pairs.confirmed == 0 || c.pairs.confirmed != c.pairs.writes:
		return false
	}
	c.finish(id, nil)
	return true
}

// forgetEarly: the disks that are needed change; a flush asked for from now on is begun anew.
func (c *Core) forgetEarly() { c.group.early, c.pairs.confirmed = false, 0 }
