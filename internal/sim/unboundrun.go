package sim

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// UnboundProgress bounds how long a healed pair may take to be Connected and UpToDate on both sides, in virtual time.
const UnboundProgress = 180 * time.Second

// heal ends every fault: hosts are up, processes run, links are open, disks work, nothing is suspended.
func (u *unbound) heal() {
	u.quiet, u.mending = true, true
	u.net, u.link.resetIn = netFaults{}, 0
	for _, row := range u.cuts {
		clear(row)
	}
	for _, p := range u.parties {
		h := p.h
		h.disk.crashIn = 0
		p.repair()
		h.volumeProc.paused = false
		h.thaw()
		u.World.resume(h.volumeProc)
		p.meant = true
		p.boot()
		p.begin()
		for _, v := range []api.VolumeVerb{api.VolumeResumeIO, api.VolumeResumeSync} {
			p.do(api.VolumeDo{Verb: v}, nil)
		}
	}
	u.keepLooking()
}

// keepLooking is the operator of the last phase.
func (u *unbound) keepLooking() {
	u.after(2*time.Second, "operator looks", func() {
		u.look()
		u.keepLooking()
	})
}

// look is one look of an operator at both hosts: what stands still for want of a word gets it.
func (u *unbound) look() {
	alone := 0
	for _, p := range u.parties {
		switch s := p.states(); {
		case p.h.volume == nil:
			p.meant = p.meant || u.mending // a drbdadm down was under way when the faults ended
			p.begin()
			return
		case s.Disk == generation.Diskless && p.h.disk.sound():
			p.do(api.VolumeDo{Verb: api.VolumeAttach}, func(r api.VolumeReply) {
				if r.Code != 0 && p.primary() && !p.served() { // its users have seen other data
					p.demote(nil)
				}
			})
		case s.Conn == wire.StandAlone:
			alone++
		}
	}
	switch {
	case alone > 0:
		u.reconnect()
	case u.stuck():
		u.rescue()
	case u.mending:
		u.complete()
	}
}

// reconnect answers a connection that was refused, or taken away: it is tried again once, then one side is given up.
func (u *unbound) reconnect() {
	a, b := u.parties[0], u.parties[1]
	reasons := a.reason() + b.reason()
	if reasons == "" {
		for _, p := range u.parties {
			if p.states().Conn == wire.StandAlone {
				p.do(api.VolumeDo{Verb: api.VolumeConnect}, nil)
			}
		}
		return
	}
	if strings.Contains(reasons, "the same size") {
		u.measure()
		return
	}
	victim := u.victim()
	u.note(victim.h, "is given up", "why", reasons)
	u.counts.Splits++
	next := func() {
		if strings.Contains(reasons, "Unrelated") || strings.Contains(reasons, "inconsistent") {
			victim.invalidate()
		}
		victim.do(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true}, nil)
		if q := victim.peer(); q.states().Conn == wire.StandAlone {
			q.do(api.VolumeDo{Verb: api.VolumeConnect}, nil)
		}
	}
	if !victim.primary() {
		next()
		return
	}
	victim.demote(next)
}

// demote has what waits for data fail, and makes this side Secondary.
func (p *party) demote(next func()) {
	p.do(api.VolumeDo{Verb: api.VolumeResumeIO}, func(api.VolumeReply) {
		p.do(api.VolumeDo{Verb: api.VolumeSecondary}, func(r api.VolumeReply) {
			if r.Code == 0 && next != nil {
				next()
			}
		})
	})
}

// measure has both sides look at their disks again, which have become larger, and connect.
func (u *unbound) measure() {
	for _, p := range u.parties {
		p.do(api.VolumeDo{Verb: api.VolumeResize}, func(api.VolumeReply) { p.do(api.VolumeDo{Verb: api.VolumeConnect}, nil) })
	}
}

// reason is why this side gave the connection up.
func (p *party) reason() string {
	if p.status == nil || p.states().Conn != wire.StandAlone {
		return ""
	}
	return p.status.Reason
}

// victim is the side an operator gives up: the one without good data, else the one that is not Primary, else any.
func (u *unbound) victim() *party {
	a, b := u.parties[0], u.parties[1]
	for _, p := range u.parties { // the policies, or the generations, make the Primary the target
		if p.primary() && (strings.Contains(p.reason(), "I am primary") || strings.Contains(p.peer().reason(), "it is primary")) {
			return p
		}
	}
	switch {
	case a.states().Disk != b.states().Disk:
		if a.states().Disk < b.states().Disk {
			return a
		}
		return b
	case a.primary() != b.primary():
		if a.primary() {
			return b
		}
		return a
	}
	return u.anyParty()
}

// stuck tells whether no side has data that count.
func (u *unbound) stuck() bool {
	for _, p := range u.parties {
		if s := p.states(); s.Disk >= generation.Consistent || s.Conn > wire.Connected {
			return false
		}
	}
	return true
}

// rescue makes one side the source of truth by force.
func (u *unbound) rescue() {
	p := u.parties[0]
	if u.parties[1].states().Disk > p.states().Disk {
		p = u.parties[1]
	}
	p.do(api.VolumeDo{Verb: api.VolumePrimary, Force: true}, nil)
}

// complete looks for what a healed pair lacks still: a Primary, the size of its disks, and a comparison of them.
func (u *unbound) complete() {
	a, b := u.parties[0], u.parties[1]
	switch {
	case !settled(a.states()) || !settled(b.states()):
		for _, p := range u.parties {
			u.freshen(p)
		}
	case !a.primary() && !b.primary():
		u.anyParty().do(api.VolumeDo{Verb: api.VolumePrimary}, nil)
	case u.grown && !u.resized():
		u.primaryNow().do(api.VolumeDo{Verb: api.VolumeResize}, nil)
	case u.marks(): // DRBD resyncs what a verify found when the connection is made again
		u.primaryNow().peer().reconnect()
	case len(u.corrupt) > 0 && len(u.differing()) > 0:
		u.primaryNow().do(api.VolumeDo{Verb: api.VolumeVerify}, nil)
	}
}

// freshen has a disk resynced that stays what it is as long as the connection lasts: an error was passed on, or it is Outdated.
func (u *unbound) freshen(p *party) {
	switch s := p.states(); {
	case s.Conn != wire.Connected || s.PeerDisk != generation.UpToDate:
	case s.Disk == generation.Inconsistent:
		p.do(api.VolumeDo{Verb: api.VolumeDetach}, nil)
	case s.Disk == generation.Outdated:
		p.reconnect()
	}
}

// reconnect takes the connection away and makes it again.
func (p *party) reconnect() {
	p.do(api.VolumeDo{Verb: api.VolumeDisconnect}, func(api.VolumeReply) { p.do(api.VolumeDo{Verb: api.VolumeConnect}, nil) })
}

func (u *unbound) primaryNow() *party {
	if u.parties[1].primary() {
		return u.parties[1]
	}
	return u.parties[0]
}

// resized tells whether the device has all of the disks.
func (u *unbound) resized() bool {
	return u.data[0].volume.s.Size() > u.set.Size && u.data[1].volume.s.Size() > u.set.Size
}

// healthy tells whether everything is as it should be.
func (u *unbound) healthy() bool {
	a, b := u.parties[0], u.parties[1]
	return a.h.volume != nil && b.h.volume != nil && settled(a.states()) && settled(b.states()) && a.primary() != b.primary() && u.link.whole() && !u.marks() &&
		(!u.grown || u.resized())
}

// Finish heals everything, waits until the pair is whole, lets the clients rest and judges what is left.
func (u *unbound) Finish() error {
	u.heal()
	if err := u.until("both sides Connected and UpToDate", u.healthy); err != nil {
		return err
	}
	if acked := u.stats.Acked; len(u.clients) > 0 {
		if err := u.until("an acknowledged write", func() bool { return u.stats.Acked > acked }); err != nil {
			return err
		}
	}
	u.halted = true
	if err := u.until("the clients' last operations", u.idle); err != nil {
		return err
	}
	equal := func() bool { return u.healthy() && u.still() && len(u.differing()) == 0 }
	if err := u.until("equal disks at rest", equal); err != nil {
		return err
	}
	u.judgeStill()
	for _, p := range u.parties {
		u.judgeDiskOf(p, u.primaryNow().data.floor, "is UpToDate at the end")
	}
	u.linearizable(20 * time.Second)
	return u.failure
}

// until waits for something that must happen in bounded time.
func (u *unbound) until(what string, ok func() bool) error {
	if err := u.Run(time.Millisecond); err != nil {
		return err
	}
	end := u.now.add(UnboundProgress)
	for !ok() {
		if u.failure == nil && (len(u.queue.heap) == 0 || u.queue.heap[0].at > end) {
			u.fail("progress", "waited %v for %s; %s", UnboundProgress, what, u.describe())
		}
		if u.failure != nil {
			return u.failure
		}
		u.step()
	}
	return u.failure
}

// describe tells how things stand.
func (u *unbound) describe() string {
	var b strings.Builder
	for _, p := range u.parties {
		s := p.states()
		fmt.Fprintf(&b, "%s: %s %s/%s %s/%s whole %v pending %d reason %q", p.h.name, s.Conn, s.Role, s.Peer, s.Disk, s.PeerDisk, p.data.whole, len(p.h.kernel.pending), p.reason())
		if v := p.h.volume; v != nil {
			fmt.Fprintf(&b, " bits %d size %d idle %v %s", v.s.OutOfSyncBits(), v.s.Size(), v.s.Idle(), v.s.UUIDs())
		}
		if p.status != nil {
			fmt.Fprintf(&b, " frozen %q", p.status.Frozen)
		}
		b.WriteString("; ")
	}
	fmt.Fprintf(&b, "%d blocks differ", len(u.differing()))
	return b.String()
}

// UnboundSeed runs one seed: a phase of about so many events with faults and verbs, then a healed phase that must make progress.
func UnboundSeed(seed, events uint64, o UnboundOptions) (hash uint64, stats UnboundStats, err error) {
	u := NewUnbound(seed, o)
	u.Start()
	u.startClients(1 + u.rng.IntN(2))
	u.plan()
	for u.events < events && u.step() {
	}
	if err = u.failure; err == nil {
		err = u.Finish()
	}
	u.counts.Stats = u.Stats()
	return u.Hash(), u.counts, err
}
