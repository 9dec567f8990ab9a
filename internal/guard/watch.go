package guard

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/clock"
	"holdfast/internal/guard/deadline"
)

// watch is the thread that enforces. It ends when the guard is to leave and no lease is armed any more.
func (g *guard) watch() {
	hardenThread(g.log)
	var ticks [8]byte
	for {
		if g.look() {
			return
		}
		if _, err := unix.Read(g.timer, ticks[:]); err != nil && err != unix.EINTR {
			g.log.Error("cannot read the timer; looking at the clock instead", "err", err)
			time.Sleep(deadline.SweepEvery)
		}
	}
}

// look does what is due and sets the timer for what comes next. It tells whether the watch is over.
func (g *guard) look() (over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reset.alive()
	now := g.now()
	g.machine.Tick(now)
	if g.machine.SweepDue(now) {
		g.sweep()
	}
	g.wake()
	state := g.machine.State()
	return g.leaving && state != deadline.Armed && state != deadline.Enforcing
}

// sweep ends the devices, kills, and looks who is left.
func (g *guard) sweep() {
	at, session := g.machine.Page()
	if at != g.announced {
		g.announced = at
		g.log.Error("the lease has ended: stopping everything on this node", "session", session, "late", g.now().Sub(at))
	}
	ended, aborted := g.endAll()
	left, killed, listed := g.killResources()
	if err := errors.Join(aborted, killed, listed); err != nil {
		g.log.Error("cannot enforce all of the lease's end", "err", err)
	}
	now := g.now()
	switch g.machine.Swept(now, left, ended && aborted == nil && listed == nil) {
	case deadline.Done:
		for _, name := range g.names() {
			g.drop(name)
		}
		g.log.Warn("everything on this node has been stopped", "session", session, "after", now.Sub(at))
	case deadline.Reset:
		g.log.Error("processes remain although they were killed", "survivors", left, "after", now.Sub(at))
		if err := g.reset.reset(); err != nil {
			g.log.Error("the host cannot be reset", "err", err)
		}
	}
}

func (g *guard) now() clock.Boottime { return g.cfg.Clock.Boottime() }

// wake sets the timer for what the machine is waiting for. Called with the lock, after every change.
func (g *guard) wake() {
	nap := idleNap
	if at := g.machine.Wake(); at != 0 {
		nap = min(max(at.Sub(g.now()), 1), armedNap)
	}
	if g.leaving {
		nap = min(nap, deadline.SweepEvery)
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(nap))}
	if err := unix.TimerfdSettime(g.timer, 0, &spec, nil); err != nil {
		g.log.Error("cannot set the timer", "err", err)
	}
}
