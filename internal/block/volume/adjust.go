package volume

import (
	"errors"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/wire"
)

// doAdjust reads the configuration again and applies what differs from what runs, and nothing else: with no difference
// nothing happens. Options of the connection count for a new connection, which is made at once. What cannot change under a
// running device is refused, and then nothing is changed.
func (r *resource) doAdjust(done func(api.VolumeReply)) {
	wanted, changes, err := r.differences()
	if err != nil {
		done(failed(codeFailed, "%d: Failure: adjust: %v", r.parts[0].volume.Minor, err))
		return
	}
	var exchanged []*engine // disks
	connection := false
	for _, c := range changes {
		e := r.numbered(c.Volume)
		switch {
		case c.Kind == resfile.ChangeMinor:
			done(failed(codeFailed, "%d: Failure: adjust: the device or its minor has changed: drbdadm down %s, then up", e.volume.Minor, wanted.Name))
			return
		case c.Kind == resfile.ChangeDisk && e.store != nil && e.machine.IsPrimary():
			done(e.machine.Refusal(wire.NoUpToDateDisk))
			return
		case c.Kind == resfile.ChangeDisk && e.store != nil:
			exchanged = append(exchanged, e)
		}
		connection = connection || c.Kind == resfile.ChangeAddress || c.Kind == resfile.ChangeNet
	}
	inTurn(exchanged, (*engine).doDetach, func(answer api.VolumeReply) {
		if answer.Code != 0 {
			done(answer)
			return
		}
		r.use(wanted)
		for _, e := range exchanged {
			if answer = e.doAttach(); answer.Code != 0 {
				done(answer)
				return
			}
		}
		switch {
		case len(exchanged) > 0:
			done(r.doConnect(false))
			return
		case connection:
			r.redial()
		}
		done(api.VolumeReply{})
	})
}

func (r *resource) differences() (*resfile.Resource, []resfile.Change, error) {
	if r.cfg.Reload == nil {
		return nil, nil, errors.New("this volume's configuration is fixed")
	}
	wanted, err := r.cfg.Reload()
	if err != nil {
		return nil, nil, err
	}
	changes, err := resfile.Differences(r.cfg.Resource, wanted, r.cfg.Node)
	if err != nil {
		return nil, nil, err
	}
	if _, peer, err := wanted.For(r.cfg.Node); err != nil || peer.Name() != r.other.Name() {
		return nil, nil, errors.Join(err, errors.New("the peer is another host now: drbdadm down, then up"))
	}
	return wanted, changes, nil
}

// use makes a configuration the one that runs.
func (r *resource) use(wanted *resfile.Resource) {
	self, other, err := wanted.For(r.cfg.Node)
	if err != nil {
		return // cannot be: differences has asked
	}
	r.cfg.Resource, r.self, r.other = wanted, self, other
	for _, e := range r.parts {
		e.volume, _ = self.Volume(e.volume.Number)
		e.rate = 0
		e.setRate()
		if e.path != nil {
			e.path.Forgive(e.onIOError() == "pass_on")
		}
		e.statusDue = true
	}
	r.log.Info("the configuration was adjusted")
}

// redial ends the connection or the attempt at one; the next begins with what is configured now.
func (r *resource) redial() {
	if r.line.cancel != nil {
		r.line.cancel()
		r.line.cancel = nil
	}
	r.closeLink("the options of the connection were adjusted")
	for _, e := range r.parts {
		e.machine.Adjusted(e.env())
	}
}
