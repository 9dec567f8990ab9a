package sim

import (
	"time"

	"holdfast/internal/balancer/pool"
)

// balancer is the balancer process of a host: pool's judgement on the last view its daemon gave it, which goes on being used
// when there is no daemon (daemon.feedBalancer, balancer.rule).
type balancer struct {
	h       *host
	primary string
	until   int64
}

// feedEvery is daemon.balancerEvery.
const feedEvery = 200 * time.Millisecond

// feed is session.balancerUpdate.
func (d *daemon) feed() {
	b := d.w.balance[d.h.index]
	rec := d.view().Volumes[volumeName]
	b.primary, b.until = "", int64(d.holder.Deadline())
	if rec.Primary != "" && d.view().LeaseLive(rec.Primary, rec.PrimarySession) {
		b.primary = rec.Primary
	}
}

// open tells which host new connections go to, empty if to none.
func (b *balancer) open() string {
	v := pool.View{Now: int64(b.h.clock.Boottime()), Follow: true, Primary: b.primary, ConfirmedUntil: b.until}
	var list []pool.Backend
	for _, h := range b.h.w.data {
		list = append(list, pool.Backend{Node: h.name, Health: pool.Up})
	}
	for i, verdict := range pool.Evaluate(list, v) {
		if verdict.Open {
			return list[i].Node
		}
	}
	return ""
}

// judgeBalancers: nobody forwards on a view that nobody has confirmed within L (S7).
func (w *World) judgeBalancers() {
	for _, b := range w.balance {
		if b.h.up && !b.h.frozen && w.clocks && b.until != 0 && int64(b.h.clock.Boottime()) >= b.until && b.open() != "" {
			w.fail("S7", "the balancer of %s forwards to %s on a view that is too old", b.h.name, b.open())
		}
	}
	w.after(50*time.Millisecond, "balancers", w.judgeBalancers)
}
