package volume

import (
	"errors"
	"slices"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/wire"
)

// doAdjust reads the configuration again and applies what differs from what runs, and nothing else: with no difference
// nothing happens. Options of the connection count for a new connection, which is made at once. What cannot change under a
// running device is refused, and then nothing is changed.
func (e *engine) doAdjust(done func(api.VolumeReply)) {
	wanted, changes, err := e.differences()
	if err != nil {
		done(failed(codeFailed, "%d: Failure: adjust: %v", e.volume.Minor, err))
		return
	}
	has := func(k resfile.ChangeKind) bool {
		return slices.ContainsFunc(changes, func(c resfile.Change) bool { return c.Kind == k })
	}
	switch {
	case has(resfile.ChangeMinor):
		done(failed(codeFailed, "%d: Failure: adjust: the device or its minor has changed: drbdadm down %s, then up", e.volume.Minor, wanted.Name))
	case has(resfile.ChangeDisk) && e.store != nil && e.machine.IsPrimary():
		done(e.machine.Refusal(wire.NoUpToDateDisk))
	case has(resfile.ChangeDisk) && e.store != nil:
		e.exchangeDisk(wanted, done)
	default:
		e.use(wanted)
		if has(resfile.ChangeAddress) || has(resfile.ChangeNet) {
			e.redial()
		}
		done(api.VolumeReply{})
	}
}

func (e *engine) differences() (*resfile.Resource, []resfile.Change, error) {
	if e.cfg.Reload == nil {
		return nil, nil, errors.New("this volume's configuration is fixed")
	}
	wanted, err := e.cfg.Reload()
	if err != nil {
		return nil, nil, err
	}
	changes, err := resfile.Differences(e.cfg.Resource, wanted, e.cfg.Node)
	if err != nil {
		return nil, nil, err
	}
	if _, peer, err := wanted.For(e.cfg.Node); err != nil || peer.Name() != e.other.Name() {
		return nil, nil, errors.Join(err, errors.New("the peer is another host now: drbdadm down, then up"))
	}
	return wanted, changes, nil
}

// use makes a configuration the one that runs.
func (e *engine) use(wanted *resfile.Resource) {
	self, other, err := wanted.For(e.cfg.Node)
	if err != nil {
		return // cannot be: differences has asked
	}
	e.cfg.Resource, e.self, e.other, e.volume = wanted, self, other, self.Volumes[0]
	e.rate = 0
	e.setRate()
	if e.path != nil {
		e.path.Forgive(e.onIOError() == "pass_on")
	}
	e.log.Info("the configuration was adjusted")
	e.statusDue = true
}

// redial ends the connection or the attempt at one; the next begins with what is configured now.
func (e *engine) redial() {
	if e.conn.cancel != nil {
		e.conn.cancel()
		e.conn.cancel = nil
	}
	e.closeLink("the options of the connection were adjusted")
	e.machine.Adjusted(e.env())
}

// exchangeDisk gives the disk back and takes the one that is configured now.
func (e *engine) exchangeDisk(wanted *resfile.Resource, done func(api.VolumeReply)) {
	e.doDetach(func(r api.VolumeReply) {
		if r.Code != 0 {
			done(r)
			return
		}
		e.use(wanted)
		if r = e.doAttach(); r.Code == 0 {
			e.machine.Connect(e.env(), false)
		}
		done(r)
	})
}
