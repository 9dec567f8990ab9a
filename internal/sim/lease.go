package sim

import (
	"errors"
	"fmt"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/liveness"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/guard/deadline"
)

// beat is daemon.beat.
type beat struct {
	liveness.Beat
	grant   *liveness.Renewal
	lineage state.Lineage
}

type renewal struct {
	from string
	what liveness.Renewal
}

// pulse is pulse.tick.
func (d *daemon) pulse() {
	now := d.h.clock.Boottime()
	view, status := d.view(), d.raft.Status()
	d.peers.SetToken(view.Cluster.Token())
	d.peers.Expect(view.MemberNames(), now)
	_, paused := d.peers.Tick(now)
	d.lead(view, status, now)
	if paused > 0 {
		d.alone.Paused()
		d.leader.Paused(now)
	}
	d.holder.Length = view.Cluster.LeaseLength()
	renew, due, _ := d.holder.Renew(now)
	b := beat{Beat: liveness.Beat{Hears: d.peers.Hears(now)}}
	if due {
		b.Renew = &renew
		if status.IsLeader {
			d.renewed(d.h.name, renew)
		}
	}
	for _, m := range view.MemberNames() {
		if m != d.h.name {
			d.sendBeat(m, b)
		}
	}
	d.expire()
}

func (d *daemon) sendBeat(to string, b beat) {
	target, from := d.w.host(to), d.h.name
	b.lineage = d.view().Cluster.Lineage
	if target == nil {
		return
	}
	d.w.send(d.h, target, "beat", func(int) {
		if target.daemon != nil {
			target.daemon.heard(from, b)
		}
	})
}

// lead is pulse.lead.
func (d *daemon) lead(view *state.View, status raftlog.Status, now clock.Boottime) {
	d.leader = liveness.Lead(d.leader, status.IsLeader, status.Term, view.Cluster.LeaseLength(), cluster.LeaseMargin, status.LeaderReady)
	if d.leader != nil {
		d.leader.Observe(view.LeaseRecords(), now)
	}
}

// heard is pulse.heard with session.mayHear.
func (d *daemon) heard(from string, b beat) {
	if !d.mayHear(from, b.lineage) {
		return
	}
	d.peers.Heard(from, 0, b.Beat, d.h.clock.Boottime())
	if b.Renew != nil && d.raft.Status().IsLeader {
		d.renewed(from, *b.Renew)
	}
	if b.grant != nil {
		d.grantedTo(*b.grant)
	}
}

// renewed is pulse.renewed with readAndGrant.
func (d *daemon) renewed(from string, r liveness.Renewal) {
	d.waiting = append(d.waiting, renewal{from, r})
	if !d.reading {
		d.readAndGrant()
	}
}

func (d *daemon) readAndGrant() {
	batch := d.waiting
	d.waiting = nil
	d.reading = len(batch) > 0
	if !d.reading {
		return
	}
	term := d.raft.Status().Term
	d.linear(cluster.LeaseLength, func(err error) {
		if err == nil {
			d.grant(batch, term)
		}
		d.readAndGrant()
	})
}

// grant is pulse.grant.
func (d *daemon) grant(batch []renewal, term uint64) {
	now := d.h.clock.Boottime()
	view, status := d.view(), d.raft.Status()
	if !d.leader.MayGrant(term, status.IsLeader, status.Term) {
		return
	}
	d.leader.Observe(view.LeaseRecords(), now)
	for _, r := range batch {
		if !d.leader.Grant(r.from, r.what, now) {
			continue
		}
		if r.from == d.h.name {
			d.grantedTo(r.what)
			continue
		}
		d.alone.Acknowledged(now)
		d.sendBeat(r.from, beat{grant: &r.what})
	}
}

func (d *daemon) grantedTo(r liveness.Renewal) {
	if at, moved := d.holder.Granted(r); moved {
		d.alone.Granted(d.h.clock.Boottime(), at)
		d.keep.offer(r.Session, at)
	}
}

// expire is pulse.expire.
func (d *daemon) expire() {
	if d.leader == nil {
		return
	}
	due, _ := d.leader.Due(d.h.clock.Boottime())
	for _, e := range due {
		d.proposeExpiry(d.leader.Term(), e)
	}
}

// proposeExpiry is pulse.proposeExpiry.
func (d *daemon) proposeExpiry(term uint64, e liveness.Expiry) {
	c := &state.LeaseExpire{Node: e.Node, Session: e.Session, Term: term, Reason: "no renewal granted for " + e.Silent.Round(time.Millisecond).String()}
	d.propose(term, c, func(err error) {
		var refused *state.Refusal
		switch {
		case err == nil:
		case errors.As(err, &refused), errors.Is(err, raftlog.ErrNotLeader):
			if d.leader != nil && d.leader.Term() == term {
				d.leader.Failed(e.Node, e.Session)
			}
		default:
			d.proposeExpiry(term, e)
		}
	})
}

// calm is pulse.calm.
func (d *daemon) calm() bool {
	now := d.h.clock.Boottime()
	if d.leader == nil {
		return false
	}
	for node, l := range d.view().Leases {
		if l.State == state.LeaseActive && now.Sub(d.leader.LastGrant(node)) > 4*cluster.Heartbeat {
			return false
		}
	}
	return true
}

// keeper restates daemon.keeper: obtain, begin and hold, one step at a time.
type keeper struct {
	d       *daemon
	joining bool
	busy    bool   // obtaining
	session uint64 // held, 0 when none
	latest  clock.Boottime
	started bool
}

// offer takes a new deadline (keeper.hold).
func (k *keeper) offer(session uint64, at clock.Boottime) {
	if session != k.session || k.session == 0 {
		return
	}
	if err := k.guard(func(m *deadline.Machine, now clock.Boottime) error { return m.Lease(now, session, at) }); err != nil {
		k.lost(err.Error())
		return
	}
	k.latest = at
	if !k.started {
		k.started = true
		k.d.begun(session)
	}
}

// guard asks the host's guard; a witness has none to enforce anything, and no need to.
func (k *keeper) guard(f func(m *deadline.Machine, now clock.Boottime) error) error {
	return k.d.h.askGuard(f)
}

// tick is the watch of keeper.hold, and the loop of keeper.run.
func (k *keeper) tick() {
	if k.d.h.kind != state.Data {
		return // witnesses run nothing; their leases would only add events
	}
	if k.session == 0 {
		k.obtain()
		return
	}
	lease := k.d.view().Leases[k.d.h.name]
	switch {
	case lease.Session == k.session && lease.State != state.LeaseActive:
		k.lost("the log says " + string(lease.State))
	case k.latest != 0 && k.d.h.clock.Boottime() >= k.latest:
		k.lost("not renewed in time")
	}
}

func (k *keeper) lost(why string) {
	k.d.w.note(k.d.h, "lease lost", "session", k.session, "why", why)
	k.session, k.latest, k.started = 0, 0, false
	k.d.holder.End()
	k.d.session = 0
}

// obtain is keeper.obtain.
func (k *keeper) obtain() {
	if k.busy {
		return
	}
	k.busy = true
	k.d.linear(proposeTimeout, func(err error) {
		if err == nil {
			err = k.carryOn()
		}
		if err != nil {
			k.busy = false
		}
	})
}

func (k *keeper) carryOn() error {
	h := k.d.h
	lease := k.d.view().Leases[h.name]
	var st deadline.State
	var floor uint64
	if err := k.guard(func(m *deadline.Machine, now clock.Boottime) error {
		m.Tick(now)
		st, floor = m.State(), m.Floor()
		return nil
	}); err != nil {
		return err
	}
	armed := st == deadline.Armed || st == deadline.Disarmed
	if lease.State == state.LeaseActive && lease.Session == h.session && armed {
		k.hold(lease.Session)
		return nil
	}
	if err := k.nothingLeft(st); err != nil {
		return err
	}
	if lease.State == state.LeaseActive {
		k.d.propose(0, &state.LeaseEnd{Node: h.name, Session: lease.Session}, func(err error) {
			if err != nil {
				k.busy = false
				return
			}
			k.beginFrom(lease, floor)
		})
		return nil
	}
	k.beginFrom(lease, floor)
	return nil
}

// nothingLeft is keeper.nothingLeft with session.clean.
func (k *keeper) nothingLeft(st deadline.State) error {
	h := k.d.h
	switch st {
	case deadline.Disarmed:
		if h.session == 0 {
			return nil
		}
	case deadline.Enforced:
	default:
		return fmt.Errorf("the guard is still ending the last session (%s)", st)
	}
	h.marked = false
	h.killVolume()
	h.kernel.abort()
	h.session = 0
	return nil
}

// beginFrom is keeper.begin: sessions that the guard has seen are skipped.
func (k *keeper) beginFrom(lease state.Lease, floor uint64) {
	next, skip := lease.Next(floor)
	if !skip {
		k.begin(next)
		return
	}
	k.d.propose(0, &state.LeaseSkip{Node: k.d.h.name, Incarnation: k.d.raft.Incarnation(), Session: next - 1}, func(err error) {
		if err != nil {
			k.busy = false
			return
		}
		k.begin(next)
	})
}

// begin is the rest of keeper.begin.
func (k *keeper) begin(next uint64) {
	h := k.d.h
	if err := k.guard(func(m *deadline.Machine, now clock.Boottime) error { return m.Clear(now, next) }); err != nil {
		k.busy = false
		return
	}
	k.d.propose(0, &state.LeaseStart{Node: h.name, Incarnation: k.d.raft.Incarnation(), Session: next}, func(err error) {
		if err != nil {
			k.busy = false
			return
		}
		h.session = next
		k.hold(next)
	})
}

func (k *keeper) hold(session uint64) {
	k.busy, k.session, k.latest, k.started = false, session, 0, false
	k.d.holder.Begin(session)
}
