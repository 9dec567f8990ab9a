package sim

import (
	"time"

	"holdfast/internal/block/volume"
	"holdfast/internal/clock"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// host is a machine: what survives its end, and the processes it runs.
type host struct {
	w     *World
	index int
	name  string
	kind  state.Kind

	up     bool
	frozen bool // the whole machine is paused
	clock  hostClock

	// What survives the loss of power.
	log  raftlog.Disk
	disk *store
	note volume.Notes // its Role does not
	// What is gone with it (/run).
	page        clock.Boottime // the lease page: its deadline
	pageSession uint64
	session     uint64 // run/session
	marked      bool   // the volume is meant to run

	daemonProc, guardProc, volumeProc *process
	daemon                            *daemon
	guard                             *guardian
	volume                            *volumeProcess
	kernel                            kernelQueue
	copies                            copies
	forgot                            uint64 // the last entry its log had confirmed before it was put back
	branch                            uint64 // of its log, as it was seen last
	side                              side   // what its last heal has saved
	adds                              uint64 // how often its replica has entered U
	resources                         int    // what runs under the lease, apart from the volume: the guard kills it
	standby                           bool
	bare                              bool // nobody starts the volume
	// notKilled: what the guard kills does not end (a process in D state), until this instant.
	hung instant
}

func newHost(w *World, index int, name string, kind state.Kind) *host {
	h := &host{w: w, index: index, name: name, kind: kind}
	h.clock = hostClock{w: w, base: clock.Boottime(time.Hour), rate: 1}
	h.daemonProc = &process{name: name + ".daemon", host: h}
	h.guardProc = &process{name: name + ".guard", host: h}
	h.volumeProc = &process{name: name + ".volume", host: h}
	h.kernel.host = h
	return h
}

// hostClock is a CLOCK_BOOTTIME that is a little fast or slow.
type hostClock struct {
	w    *World
	base clock.Boottime
	at   instant
	rate float64
	// frozenAt, when not 0, is when the clock stopped with its machine.
	stopped bool
}

// Boottime reads the clock.
func (c *hostClock) Boottime() clock.Boottime {
	if c.stopped {
		return c.base
	}
	return c.base.Add(time.Duration(float64(c.w.now.sub(c.at)) * c.rate))
}

// Wall reads the clock people read, which decides nothing.
func (c *hostClock) Wall() time.Time { return time.Unix(1_800_000_000, int64(c.w.now)) }

// set goes on from the present reading at another rate.
func (c *hostClock) set(rate float64) { c.base, c.at, c.rate = c.Boottime(), c.w.now, rate }

func (c *hostClock) halt() { c.base, c.stopped = c.Boottime(), true }

func (c *hostClock) resume() { c.at, c.stopped = c.w.now, false }

// boot starts the machine.
func (h *host) boot() {
	if h.up {
		return
	}
	h.w.note(h, "boot")
	h.up, h.frozen = true, false
	h.page, h.pageSession, h.session, h.note.Role, h.marked, h.resources = 0, 0, 0, nil, false, 0
	h.clock.resume()
	if h.kind == state.Data {
		h.startGuard()
	}
	h.startDaemon()
}

// powerOff ends everything at once; what the disk had not flushed may be lost.
func (h *host) powerOff() {
	if !h.up {
		return
	}
	h.w.note(h, "power off")
	h.up, h.frozen = false, false
	for _, p := range []*process{h.daemonProc, h.guardProc, h.volumeProc} {
		p.end()
	}
	h.daemon, h.guard, h.volume = nil, nil, nil
	if h.disk != nil {
		h.w.balance[h.index] = &balancer{h: h}
	}
	h.kernel.abort()
	h.w.link.hostDown(h)
	if h.disk != nil {
		h.disk.cut()
	}
	if u := h.w.unbound; u != nil {
		u.lostPower(h)
	}
}

// freeze pauses the whole machine; clockStops tells that CLOCK_BOOTTIME does not run through it, against S7's condition.
func (h *host) freeze(clockStops bool) {
	h.w.note(h, "frozen", "clock stops", clockStops)
	h.frozen = true
	if clockStops {
		h.w.clocks = false
		h.clock.halt()
	}
}

func (h *host) thaw() {
	if !h.frozen {
		return
	}
	h.w.note(h, "thawed")
	h.frozen = false
	if h.clock.stopped {
		h.clock.resume()
	}
	for _, p := range []*process{h.daemonProc, h.guardProc, h.volumeProc} {
		h.w.resume(p)
	}
}

// pause is a SIGSTOP.
func (p *process) pause() { p.paused = p.alive }

// resume continues a process: what it missed happens now, in the order in which it came.
func (w *World) resume(p *process) {
	if p.stopped() {
		return
	}
	list := p.waiting
	p.waiting = nil
	for _, e := range list {
		w.later(p, 0, e.what, e.do)
	}
}

// wake is a SIGCONT.
func (w *World) wake(p *process) {
	p.paused = false
	w.resume(p)
}

// leaseLive tells whether the lease page allows completions by the host's own clock.
func (h *host) leaseLive() bool { return h.page != 0 && h.clock.Boottime() < h.page }
