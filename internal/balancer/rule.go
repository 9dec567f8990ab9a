package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/balancer/pool"
)

// rule is one frontend and its pool. Everything but the frontend's goroutine is guarded by balancer.mu.
type rule struct {
	b      *balancer
	set    Settings
	ctx    context.Context
	cancel context.CancelFunc
	// fault says why the rule is not served; empty when it is.
	fault    string
	backends []*backend
	// changed is closed, and replaced, whenever a backend opens: what holds a connection waits on it.
	changed chan struct{}

	active, held              int
	accepted, resets, refused uint64
	silenced                  uint64 // refusals since the last one logged
	lastRefusal               time.Time
}

// startRule starts a rule; one that does not check is kept for its status alone. The caller holds mu.
func (b *balancer) startRule(s Settings, err error) *rule {
	r := &rule{b: b, set: s, changed: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(b.ctx)
	if err != nil {
		r.fault = err.Error()
		b.cfg.Log.Error("rule not served", "rule", s.Rule.Name, "err", err)
		return r
	}
	b.cfg.Log.Info("rule added", "rule", s.Rule.Name, "frontend", s.Rule.Frontend)
	for _, conf := range s.Rule.Backends {
		r.backends = append(r.backends, r.startBackend(conf))
	}
	b.spawn(r.serveFrontend)
	return r
}

// same tells whether a configuration is the one being served.
func (r *rule) same(conf api.BalancerRule) bool { return reflect.DeepEqual(r.set.Rule, conf) }

// change takes over another configuration with the same frontend: backends that stay keep health and connections.
func (r *rule) change(s Settings) {
	probeChanged := r.set.Rule.Probe != s.Rule.Probe
	r.set = s
	old := r.backends
	r.backends = nil
	for _, conf := range s.Rule.Backends {
		be := takeBackend(&old, conf)
		if be == nil || probeChanged {
			if be != nil {
				be.stop("its probe has changed")
			}
			be = r.startBackend(conf)
		}
		be.configure(conf)
		r.backends = append(r.backends, be)
	}
	for _, be := range old {
		be.stop("removed from the rule")
	}
}

// takeBackend takes the backend with conf's address and node out of a list.
func takeBackend(list *[]*backend, conf api.BalancerBackend) *backend {
	for i, be := range *list {
		if be.conf.Addr == conf.Addr && be.conf.Node == conf.Node {
			*list = append((*list)[:i:i], (*list)[i+1:]...)
			return be
		}
	}
	return nil
}

// stop ends the rule: its frontend closes, its connections are reset.
func (r *rule) stop() {
	r.cancel()
	for _, be := range r.backends {
		be.stop("the rule has ended")
	}
}

// followed reacts to a new view: what has just become Primary is not trusted before it has been probed.
func (r *rule) followed(before, now api.BalancerUpdate) {
	volume := r.set.Rule.Follow
	if volume == "" || now.Primary[volume] == before.Primary[volume] && now.Epoch[volume] == before.Epoch[volume] {
		return
	}
	for _, be := range r.backends {
		if be.conf.Node == now.Primary[volume] {
			be.counter.Distrust("not probed since it became Primary")
			be.kick()
		}
	}
}

// poolView is the rule as package pool sees it.
func (r *rule) poolView() ([]pool.Backend, pool.View) {
	v := pool.View{Now: int64(r.b.cfg.Clock.Boottime()), Follow: r.set.Rule.Follow != "", Lost: r.b.view.Lost}
	if v.Follow {
		v.Primary, v.ConfirmedUntil = r.b.view.Primary[r.set.Rule.Follow], r.b.view.ConfirmedUntil
	}
	out := make([]pool.Backend, len(r.backends))
	for i, be := range r.backends {
		out[i] = be.pool()
	}
	return out, v
}

// evaluate brings the backends' verdicts up to date and acts on what changed. The caller holds mu.
func (r *rule) evaluate() {
	if r.ctx.Err() != nil || r.fault != "" && len(r.backends) == 0 {
		return
	}
	changed := false
	for i, v := range pool.Evaluate(r.poolView()) {
		be := r.backends[i]
		if be.verdict == v {
			continue
		}
		opened := be.verdict.Open != v.Open
		be.verdict = v
		changed = changed || opened && v.Open
		be.turned(opened)
	}
	if changed {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// status is the rule's part of the answer to the daemon.
func (r *rule) status() api.BalancerRuleStatus {
	out := api.BalancerRuleStatus{Name: r.set.Rule.Name, Frontend: r.set.Rule.Frontend, Error: r.fault, Held: r.held,
		Accepted: r.accepted, Resets: r.resets, Refused: r.refused, Backends: []api.BalancerBackendStatus{}}
	for _, be := range r.backends {
		out.Backends = append(out.Backends, api.BalancerBackendStatus{Node: be.conf.Node, Addr: be.conf.Addr, Open: be.verdict.Open,
			Reason: be.verdict.Reason, Connections: len(be.conns)})
	}
	return out
}

// serveFrontend listens, again and again until the rule ends, and accepts.
func (r *rule) serveFrontend() {
	for r.ctx.Err() == nil {
		err := r.listenOnce()
		if r.ctx.Err() != nil {
			return
		}
		r.setFault(err.Error())
		r.b.cfg.Log.Error("frontend closed, trying again", "rule", r.set.Rule.Name, "err", err)
		select {
		case <-r.ctx.Done():
		case <-time.After(ListenRetry):
		}
	}
}

func (r *rule) setFault(text string) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.fault = text
}

// listenOnce opens the frontend and accepts until that fails.
func (r *rule) listenOnce() error {
	ip := r.set.Frontend.Addr()
	if r.set.Rule.AddAddress {
		if err := r.b.needAddress(ip); err != nil {
			return err
		}
		defer r.b.dropAddress(ip)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(r.ctx, "tcp", r.set.Frontend.String())
	if err != nil {
		return fmt.Errorf("listen on %s: %w", r.set.Frontend, err)
	}
	defer l.Close()
	stop := context.AfterFunc(r.ctx, func() { l.Close() })
	defer stop()
	r.setFault("")
	for {
		conn, err := l.Accept()
		if err != nil && (errors.Is(err, net.ErrClosed) || r.ctx.Err() != nil) {
			return err
		}
		if err != nil { // out of descriptors, or the client has gone again
			r.b.cfg.Log.Warn("accept failed", "rule", r.set.Rule.Name, "err", err)
			time.Sleep(RedialPause)
			continue
		}
		r.b.spawn(func() { r.serve(conn.(*net.TCPConn)) })
	}
}

// flowOf describes a client's connection for the choice of its backend.
func flowOf(conn *net.TCPConn) pool.Flow {
	const tcp = 6
	src, dst := addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	return pool.Flow{Source: src.Addr().As16(), Dest: dst.Addr().As16(), SourcePort: src.Port(), DestPort: dst.Port(), Protocol: tcp}
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
