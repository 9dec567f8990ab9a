package balancer

import (
	"context"
	"net"
	"time"

	"holdfast/internal/balancer/pool"
	"holdfast/internal/balancer/proxy"
)

// patience is one client's way to a backend: what has been tried, and until when it may wait.
type patience struct {
	client *net.TCPConn
	flow   pool.Flow
	ctx    context.Context // ends with the rule or the hold
	tried  map[*backend]bool
	// holding: it has one of the places for held connections, which it keeps until it has a backend.
	holding bool
	// spoke: the client has sent something, so that its hanging up cannot be seen any more.
	spoke bool
}

// serve brings a client to a backend and carries the connection until it ends.
func (r *rule) serve(client *net.TCPConn) {
	if !r.admit() {
		proxy.Abort(client)
		r.refuse("too many connections")
		return
	}
	defer r.leave()
	ctx, cancel := context.WithTimeout(r.ctx, r.hold())
	defer cancel()
	p := &patience{client: client, flow: flowOf(client), ctx: ctx, tried: map[*backend]bool{}}
	conn, be := r.connect(p)
	cancel()
	if conn == nil {
		proxy.Abort(client)
		return
	}
	conn.Run()
	r.b.mu.Lock()
	delete(be.conns, conn)
	r.b.mu.Unlock()
}

func (r *rule) hold() time.Duration {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	return r.set.Hold
}

func (r *rule) admit() bool {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if r.active >= MaxConnections {
		return false
	}
	r.active++
	r.accepted++
	return true
}

func (r *rule) leave() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.active--
}

// connect tries open backends and waits for one to open, until it has a connection (nil: the client was refused or has
// gone). No byte of the client's has been taken meanwhile, so that any backend may be tried.
func (r *rule) connect(p *patience) (*proxy.Conn, *backend) {
	defer r.leaveHold(p)
	for {
		be, usable, changed := r.pick(p)
		if be == nil {
			if !r.waitOpen(p, changed) {
				return nil, nil
			}
			continue
		}
		p.tried[be] = true
		if conn := r.dial(p, be, usable); conn != nil {
			return conn, be
		}
	}
}

// pick chooses an open backend that has not been tried in this round.
func (r *rule) pick(p *patience) (be *backend, usable context.Context, changed chan struct{}) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.evaluate() // time may have made the view too old since the last look
	var addrs []string
	var open []*backend
	for _, be := range r.backends {
		if be.verdict.Open && !p.tried[be] {
			addrs, open = append(addrs, be.conf.Addr), append(open, be)
		}
	}
	i := pool.Choose(r.set.Mode, p.flow, addrs)
	if i < 0 {
		return nil, nil, r.changed
	}
	return open[i], open[i].usable, nil
}

// dial connects to a backend and enters the connection, unless the backend has closed meanwhile.
func (r *rule) dial(p *patience, be *backend, usable context.Context) *proxy.Conn {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	stop := context.AfterFunc(usable, cancel)
	defer stop()
	server, err := proxy.Dial(ctx, be.conf.Addr, DialTimeout)
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if err != nil {
		if usable.Err() == nil && p.ctx.Err() == nil {
			be.kick() // the probe will say what is wrong
		}
		return nil
	}
	if usable.Err() != nil || !be.verdict.Keep {
		proxy.Abort(server)
		return nil
	}
	conn := proxy.Join(p.client, server, r.set.Idle)
	be.conns[conn] = struct{}{}
	return conn
}

// waitOpen waits until something has changed, or a little when open backends could not be reached; false ends the attempt:
// the hold is over, the client has hung up, or too many wait.
func (r *rule) waitOpen(p *patience, changed chan struct{}) bool {
	if !r.enterHold(p) {
		r.refuse("too many connections wait for a backend")
		return false
	}
	ctx, cancel := context.WithCancel(p.ctx)
	var again <-chan time.Time
	if len(p.tried) > 0 {
		clear(p.tried)
		again = time.After(RedialPause)
	}
	gone := p.watch(ctx)
	defer func() {
		cancel()
		if gone != nil {
			<-gone
		}
	}()
	for {
		select {
		case <-changed:
			return true
		case <-again:
			return true
		case hungUp, watching := <-gone:
			if watching && hungUp {
				return false
			}
			p.spoke, gone = true, nil
		case <-p.ctx.Done():
			if r.ctx.Err() == nil {
				r.refuse("no backend opened in time")
			}
			return false
		}
	}
}

// watch reports on a channel when the client hangs up while it is held; nil when that cannot be seen any more.
func (p *patience) watch(ctx context.Context) chan bool {
	if p.spoke {
		return nil
	}
	out := make(chan bool, 1)
	go func() {
		defer close(out)
		if hungUp := proxy.Gone(ctx, p.client); hungUp || ctx.Err() == nil {
			out <- hungUp
		}
	}()
	return out
}

// enterHold takes a place for a held connection, unless the client has one; the first to wait has the backends probed.
func (r *rule) enterHold(p *patience) bool {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if p.holding {
		return true
	}
	if r.held >= r.set.HoldMax {
		return false
	}
	r.held++
	p.holding = true
	if r.held == 1 && r.set.Rule.Follow == "" {
		for _, be := range r.backends {
			be.kick()
		}
	}
	return true
}

func (r *rule) leaveHold(p *patience) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if p.holding {
		r.held--
		p.holding = false
	}
}

// refuse counts a client that was turned away, and logs it, at most once a second.
func (r *rule) refuse(why string) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.refused++
	now := r.b.cfg.Clock.Wall()
	if now.Sub(r.lastRefusal) < time.Second {
		r.silenced++
		return
	}
	r.b.cfg.Log.Warn("connection refused", "rule", r.set.Rule.Name, "reason", why, "held", r.held, "more", r.silenced)
	r.lastRefusal, r.silenced = now, 0
}
