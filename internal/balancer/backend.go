package balancer

import (
	"context"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/balancer/checker"
	"holdfast/internal/balancer/pool"
	"holdfast/internal/balancer/probe"
	"holdfast/internal/balancer/proxy"
)

// backend is one server of a rule. Guarded by balancer.mu.
type backend struct {
	r          *rule
	conf       api.BalancerBackend
	drainUntil int64
	counter    probe.Counter
	verdict    pool.Verdict
	conns      map[*proxy.Conn]struct{}

	ctx    context.Context
	cancel context.CancelFunc
	// usable ends when connections may no longer stay or be made here; renewed when it opens.
	usable      context.Context
	endUsable   context.CancelFunc
	kicked      chan struct{}
	cancelProbe context.CancelFunc
}

// startBackend starts probing a backend. The caller holds mu.
func (r *rule) startBackend(conf api.BalancerBackend) *backend {
	be := &backend{r: r, conf: conf, conns: map[*proxy.Conn]struct{}{}, kicked: make(chan struct{}, 1),
		counter: probe.Counter{Fall: r.set.Fall, Rise: r.set.Rise}, verdict: pool.Verdict{Reason: pool.ReasonNotProbed}}
	be.ctx, be.cancel = context.WithCancel(r.ctx)
	be.usable, be.endUsable = context.WithCancel(be.ctx)
	be.configure(conf)
	r.b.spawn(be.probeLoop)
	return be
}

// configure takes over the operator's words. A drain's deadline counts from when it is first seen.
func (be *backend) configure(conf api.BalancerBackend) {
	be.counter.Fall, be.counter.Rise = be.r.set.Fall, be.r.set.Rise
	if conf.Admin != "drain" {
		be.drainUntil = 0
	} else if be.conf.Admin != "drain" || be.drainUntil == 0 {
		wait := DrainDefault
		if conf.DrainSeconds > 0 {
			wait = time.Duration(conf.DrainSeconds) * time.Second
		}
		be.drainUntil = int64(be.r.b.cfg.Clock.Boottime().Add(wait))
	}
	be.conf = conf
}

// pool is the backend as package pool sees it.
func (be *backend) pool() pool.Backend {
	out := pool.Backend{Node: be.conf.Node, Addr: be.conf.Addr, Backup: be.conf.Backup, DrainUntil: be.drainUntil}
	out.Health, out.Fault = be.counter.Health()
	switch be.conf.Admin {
	case "down":
		out.Admin = pool.AdminDown
	case "drain":
		out.Admin = pool.AdminDrain
	}
	return out
}

// turned acts on a new verdict: connections that may not stay are reset at once.
func (be *backend) turned(opened bool) {
	v, b := be.verdict, be.r.b
	reset := 0
	if v.Keep && be.usable.Err() != nil {
		be.usable, be.endUsable = context.WithCancel(be.ctx)
	}
	if !v.Keep {
		reset = be.resetAll()
	}
	switch {
	case opened && v.Open:
		b.events.backend("balancer.open", be.r.set.Rule.Name, be.conf.Node, be.conf.Addr, "", 0)
	case opened:
		b.events.backend("balancer.close", be.r.set.Rule.Name, be.conf.Node, be.conf.Addr, v.Reason, reset)
	}
}

// resetAll resets every connection and gives up attempts to connect; it returns how many connections there were.
func (be *backend) resetAll() int {
	be.endUsable()
	n := len(be.conns)
	for c := range be.conns {
		c.Reset()
	}
	be.r.resets += uint64(n)
	clear(be.conns)
	return n
}

// stop ends a backend for good.
func (be *backend) stop(why string) {
	if n := be.resetAll(); n > 0 || be.verdict.Open {
		be.r.b.events.backend("balancer.close", be.r.set.Rule.Name, be.conf.Node, be.conf.Addr, why, n)
	}
	be.verdict = pool.Verdict{Reason: why}
	be.cancel()
}

// kick has the backend probed at once, abandoning a probe under way. The caller holds mu.
func (be *backend) kick() {
	if be.cancelProbe != nil {
		be.cancelProbe()
	}
	select {
	case be.kicked <- struct{}{}:
	default:
	}
}

// hurried tells whether clients wait for this backend's probe: it is the Primary its rule follows, or connections are held
// and any backend would do. Then it is probed in quick succession. The caller holds mu.
func (be *backend) hurried() bool {
	if be.verdict.Open || be.conf.Admin != "" && be.conf.Admin != "up" {
		return false
	}
	if volume := be.r.set.Rule.Follow; volume != "" {
		return be.r.b.view.Primary[volume] == be.conf.Node
	}
	return be.r.held > 0
}

// probeLoop probes until the backend ends.
func (be *backend) probeLoop() {
	for be.ctx.Err() == nil {
		target, ctx, wait := be.nextProbe()
		err := checker.Check(ctx, target)
		if ctx.Err() == nil {
			wait = be.noted(err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-be.ctx.Done():
		case <-be.kicked:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// nextProbe prepares one probe; its context ends when the backend is kicked.
func (be *backend) nextProbe() (checker.Target, context.Context, time.Duration) {
	be.r.b.mu.Lock()
	defer be.r.b.mu.Unlock()
	set := be.r.set
	t := checker.Target{Addr: be.conf.Addr, Kind: set.Rule.Probe.Kind, Path: set.Rule.Probe.Path, Timeout: set.Timeout}
	if be.hurried() {
		t.Timeout = min(t.Timeout, FastTimeout)
	}
	ctx, cancel := context.WithCancel(be.ctx)
	if be.cancelProbe != nil {
		be.cancelProbe()
	}
	be.cancelProbe = cancel
	return t, ctx, set.Interval
}

// noted enters a probe's result and returns the time until the next one.
func (be *backend) noted(err error) time.Duration {
	b := be.r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if be.ctx.Err() == nil {
		be.counter.Note(err == nil, fault)
		be.r.evaluate()
	}
	if be.hurried() {
		return FastInterval
	}
	return be.r.set.Interval
}
