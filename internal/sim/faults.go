package sim

import (
	"time"

	"holdfast/internal/api"
)

// heal ends every fault: hosts are up, processes run, links are open, disks work.
func (w *World) heal() {
	w.quiet = true
	if w.opts.Forking && !w.attended {
		w.reconcile()
	}
	w.net = netFaults{}
	for i := range w.cuts {
		clear(w.cuts[i])
	}
	for _, h := range w.hosts {
		h.log.Failing = nil
		h.hung = min(h.hung, w.now)
		h.standby = false
		if h.disk != nil {
			h.disk.crashIn = 0
			w.repair(h)
		}
		for _, p := range []*process{h.daemonProc, h.guardProc, h.volumeProc} {
			p.paused = false
		}
		if h.frozen {
			h.thaw()
		}
		for _, p := range []*process{h.daemonProc, h.guardProc, h.volumeProc} {
			w.resume(p)
		}
		if !h.up {
			h.boot()
		}
		h.clock.set(1)
		if h.kind == "data" && !h.guardProc.alive {
			h.startGuard()
		}
		h.startDaemon()
	}
}

// repair makes a failing disk work. Its volume process has given it up, and is started again.
func (w *World) repair(h *host) {
	h.disk.failIn = 0
	if h.disk.failing == nil && !h.disk.full {
		return
	}
	h.disk.failing, h.disk.full = nil, false
	h.killVolume()
	h.volumeGone()
}

// plan draws faults for as long as the safety phase lasts.
func (w *World) plan() {
	if w.rng.IntN(3) > 0 {
		w.net = netFaults{loss: 0, duplicate: 0, slow: 0}
	}
	switch w.rng.IntN(4) {
	case 0:
		w.net = netFaults{loss: 10 + w.rng.IntN(200), duplicate: 5 + w.rng.IntN(100), slow: 5 + w.rng.IntN(100)}
	case 1:
		w.net = netFaults{slow: 3 + w.rng.IntN(50)}
	}
	for _, h := range w.hosts {
		h.clock.set(1 + (w.rng.Float64()-0.5)*0.04)
	}
	w.nextFault(w.between(300*time.Millisecond, 6*time.Second))
	if w.opts.Forking && w.chance(2) {
		w.undo(w.between(time.Second, 20*time.Second), "operator", w.reconcile)
	}
	if w.opts.Late {
		w.undo(w.between(300*time.Millisecond, 12*time.Second), "add witness", w.addWitness)
	}
	if w.opts.Restores {
		w.nextRestore()
		w.attend()
	}
}

func (w *World) nextFault(d time.Duration) {
	w.after(d, "fault", func() {
		if w.quiet {
			return
		}
		w.fault()
		switch w.rng.IntN(4) {
		case 0:
			w.nextFault(w.between(time.Millisecond, 300*time.Millisecond))
		case 1:
			w.nextFault(w.between(3*time.Second, 9*time.Second))
		default:
			w.nextFault(w.between(300*time.Millisecond, 3*time.Second))
		}
	})
}

// anyHost prefers hosts with data.
func (w *World) anyHost() *host {
	if w.chance(3) {
		return w.hosts[w.rng.IntN(len(w.hosts))]
	}
	return w.dataHost()
}

// dataHost prefers the Primary.
func (w *World) dataHost() *host {
	if h := w.host(w.truth.volume.Primary); h != nil && w.chance(2) {
		return h
	}
	return w.data[w.rng.IntN(2)]
}

// length of a fault: short of every timeout, or longer than all.
func (w *World) length() time.Duration {
	switch w.rng.IntN(3) {
	case 0:
		return w.between(5*time.Millisecond, 500*time.Millisecond)
	case 1:
		return w.between(500*time.Millisecond, 4*time.Second)
	}
	return w.between(4*time.Second, 15*time.Second)
}

// fault draws one.
func (w *World) fault() {
	w.stats.Faults++
	kinds := []func(){w.faultPower, w.faultPower, w.faultTotalPower, w.faultDaemon, w.faultDaemon, w.faultVolume, w.faultGuard, w.faultPause,
		w.faultPause, w.faultFreeze, w.faultFreeze, w.faultCut, w.faultCut, w.faultOneWay, w.faultIsolate, w.faultIsolate, w.faultClock,
		w.faultStandby, w.faultStandby, w.faultMidWrite, w.faultDisk, w.faultHung, w.faultLogWiped, w.faultDiskReplaced, w.faultInvalidate, w.faultLogFails}
	kinds[w.rng.IntN(len(kinds))]()
}

// undo ends a fault later, unless everything was healed meanwhile.
func (w *World) undo(d time.Duration, what string, f func()) {
	w.after(d, what, func() {
		if !w.quiet {
			f()
		}
	})
}

func (w *World) faultPower() {
	h := w.anyHost()
	h.powerOff()
	w.undo(w.length(), "boot", h.boot)
}

// faultTotalPower takes all hosts with data, in each order, and perhaps everything.
func (w *World) faultTotalPower() {
	list := w.data
	if w.chance(2) {
		list = w.hosts
	}
	for _, i := range w.rng.Perm(len(list)) {
		h := list[i]
		w.undo(w.between(0, 50*time.Millisecond), "power off", h.powerOff)
		w.undo(50*time.Millisecond+w.length(), "boot", h.boot)
	}
}

func (w *World) faultMidWrite() {
	h := w.dataHost()
	h.disk.crashIn = 1 + w.rng.IntN(60)
	w.undo(w.length()+time.Second, "boot", func() { h.disk.crashIn = 0; h.boot() })
}

func (w *World) faultDaemon() {
	h := w.anyHost()
	if !h.daemonProc.alive {
		return
	}
	h.stopDaemon()
	d := w.length()
	if w.chance(2) {
		d = w.between(10*time.Millisecond, 400*time.Millisecond)
	}
	w.undo(d, "restart daemon", h.startDaemon)
}

func (w *World) faultVolume() {
	h := w.dataHost()
	h.killVolume()
	h.volumeGone()
}

func (w *World) faultGuard() {
	h := w.dataHost()
	if !h.guardProc.alive {
		return
	}
	w.note(h, "guard killed")
	h.guardProc.end()
	h.guard = nil
	w.undo(w.between(10*time.Millisecond, 3*time.Second), "restart guard", func() {
		if h.up && !h.guardProc.alive {
			h.startGuard()
		}
	})
}

func (w *World) faultPause() {
	h := w.dataHost()
	p := []*process{h.daemonProc, h.guardProc, h.volumeProc}[w.rng.IntN(3)]
	w.note(h, "paused", "process", p.name)
	p.pause()
	life := p.life
	w.undo(w.length(), "continue", func() {
		if p.life == life {
			w.wake(p)
		}
	})
}

func (w *World) faultFreeze() {
	h := w.anyHost()
	if !h.up || h.frozen {
		return
	}
	h.freeze(w.chance(12) && !w.opts.Forking)
	w.undo(w.length(), "thaw", h.thaw)
}

func (w *World) faultCut() {
	a, b := w.data[0], w.data[1]
	if w.chance(2) {
		i := w.rng.Perm(len(w.hosts))
		a, b = w.hosts[i[0]], w.hosts[i[1]]
	}
	w.note(a, "cut", "from", b.name)
	w.Cut(a, b)
	w.undo(w.length(), "mend", func() { w.Mend(a, b); w.note(a, "mended", "with", b.name) })
}

func (w *World) faultOneWay() {
	i := w.rng.Perm(len(w.hosts))
	a, b := w.hosts[i[0]], w.hosts[i[1]]
	w.note(a, "cut one way", "to", b.name)
	w.cut(a, b)
	w.undo(w.length(), "mend", func() { w.mend(a, b) })
}

func (w *World) faultIsolate() {
	h := w.anyHost()
	w.note(h, "isolated")
	for _, o := range w.hosts {
		if o != h {
			w.Cut(h, o)
		}
	}
	w.undo(w.length(), "join", func() {
		w.note(h, "joined")
		for _, o := range w.hosts {
			if o != h {
				w.Mend(h, o)
			}
		}
	})
}

func (w *World) faultClock() {
	w.hosts[w.rng.IntN(len(w.hosts))].clock.set(1 + (w.rng.Float64()-0.5)*0.08)
}

func (w *World) faultStandby() {
	h := w.dataHost()
	w.note(h, "standby")
	h.standby = true
	w.undo(w.length(), "unstandby", func() { h.standby = false })
}

// faultDisk: the disk fails for good, until somebody repairs it.
func (w *World) faultDisk() {
	h := w.dataHost()
	w.note(h, "disk fails")
	switch w.rng.IntN(3) {
	case 0:
		h.disk.full = true
	case 1:
		h.disk.failing = errDisk
	default: // in the middle of an event, such as a change of the metadata
		h.disk.failIn = 1 + w.rng.IntN(60)
	}
	w.undo(w.length(), "repair", func() { w.repair(h) })
}

// faultHung: what the guard kills does not end at once.
func (w *World) faultHung() {
	h := w.dataHost()
	h.hung = w.now.add(w.length())
}

// faultLogWiped: a voter loses its log. A second one does so only when the first votes again: the log's majority is never
// destroyed.
func (w *World) faultLogWiped() {
	if w.truth.view == nil || !w.voting() || w.voters() < 3 || w.truth.wiped == w.truth.index {
		return
	}
	h := w.anyHost()
	w.note(h, "log wiped")
	w.truth.wiped = w.truth.index
	h.powerOff()
	h.log.Wipe()
	w.undo(w.length(), "boot", h.boot)
}

// faultLogFails: the log cannot be written for a while, which ends the daemon each time.
func (w *World) faultLogFails() {
	h := w.anyHost()
	h.log.Failing = errDisk
	w.undo(w.length(), "log works", func() { h.log.Failing = nil })
}

// faultDiskReplaced: a blank disk in the place of one that is not the last good copy.
func (w *World) faultDiskReplaced() {
	h := w.dataHost()
	if w.opts.Forking || !w.expendable(h) {
		return
	}
	w.truth.blank = h // until the other side has taken it in, that is the last good copy
	w.replaceDisk(h)
	w.undo(w.length(), "boot", h.boot)
}

// expendable tells whether the other replica is a good one, and stays one without h.
func (w *World) expendable(h *host) bool {
	o := w.data[1-h.index]
	return w.truth.volume.Adopted && o.disk.in(w.truth.volume) && !o.disk.weak && o.disk.failing == nil && o.disk.failIn == 0 && !o.disk.full &&
		w.truth.blank != o && !w.mayTakeOut(h)
}

// mayTakeOut tells whether something that h has asked of the log may yet take the other replica out of U: it was asked at the
// record as it is now, so that it is not void.
func (w *World) mayTakeOut(h *host) bool {
	rec := w.truth.volume
	return w.truth.asked[h.index] == recordVersion{rec.Epoch, rec.Version}
}

// replaceDisk puts a disk as create-md leaves it into a host that is switched off for it.
func (w *World) replaceDisk(h *host) {
	w.note(h, "disk replaced")
	h.powerOff()
	if err := h.disk.format(w.rng.Uint64()|1, 0); err != nil {
		panic(err)
	}
}

// faultInvalidate: an operator gives a disk up; the volume refuses where that would cost the data. Of two disks that the log
// does not know and that are not connected, he gives one up, not both, and not the one that has what the other lacks.
func (w *World) faultInvalidate() {
	h := w.dataHost()
	if w.opts.Forking || h.daemon == nil || h.daemon.control == nil {
		return
	}
	if !w.truth.volume.Adopted {
		o := w.data[1-h.index]
		if place, _ := w.lacking(o); w.truth.blank == o || place >= 0 {
			return
		}
		w.truth.blank = h
	}
	h.daemon.verb(api.VolumeDo{Verb: api.VolumeInvalidate}, func(api.VolumeReply) {})
}
