package sim

import (
	"errors"
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// resumeVolumes is volumes.resume: a daemon finds the processes again.
func (d *daemon) resumeVolumes() {
	switch {
	case d.h.volumeProc.alive:
		d.meet()
	case d.h.marked:
		d.h.startVolume()
		d.meet()
		d.verb(api.VolumeDo{Verb: api.VolumeUp}, func(api.VolumeReply) {})
	}
}

// meet connects to the control socket of the running process.
func (d *daemon) meet() {
	v := d.h.volume
	d.control, d.status = v, nil
	d.verbs = map[uint64]func(api.VolumeReply){}
	d.acting = false
	d.w.later(d.h.volumeProc, 0, "meet", func() { v.s.Meet(); v.turn() })
	d.push()
}

// up is the start of the resource: a process that is attached and connects.
func (d *daemon) up() {
	d.h.marked = true
	if !d.h.volumeProc.alive {
		d.h.startVolume()
	}
	if d.control != d.h.volume {
		d.meet()
	}
	d.verb(api.VolumeDo{Verb: api.VolumeUp}, func(api.VolumeReply) {})
}

// volumeGone is volumes.gone: a process that ended is replaced.
func (h *host) volumeGone() {
	if !h.marked || !h.daemonProc.alive {
		return
	}
	d := h.daemon
	h.w.later(h.daemonProc, h.w.between(20*time.Millisecond, 300*time.Millisecond), "replace volume", func() {
		if h.marked && !h.volumeProc.alive {
			d.up()
		}
	})
}

// begun is session.begun: resources may run. The scheduler starts the volume and an address.
func (d *daemon) begun(session uint64) {
	d.session = session
	d.h.resources++
	d.push()
}

// verb is volumes.do; done is not called when the process or the daemon ends first.
func (d *daemon) verb(do api.VolumeDo, done func(api.VolumeReply)) {
	d.nextID++
	d.verbs[d.nextID] = done
	d.toVolume(api.VolumeMessage{ID: d.nextID, Do: &do})
}

// fromVolume takes a message of the control socket.
func (d *daemon) fromVolume(v *volumeProcess, m api.VolumeMessage) {
	if d.control != v {
		return
	}
	switch {
	case m.Reply != nil:
		if f := d.verbs[m.ID]; f != nil {
			delete(d.verbs, m.ID)
			f(*m.Reply)
		}
	case m.Status != nil:
		d.status = m.Status
		d.consider(m.Status)
	case m.Want != nil:
		d.want(*m.Want)
	}
}

func (d *daemon) once(c state.Command) {
	if d.busy {
		return
	}
	d.busy = true
	d.propose(0, c, func(error) { d.busy = false })
}

// want is tenures.want.
func (d *daemon) want(w api.VolumeWant) {
	if c := d.view().Wanted(volumeName, d.h.name, w, d.status); c != nil {
		d.once(c)
	}
}

// reconsider is session.reconsider.
func (d *daemon) reconsider() {
	if d.status != nil {
		d.consider(d.status)
	}
}

// consider is tenures.consider.
func (d *daemon) consider(st *api.VolumeStatus) {
	if d.view().Volumes[volumeName].Adopted || d.w.truth.forgotten {
		return
	}
	if c := d.view().Adoption(volumeName, d.h.name, d.w.data[1-d.h.index].name, d.session, st); c != nil {
		d.once(c)
	}
}

// roles is what a scheduler would ask for, and more: every host with a lease tries to become Primary when nobody is.
func (d *daemon) roles() {
	h := d.h
	if h.bare {
		return
	}
	if d.session != 0 && (!h.volumeProc.alive || d.control != h.volume) {
		if d.w.chance(3) {
			d.up()
		}
		return
	}
	if d.acting || d.session == 0 || d.status == nil || !d.read {
		return
	}
	rec := d.view().Volumes[volumeName]
	switch {
	case !rec.Adopted:
	case rec.Primary == h.name && h.standby:
		d.demote()
	case rec.Primary == h.name && rec.PrimarySession == d.session && d.ended == rec.Epoch:
		d.end(rec, state.DemotedUncleanly(d.status))
	case rec.Primary == h.name && rec.PrimarySession == d.session && d.outOfU(rec) && (d.status.Role != "Primary" || d.elsewhere() && d.w.chance(20)):
		d.demote() // it has no promotion score
	case rec.Primary == h.name && rec.PrimarySession == d.session && d.status.Role != "Primary":
		d.acting = true
		d.becomePrimary(rec, false)
	case rec.Primary == "" && !h.standby && d.w.chance(3):
		d.promote(rec)
	}
}

// outOfU tells whether this host's replica is not in U: its Primary, if it is that, has lost its disk.
func (d *daemon) outOfU(rec state.Volume) bool {
	_, in := rec.Replica(d.h.name)
	return !in
}

// elsewhere tells whether the other host may have the Primary.
func (d *daemon) elsewhere() bool { return !d.w.data[1-d.h.index].standby }

// promote is tenures.promote for a tenure that has not begun.
func (d *daemon) promote(rec state.Volume) {
	d.acting = true
	fresh := fmt.Sprintf("%016X", d.w.rng.Uint64()&^1)
	st := d.status
	d.propose(0, &state.VolumePromote{Name: volumeName, Node: d.h.name, Session: d.session, DeviceUUID: st.DeviceUUID,
		Generation: st.CurrentUUID, NewGeneration: fresh, Epoch: rec.Epoch, Version: rec.Version}, func(err error) {
		if err != nil {
			d.acting = false
			return
		}
		d.becomePrimary(d.view().Volumes[volumeName], true)
	})
}

// becomePrimary is tenures.becomePrimary with giveBack.
func (d *daemon) becomePrimary(rec state.Volume, fresh bool) {
	d.push()
	mine := d.bound()
	d.verb(api.VolumeDo{Verb: api.VolumePrimary, Epoch: rec.Epoch}, func(r api.VolumeReply) {
		mine()
		if r.Code == 0 || !fresh {
			return
		}
		d.end(rec, false)
	})
}

// bound ends an operation of unknown outcome after a while; the function returned ends it when there is an answer.
func (d *daemon) bound() func() {
	ended := false
	end := func() {
		if !ended {
			ended, d.acting = true, false
		}
	}
	d.w.later(d.h.daemonProc, 12*time.Second, "no answer", end)
	return end
}

// demote is tenures.demote.
func (d *daemon) demote() {
	d.acting = true
	mine := d.bound()
	d.verb(api.VolumeDo{Verb: api.VolumeSecondary}, func(r api.VolumeReply) {
		mine()
		rec := d.view().Volumes[volumeName]
		if r.Code != 0 || rec.Primary != d.h.name {
			return
		}
		d.end(rec, state.DemotedUncleanly(d.status))
	})
}

// end is tenures.end: nothing is begun in that epoch again.
func (d *daemon) end(rec state.Volume, unclean bool) {
	d.acting, d.ended = true, rec.Epoch
	d.propose(0, &state.VolumeDemote{Name: volumeName, Node: d.h.name, Session: rec.PrimarySession, Epoch: rec.Epoch, Unclean: unclean},
		func(error) { d.acting = false })
}

// errAborted is what the kernel answers for a device that was aborted.
var errAborted = errors.New("the device was aborted")
