package sim

import (
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

func targeting(c wire.Conn) bool { return c == wire.SyncTarget || c == wire.PausedSyncT }

// observe judges what an event has changed in the states of a volume process.
func (u *unbound) observe(h *host) {
	p := u.party(h)
	s, was := p.states(), p.seen
	p.seen = s
	if was.Role == wire.Primary && s.Role != wire.Primary {
		u.stoppedServing(h)
	}
	p.permit(was, s)
	p.data.whole = p.data.whole && s.Disk != generation.Inconsistent // an error was passed on, or it was given up
	switch {
	case s.Disk == generation.UpToDate || s.Role != wire.Primary:
		p.leans = false
	case p.served():
		p.leans = true
	}
	switch {
	case targeting(s.Conn) && !targeting(was.Conn):
		u.judgeTarget(p)
	case targeting(was.Conn) && s.Conn == wire.Connected && s.Disk == generation.UpToDate:
		u.judgeResynced(p)
	case s.Disk == generation.UpToDate && !p.data.whole: // it was told so without a resync, or stored the end of one before its power was cut
		p.data.forget()
		p.data.whole = true
	}
	switch {
	case s.Conn == wire.VerifyS && was.Conn != wire.VerifyS:
		p.verifying, p.marked = u.now, h.volume.s.OutOfSyncBits()
	case p.verifying != 0 && s.Conn == wire.Connected && h.volume.s.Linked():
		u.judgeVerified(p)
		p.verifying = 0
	case s.Conn != wire.VerifyS:
		p.verifying = 0
	}
	if settled(s) && !settled(was) && settled(p.peer().states()) && u.link.whole() {
		u.judgeConnected()
	}
}

// permit follows what an operator's word is good for: --discard-my-data for one handshake, and the resync it leads to.
func (p *party) permit(was, s wire.States) {
	if s.Conn >= wire.Connected && was.Conn < wire.Connected {
		p.permitted, p.discards = p.discards, false
	}
	p.permitted = p.permitted && s.Conn >= wire.Connected
}

// judgeTarget: a side becomes the target of a resync. What it has acknowledged is in what it gets, unless an operator or a policy
// has given it up.
func (u *unbound) judgeTarget(p *party) {
	u.counts.Resyncs++
	source := p.peer()
	lost := u.lost(p, source)
	switch {
	case len(lost) == 0:
	case p.permitted || p.invalid:
		u.note(p.h, "given up by an operator", "blocks", len(lost))
	case u.policyGivesUp(p, source):
		u.counts.Settled++
		u.note(p.h, "given up by a policy", "blocks", len(lost))
	default:
		b := lost[0]
		u.fail("U3", "%s becomes the target of a resync and loses the acknowledged write %d of block %d silently: the source has %v (%d blocks)",
			p.h.name, p.data.need[b], b, source.h.disk.now[b].sectors(), len(lost))
	}
	p.invalid = false
	p.data.forget()
}

// policyGivesUp tells whether the after-sb policies may have given a side up, from the roles and what is known here.
func (u *unbound) policyGivesUp(p, source *party) bool {
	switch {
	case p.primary():
		return false // a Primary never becomes a target, whatever the policy
	case source.primary() && u.set.OnePri == "disconnect":
		return false
	case source.primary() && u.set.OnePri == "discard-secondary":
		return true
	}
	switch u.set.ZeroPri {
	case "disconnect", "discard-zero-changes": // it has changes
		return false
	case "discard-node-db1", "discard-node-db2":
		return "discard-node-"+p.h.name == u.set.ZeroPri
	}
	return true
}

// judgeResynced: the target of a resync that is done has everything the source has acknowledged.
func (u *unbound) judgeResynced(p *party) {
	source := p.peer()
	if lost := u.lost(source, p); len(lost) > 0 {
		b := lost[0]
		u.fail("U1", "%s is UpToDate after a resync without the acknowledged write %d of block %d: it has %v", p.h.name, source.data.need[b], b, p.h.disk.now[b].sectors())
	}
	for _, b := range u.model.places {
		if w := source.data.need[b]; u.lineage.holds(p.h.disk.now[b], b, w) { // else it is on its way (protocols A and B)
			p.data.need[b] = w
		}
		if w := source.data.safe[b]; u.lineage.holds(p.h.disk.durablePage(b), b, w) {
			p.data.safe[b] = w
		} else {
			u.fail("U1", "%s is UpToDate after a resync, and write %d of block %d is not durable there", p.h.name, w, b)
		}
	}
	p.data.whole = true
}

// judgeConnected: both sides take the disks for equal; each has what the other has acknowledged.
func (u *unbound) judgeConnected() {
	for _, p := range u.parties {
		if lost := u.lost(p, p.peer()); len(lost) > 0 && p.data.whole {
			b := lost[0]
			u.fail("U3", "both disks count as equal, and %s lacks write %d of block %d that %s has acknowledged", p.peer().h.name, p.data.need[b], b, p.h.name)
		}
	}
}

// judgeVerified: a verify this side began is done; what differs, and nothing else, is out of sync.
func (u *unbound) judgeVerified(p *party) {
	u.counts.Verifies++
	if !u.data[0].disk.sound() || !u.data[1].disk.sound() {
		return
	}
	differs := map[int]bool{}
	for _, b := range u.differing() {
		differs[b] = true
	}
	for b := range int(u.sharedSize() / pageSize) {
		marked := p.h.volume.s.OutOfSync(uint64(b))
		switch {
		case u.touched[b] >= p.verifying: // a client may have written it since
		case differs[b] && !marked:
			u.fail("U5", "block %d differs, and is not out of sync after %s's verify", b, p.h.name)
		case marked && !differs[b] && p.marked == 0:
			u.fail("U5", "block %d is out of sync after %s's verify, and does not differ", b, p.h.name)
		case differs[b]:
			u.counts.Found++
		}
	}
}

// still tells whether nothing is under way anywhere, with both sides Connected and UpToDate.
func (u *unbound) still() bool {
	for _, p := range u.parties {
		if p.h.volume == nil || len(p.h.kernel.pending) > 0 || !settled(p.states()) || !p.h.volume.s.Idle() {
			return false
		}
	}
	return u.link.whole() && u.link.empty()
}

// judgeStill: when nothing is under way, the disks are equal but for what is marked, or what a disk has changed by itself.
func (u *unbound) judgeStill() {
	if !u.still() {
		return
	}
	u.counts.Equal++
	a, b := u.data[0].volume.s, u.data[1].volume.s
	for _, n := range u.differing() {
		if !u.corrupt[n] && !a.OutOfSync(uint64(n)) && !b.OutOfSync(uint64(n)) {
			u.fail("U4", "both disks are UpToDate and block %d differs, out of sync nowhere: %v and %v", n, u.data[0].disk.now[n].sectors(), u.data[1].disk.now[n].sectors())
			return
		}
	}
	ours, theirs := a.UUIDs(), b.UUIDs()
	if !generation.Same(ours.Current, theirs.Current) || ours.Bitmap != 0 || theirs.Bitmap != 0 {
		u.fail("U4", "both disks are UpToDate, and their generations differ: %s and %s", ours, theirs)
	}
	if a.Size() != b.Size() {
		u.fail("U8", "both sides are connected, and their devices have %d and %d bytes", a.Size(), b.Size())
	}
}

// marks tells whether either bitmap has a bit.
func (u *unbound) marks() bool {
	for _, p := range u.parties {
		if p.h.volume != nil && p.h.volume.s.OutOfSyncBits() > 0 {
			return true
		}
	}
	return false
}
