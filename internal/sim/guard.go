package sim

import (
	"errors"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/guard/deadline"
)

// guardian is the guard process: deadline.Machine with what internal/guard does around it (watch.go, server.go).
type guardian struct {
	h       *host
	machine *deadline.Machine
	// wakes counts the timers set; only the newest one counts.
	wakes int
}

// startGuard starts a guard, which goes on from the lease page.
func (h *host) startGuard() {
	h.guardProc.begin()
	h.guard = &guardian{h: h, machine: deadline.New(h.page, h.pageSession, 0)}
	h.guard.look()
}

// look is guard.look: what is due, and the timer for what comes next.
func (g *guardian) look() {
	h := g.h
	now := h.clock.Boottime()
	g.machine.Tick(now)
	if g.machine.SweepDue(now) {
		g.sweep(now)
	}
	at := g.machine.Wake()
	if at == 0 {
		return
	}
	g.wakes++
	mine := g.wakes
	nap := min(max(at.Sub(now), time.Microsecond), 50*time.Millisecond)
	h.w.later(h.guardProc, nap, "guard", func() {
		if mine == g.wakes {
			g.look()
		}
	})
}

// sweep aborts the devices and kills what runs under the lease.
func (g *guardian) sweep(now clock.Boottime) {
	h := g.h
	h.kernel.abort()
	var left []int
	if h.w.now < h.hung {
		left = []int{1}
	} else {
		h.resources = 0
	}
	if g.machine.Swept(now, left, true) == deadline.Reset {
		h.w.note(h, "guard resets the host")
		h.w.after(0, "reset", h.powerOff)
		h.w.after(h.w.between(time.Second, 5*time.Second), "boot", h.boot)
	}
}

// errGuard is what a daemon gets that finds no guard.
var errGuard = errors.New("the guard does not answer")

// ask has the guard do something, as a request on its socket does.
func (h *host) askGuard(f func(m *deadline.Machine, now clock.Boottime) error) error {
	if h.guard == nil || !h.guardProc.alive || h.guardProc.stopped() {
		return errGuard
	}
	err := f(h.guard.machine, h.clock.Boottime())
	h.page, h.pageSession = h.guard.machine.Page()
	h.guard.look()
	return err
}
