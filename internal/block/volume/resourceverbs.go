package volume

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/wire"
)

// verb carries out an operator's or the daemon's command; done is called once, on the engine's goroutine. What is about the
// connection is about all volumes, whichever was named.
func (r *resource) verb(do api.VolumeDo, done func(api.VolumeReply)) {
	parts, refused := r.named(do)
	if refused.Code != 0 {
		done(refused)
		return
	}
	switch do.Verb {
	case api.VolumeUp:
		r.doUp(done)
	case api.VolumeConnect:
		done(r.doConnect(do.DiscardMyData))
	case api.VolumeDisconnect:
		r.doDisconnect(done)
	case api.VolumePrimary:
		r.doPrimary(parts, do, done)
	case api.VolumeSecondary:
		r.doSecondary(parts, done)
	case api.VolumeAdjust:
		r.doAdjust(done)
	case api.VolumeShow:
		done(api.VolumeReply{Config: r.cfg.Resource.DumpExpanded(r.cfg.Node)})
	case api.VolumeDown:
		r.doDown(done)
	default:
		inTurn(parts, func(e *engine, next func(api.VolumeReply)) { e.verbOfVolume(do, next) }, done)
	}
}

// named finds the volumes a command is about: the one it names, or all.
func (r *resource) named(do api.VolumeDo) ([]*engine, api.VolumeReply) {
	parts := r.parts
	if do.Volume != nil {
		e := r.numbered(*do.Volume)
		if e == nil {
			return nil, failed(codeFailed, "resource %s has no volume %d on %s", r.cfg.Resource.Name, *do.Volume, r.cfg.Node)
		}
		parts = []*engine{e}
	}
	heals := do.Verb == api.VolumeHeal || do.Verb == api.VolumeHealUndo
	if heals && r.several() {
		return nil, failed(codeFailed, "resource %s has %d volumes, which are given up together: heal saves the blocks of resources of one. To give this side up "+
			"without saving anything: drbdadm disconnect %s, then drbdadm connect --discard-my-data %s", r.cfg.Resource.Name, len(r.parts), r.cfg.Resource.Name, r.cfg.Resource.Name)
	}
	for _, e := range parts {
		if refused := e.healForbids(do.Verb); refused.Code != 0 {
			return nil, refused
		}
	}
	return parts, api.VolumeReply{}
}

// inTurn has f done for one part after the other, up to the first that refuses; done gets the last answer.
func inTurn(parts []*engine, f func(e *engine, next func(api.VolumeReply)), done func(api.VolumeReply)) {
	if len(parts) == 0 {
		done(api.VolumeReply{})
		return
	}
	f(parts[0], func(answer api.VolumeReply) {
		if answer.Code != 0 || len(parts) == 1 {
			done(answer)
			return
		}
		inTurn(parts[1:], f, done)
	})
}

// doUp attaches, makes the kernel's devices and connects.
func (r *resource) doUp(done func(api.VolumeReply)) {
	for _, e := range r.parts {
		if e.store != nil {
			continue
		}
		if answer := e.doAttach(); answer.Code != 0 {
			done(answer)
			return
		}
	}
	for _, e := range r.parts {
		e.machine.Connect(e.env(), false)
	}
	inTurn(r.parts, (*engine).openFrontend, done)
}

// doConnect refuses what would throw away the data in use.
func (r *resource) doConnect(discard bool) api.VolumeReply {
	for _, e := range r.parts {
		if discard && e.machine.IsPrimary() {
			return failed(codeFailed, "%d: Failure: (123) --discard-my-data not allowed when primary.", e.volume.Minor)
		}
	}
	for _, e := range r.parts {
		e.machine.Connect(e.env(), discard)
	}
	return api.VolumeReply{}
}

// doDisconnect leaves the peer, if every volume can do without. The first that is connected tells it.
func (r *resource) doDisconnect(done func(api.VolumeReply)) {
	if r.several() {
		for _, e := range r.parts {
			if refused := e.machine.MayDisconnect(); refused.Code != 0 {
				done(refused)
				return
			}
		}
	}
	var first, rest []*engine
	for _, e := range r.parts {
		if e.machine.Conn() >= wire.Connected {
			first = append(first, e)
		} else {
			rest = append(rest, e)
		}
	}
	inTurn(append(first, rest...), func(e *engine, next func(api.VolumeReply)) { e.machine.Disconnect(e.env(), e.await(next)) }, done)
}

// doPrimary promotes all volumes named, or none.
func (r *resource) doPrimary(parts []*engine, do api.VolumeDo, done func(api.VolumeReply)) {
	if len(parts) == 1 {
		parts[0].doPrimary(do, done)
		return
	}
	for _, e := range parts {
		if refused := e.machine.MayPromote(do.Force); refused.Code != 0 {
			done(refused)
			return
		}
	}
	var promoted []*engine
	inTurn(parts, func(e *engine, next func(api.VolumeReply)) {
		was := e.machine.IsPrimary()
		e.doPrimary(do, func(answer api.VolumeReply) {
			if answer.Code == 0 && !was {
				promoted = append(promoted, e)
			}
			next(answer)
		})
	}, func(answer api.VolumeReply) {
		if answer.Code == 0 || len(promoted) == 0 {
			done(answer)
			return
		}
		r.doSecondary(promoted, func(back api.VolumeReply) {
			if back.Code != 0 {
				answer.Error += fmt.Sprintf("; and not all volumes could be made Secondary again: %s", back.Error)
			}
			done(answer)
		})
	})
}

// doSecondary demotes unless somebody uses one of the devices.
func (r *resource) doSecondary(parts []*engine, done func(api.VolumeReply)) {
	inTurn(parts, (*engine).unused, func(answer api.VolumeReply) {
		if answer.Code != 0 {
			done(answer)
			return
		}
		inTurn(parts, func(e *engine, next func(api.VolumeReply)) { e.machine.Secondary(e.env(), e.await(next)) }, done)
	})
}

// unused answers whether nobody uses the device.
func (e *engine) unused(done func(api.VolumeReply)) {
	if !e.machine.IsPrimary() {
		done(api.VolumeReply{})
		return
	}
	e.askInUse(func(users []string, err error) {
		switch {
		case err != nil:
			done(failed(codeRefused, "%d: State change failed: cannot tell who uses the device: %v", e.volume.Minor, err))
		case len(users) > 0:
			r := e.machine.Refusal(wire.DeviceInUse)
			r.Error += fmt.Sprintf(": %s", users[0])
			done(r)
		default:
			done(api.VolumeReply{})
		}
	})
}

// doDown demotes, disconnects, detaches, takes the kernel's devices away and ends the process.
func (r *resource) doDown(done func(api.VolumeReply)) {
	each := func(f func(*engine, func(api.VolumeReply))) func(func(api.VolumeReply)) {
		return func(next func(api.VolumeReply)) { inTurn(r.parts, f, next) }
	}
	steps := []func(func(api.VolumeReply)){
		func(next func(api.VolumeReply)) { r.doSecondary(r.parts, next) },
		each((*engine).closeFrontend),
		r.doDisconnect,
		each((*engine).doDetach),
	}
	var run func(i int)
	run = func(i int) {
		if i == len(steps) {
			for _, e := range r.parts {
				e.removeLinks()
			}
			done(api.VolumeReply{})
			r.finished = true
			return
		}
		steps[i](func(answer api.VolumeReply) {
			if answer.Code != 0 {
				done(answer)
				return
			}
			run(i + 1)
		})
	}
	run(0)
}
