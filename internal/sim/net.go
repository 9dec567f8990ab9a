package sim

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/cluster/raftlog"
)

// netFaults are what every message may suffer, one in so many; 0 is never.
type netFaults struct {
	loss, duplicate, slow int
}

// open tells whether a packet of from reaches to.
func (w *World) open(from, to *host) bool {
	return from.up && to.up && w.cuts[from.index][to.index] == 0
}

// latency is how long a packet takes.
func (w *World) latency() time.Duration {
	if w.net.slow > 0 && w.chance(w.net.slow) {
		return w.between(5*time.Millisecond, 300*time.Millisecond)
	}
	return w.between(100*time.Microsecond, 1500*time.Microsecond)
}

// send has a message do something at the daemon of another host, perhaps twice, late or never.
func (w *World) send(from, to *host, what string, do func(copy int)) {
	if !w.open(from, to) || w.net.loss > 0 && w.chance(w.net.loss) {
		return
	}
	copies := 1
	if w.net.duplicate > 0 && w.chance(w.net.duplicate) {
		copies = 2
	}
	for i := range copies {
		w.later(to.daemonProc, w.latency(), what, func() {
			if w.cuts[from.index][to.index] == 0 {
				do(i)
			}
		})
	}
}

// sendRaft carries Raft's messages. Raft changes messages it is given, so that a copy is made for a second arrival.
func (d *daemon) sendRaft(to string, msgs []*raftpb.Message) {
	if raftlog.Acknowledges(msgs) {
		d.alone.Acknowledged(d.h.clock.Boottime())
	}
	target := d.w.host(to)
	if target == nil {
		return
	}
	again := make([]*raftpb.Message, 0, len(msgs))
	if d.w.net.duplicate > 0 {
		for _, m := range msgs {
			again = append(again, proto.Clone(m).(*raftpb.Message))
		}
	}
	name := d.h.name
	d.w.send(d.h, target, "raft", func(copy int) {
		list := msgs
		if copy > 0 {
			list = again
		}
		target.daemon.deliverRaft(name, list)
	})
}

func (w *World) host(name string) *host {
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

// cut closes one direction between two hosts; mend opens it again.
func (w *World) cut(from, to *host)  { w.cuts[from.index][to.index]++ }
func (w *World) mend(from, to *host) { w.cuts[from.index][to.index]-- }

// Cut closes both directions.
func (w *World) Cut(a, b *host) { w.cut(a, b); w.cut(b, a) }

// Mend opens both again.
func (w *World) Mend(a, b *host) { w.mend(a, b); w.mend(b, a) }
