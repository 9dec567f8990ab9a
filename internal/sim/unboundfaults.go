package sim

import (
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/wire"
)

// plan draws faults and verbs for as long as the safety phase lasts.
func (u *unbound) plan() {
	if u.chance(4) {
		u.net.slow = 3 + u.rng.IntN(50)
	}
	u.nextFault(u.between(100*time.Millisecond, 2*time.Second))
	u.nextVerb(u.between(600*time.Millisecond, 3*time.Second))
	u.attend(u.between(time.Second, 4*time.Second))
}

func (u *unbound) nextFault(d time.Duration) {
	u.undo(d, "fault", func() {
		u.fault()
		if u.chance(4) {
			u.nextFault(u.between(time.Millisecond, 100*time.Millisecond))
			return
		}
		u.nextFault(u.between(200*time.Millisecond, 4*time.Second))
	})
}

func (u *unbound) nextVerb(d time.Duration) {
	u.undo(d, "operator", func() {
		u.verb()
		if u.chance(4) {
			u.nextVerb(u.between(time.Millisecond, 50*time.Millisecond))
			return
		}
		u.nextVerb(u.between(100*time.Millisecond, 3*time.Second))
	})
}

func (u *unbound) anyParty() *party { return u.parties[u.rng.IntN(2)] }

// primaryParty prefers the Primary.
func (u *unbound) primaryParty() *party {
	for _, p := range u.parties {
		if p.primary() && u.chance(2) {
			return p
		}
	}
	return u.anyParty()
}

// fault draws one.
func (u *unbound) fault() {
	u.stats.Faults++
	kinds := []func(){u.crash, u.crash, u.powerLoss, u.powerLoss, u.powerOfBoth, u.cutMidWrite, u.pauseProcess, u.freezeHost, u.cutBoth, u.cutBoth, u.cutOne,
		u.resetLink, u.resetLink, u.failDisk, u.spoilPage, u.exchangeDisk, u.corruptBlock, u.corruptBlock, u.enlargeDisks}
	kinds[u.rng.IntN(len(kinds))]()
}

func (u *unbound) crash() { u.primaryParty().kill() }

func (p *party) powerLoss() {
	p.h.powerOff()
	p.u.undo(p.u.length(), "boot", p.boot)
}

func (u *unbound) powerLoss() { u.primaryParty().powerLoss() }

func (u *unbound) powerOfBoth() {
	for _, i := range u.rng.Perm(2) {
		u.undo(u.between(0, 50*time.Millisecond), "power off", u.parties[i].powerLoss)
	}
}

// cutMidWrite has the power fail in the middle of an event, such as a change of the metadata.
func (u *unbound) cutMidWrite() {
	p := u.primaryParty()
	p.h.disk.crashIn = 1 + u.rng.IntN(60)
	u.undo(u.length()+time.Second, "boot", func() { p.h.disk.crashIn = 0; p.boot() })
}

func (u *unbound) pauseProcess() {
	p := u.primaryParty().h.volumeProc
	p.pause()
	life := p.life
	u.undo(u.length(), "continue", func() {
		if p.life == life {
			u.wake(p)
		}
	})
}

func (u *unbound) freezeHost() {
	h := u.primaryParty().h
	if !h.up || h.frozen {
		return
	}
	h.freeze(false)
	u.undo(u.length(), "thaw", h.thaw)
}

func (u *unbound) cutBoth() {
	a, b := u.data[0], u.data[1]
	u.note(a, "cut")
	u.Cut(a, b)
	u.undo(u.length(), "mend", func() { u.Mend(a, b) })
}

func (u *unbound) cutOne() {
	i := u.rng.IntN(2)
	a, b := u.data[i], u.data[1-i]
	u.note(a, "cut one way")
	u.cut(a, b)
	u.undo(u.length(), "mend", func() { u.mend(a, b) })
}

// resetLink has the connection end at one of the next packets.
func (u *unbound) resetLink() { u.link.resetIn = 1 + u.rng.IntN(40) }

func (u *unbound) failDisk() {
	p := u.primaryParty()
	u.note(p.h, "disk fails")
	if u.chance(2) {
		p.h.disk.failing = errDisk
	} else {
		p.h.disk.failIn = 1 + u.rng.IntN(60)
	}
	u.undo(u.length(), "repair", p.repair)
}

// spoilPage makes one page of the data unreadable.
func (u *unbound) spoilPage() {
	p := u.primaryParty()
	places := u.model.places
	number := places[u.rng.IntN(len(places))]
	u.note(p.h, "bad page", "block", number)
	p.h.disk.bad = map[int]bool{number: true}
	u.undo(u.length(), "repair", p.repair)
}

// repair makes a disk work again; what was stored before is there.
func (p *party) repair() {
	d := p.h.disk
	d.failing, d.failIn, d.full, d.bad = nil, 0, false, nil
}

// exchangeDisk puts a blank disk into a host whose peer has all the data, durably.
func (u *unbound) exchangeDisk() {
	p := u.anyParty()
	q := p.peer()
	if !q.data.whole || !q.h.disk.sound() || q.h.disk.failIn > 0 || q.states().Disk != generation.UpToDate || len(u.lost(p, q)) > 0 || q.invalid || q.discards {
		return
	}
	u.note(p.h, "disk replaced")
	p.h.powerOff()
	if err := p.h.disk.format(u.rng.Uint64()|1, 0); err != nil {
		panic(err)
	}
	p.h.disk.bad = nil
	p.data.forget()
	u.undo(u.length(), "boot", p.boot)
}

// corruptBlock has a Secondary's disk change a block by itself, of those whose content is not judged.
func (u *unbound) corruptBlock() {
	p := u.anyParty()
	b := u.rng.IntN(int(u.set.Size / pageSize))
	if u.tracked(b) || u.tracked(b-1) || p.primary() || !p.peer().primary() || !settled(p.states()) {
		return
	}
	u.note(p.h, "block changes by itself", "block", b)
	u.corrupt[b], u.touched[b] = true, u.now
	content := make(page, pageSize)
	for i := range content {
		content[i] = byte(u.rng.Uint64() | 1)
	}
	d := p.h.disk
	delete(d.durable, b)
	d.now[b] = content
}

// enlargeDisks makes both disks larger; what is new is different on each. An operator resizes the device sooner or later.
func (u *unbound) enlargeDisks() {
	if u.grown {
		return
	}
	u.grown = true
	for _, p := range u.parties {
		u.note(p.h, "disk enlarged")
		p.h.disk.enlarge(1 << 20)
		for i := 0; i < 1<<20/pageSize; i++ {
			fresh := make(page, pageSize)
			for j := range fresh {
				fresh[j] = byte(0xa0 + p.h.index)
			}
			p.h.disk.now[len(p.h.disk.now)-1-i] = fresh
		}
	}
}

// verb draws one of the operator's.
func (u *unbound) verb() {
	p := u.primaryParty()
	plain := func(v api.VolumeVerb) func() {
		return func() { p.do(api.VolumeDo{Verb: v}, nil) }
	}
	kinds := []func(){plain(api.VolumePrimary), plain(api.VolumePrimary), plain(api.VolumePrimary), plain(api.VolumeSecondary), plain(api.VolumeSecondary),
		plain(api.VolumeConnect), plain(api.VolumeConnect), plain(api.VolumeDisconnect), plain(api.VolumeDisconnect), plain(api.VolumeVerify), plain(api.VolumeVerify),
		plain(api.VolumeAttach), plain(api.VolumeAttach), plain(api.VolumeDetach), plain(api.VolumeOutdate),
		func() { u.holdFor(p, api.VolumePauseSync, api.VolumeResumeSync) }, func() { u.holdFor(p, api.VolumeSuspendIO, api.VolumeResumeIO) },
		func() { u.resize(p) }, func() { u.resize(p) }, func() { u.invalidate(p) }, func() { u.invalidateRemote(p) }, func() { u.down(p) }, func() { u.force(p) },
		func() { u.discardHere(u.anyParty()) },
	}
	kinds[u.rng.IntN(len(kinds))]()
}

// holdFor has an operator stop something and let it go on later.
func (u *unbound) holdFor(p *party, stop, goOn api.VolumeVerb) {
	p.do(api.VolumeDo{Verb: stop}, nil)
	u.undo(u.length(), "go on", func() { p.do(api.VolumeDo{Verb: goOn}, nil) })
}

func (u *unbound) resize(p *party) {
	if u.grown {
		p.do(api.VolumeDo{Verb: api.VolumeResize, AssumePeerHasSpace: u.chance(4)}, nil)
	}
}

// spare tells whether an operator who knows the other side may give this one up.
func (u *unbound) spare(p *party) bool {
	q := p.peer()
	return q.data.whole && !q.invalid && !q.discards && q.h.disk.sound() && q.h.disk.failIn == 0 && q.states().Disk == generation.UpToDate
}

func (u *unbound) invalidate(p *party) {
	if u.spare(p) && !p.primary() {
		p.invalidate()
	}
}

// invalidate gives this side's content up, until it has been resynced.
func (p *party) invalidate() {
	p.invalid = true
	p.do(api.VolumeDo{Verb: api.VolumeInvalidate}, func(r api.VolumeReply) {
		if r.Code == 0 {
			p.data.forget()
		}
	})
}

func (u *unbound) invalidateRemote(p *party) {
	if q := p.peer(); u.spare(q) {
		q.invalid = true
		p.do(api.VolumeDo{Verb: api.VolumeInvalidateRemote}, nil)
	}
}

// down takes the resource down, and up again later.
func (u *unbound) down(p *party) {
	p.do(api.VolumeDo{Verb: api.VolumeDown}, nil)
	u.undo(u.length(), "drbdadm up", func() { p.meant = true; p.begin() })
}

func (u *unbound) force(p *party) { p.do(api.VolumeDo{Verb: api.VolumePrimary, Force: true}, nil) }

// discardHere gives this side up, if the other one is whole.
func (u *unbound) discardHere(p *party) {
	if u.spare(p) && p.states().Conn <= wire.WFConnection {
		p.do(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true}, nil)
	}
}

// attend is an operator who looks now and then, and answers what needs one.
func (u *unbound) attend(d time.Duration) {
	u.undo(d, "operator looks", func() {
		u.look()
		u.attend(u.between(time.Second, 5*time.Second))
	})
}

// startClients puts clients on both hosts.
func (u *unbound) startClients(n int) {
	u.World.startClients(n)
	if u.set.Discard {
		for _, p := range u.parties {
			u.discardSometimes(p)
		}
	}
}

// discardSometimes has a client write and discard blocks whose content is not judged on its own.
func (u *unbound) discardSometimes(p *party) {
	u.after(u.between(5*time.Millisecond, 300*time.Millisecond), "discard", func() {
		if p.h.up && !p.h.frozen && !u.halted && len(p.h.kernel.pending) < 16 {
			b := u.model.places[u.rng.IntN(len(u.model.places))] + 2
			o := &op{kind: kernel.Discard, block: b, client: &client{w: u.World, id: -1, host: p.h}}
			if u.chance(2) {
				o.kind, o.value = kernel.Write, u.rng.Uint64()|1<<63
			}
			if !u.tracked(b) && b < int(u.set.Size/pageSize) {
				o.client.issue(o)
			}
		}
		u.discardSometimes(p)
	})
}
