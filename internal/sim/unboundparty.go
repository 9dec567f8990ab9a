package sim

import (
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// boot starts a host, whose init script types drbdadm up if the resource was up before.
func (p *party) boot() {
	h := p.h
	if h.up {
		return
	}
	p.u.note(h, "boot")
	h.up, h.frozen, h.note.Role = true, false, nil
	h.clock.resume()
	p.meant = true
	p.begin()
}

// begin starts a volume process and brings the resource up in it.
func (p *party) begin() {
	h := p.h
	if !h.up || h.volumeProc.alive || !p.meant {
		return
	}
	clear(p.calls)
	p.seen, p.status, p.verifying = wire.States{}, nil, 0
	h.startVolume()
	h.volume.s.Hear(api.VolumeMessage{View: &api.VolumeView{Node: h.name}})
	p.do(api.VolumeDo{Verb: api.VolumeUp}, nil)
}

// do has an operator type a verb; done, which may be nil, gets the answer, unless the process ends before.
func (p *party) do(do api.VolumeDo, done func(api.VolumeReply)) {
	h := p.h
	if h.volume == nil {
		return
	}
	p.called++
	id := p.called
	p.u.counts.Verbs++
	p.calls[id] = func(r api.VolumeReply) {
		p.u.note(h, "answer", "verb", string(do.Verb), "code", r.Code, "error", r.Error)
		if r.Code != 0 {
			p.u.counts.Refused++
		}
		p.answered(do, r)
		if done != nil {
			done(r)
		}
	}
	p.u.note(h, "drbdadm", "verb", string(do.Verb), "force", do.Force, "discard", do.DiscardMyData)
	v := h.volume
	p.u.later(h.volumeProc, 20*time.Microsecond, "verb", func() {
		if h.volume == v {
			v.s.Hear(api.VolumeMessage{ID: id, Do: &do})
			v.turn()
		}
	})
}

// hear takes what the volume process tells its daemon, which here is nobody but the operator.
func (p *party) hear(m api.VolumeMessage) bool {
	switch {
	case m.Reply != nil:
		if f := p.calls[m.ID]; f != nil {
			delete(p.calls, m.ID)
			f(*m.Reply)
		}
	case m.Status != nil:
		p.status = m.Status
	}
	return true
}

// answered notes what a verb that was carried out, or refused, means for the data.
func (p *party) answered(do api.VolumeDo, r api.VolumeReply) {
	switch {
	case do.Verb == api.VolumeDown && r.Code == 0:
		p.meant = false
	case do.Verb == api.VolumeConnect && r.Code == 0:
		p.discards = do.DiscardMyData
	case do.Verb == api.VolumeResize && r.Code == 0:
		p.u.counts.Resizes++
	}
}

// gone: the volume process has ended by itself.
func (p *party) gone() {
	if !p.meant {
		return
	}
	p.u.after(p.u.between(10*time.Millisecond, 500*time.Millisecond), "restart", p.begin)
}

// kill is a SIGKILL of the volume process, which is started again.
func (p *party) kill() {
	p.h.killVolume()
	p.seen, p.verifying = wire.States{}, 0
	p.gone()
}

// states are those of the running process; those of none are Secondary, StandAlone and Diskless.
func (p *party) states() wire.States {
	if p.h.volume == nil {
		return wire.States{Role: wire.Secondary, Peer: wire.RoleUnknown, PeerDisk: generation.DUnknown}
	}
	return p.h.volume.s.States()
}

// primary tells whether the process serves requests.
func (p *party) primary() bool { return p.states().Role == wire.Primary }

// settled tells whether a side is connected with both disks UpToDate.
func settled(s wire.States) bool {
	return s.Conn == wire.Connected && s.Disk == generation.UpToDate && s.PeerDisk == generation.UpToDate
}

// served tells whether the peer's disk has all the data and is connected, as far as this side knows.
func (p *party) served() bool {
	s := p.states()
	return s.Conn >= wire.Connected && s.PeerDisk == generation.UpToDate && p.h.volume.s.Linked()
}
