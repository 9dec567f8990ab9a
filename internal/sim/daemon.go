package sim

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/liveness"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// daemon restates internal/daemon around the real log: session.go (join, watch, view), pulse.go and keeper.go (lease.go
// here), tenure.go, volumes.go. What blocks there in a goroutine is a task here.
type daemon struct {
	h    *host
	w    *World
	raft raftlog.Stepped
	old  *state.View // told to the volume last
	seen *state.View // judged last
	read bool        // session.read: a linearizable read was made

	tasks []*task

	// pulse.go
	holder  liveness.Holder
	peers   *liveness.Peers
	leader  *liveness.Leader
	alone   *liveness.Alone
	waiting []renewal
	reading bool

	keep keeper

	// tenure.go, volumes.go
	control *volumeProcess // the process whose control socket is connected
	session uint64         // s.lease: the session volumes are promoted in
	status  *api.VolumeStatus
	busy    bool // tenures.busy
	forking bool // a last read before this host goes on alone is under way
	verbs   map[uint64]func(api.VolumeReply)
	nextID  uint64
	acting  bool // a promotion or demotion is under way
	toVol   instant
	ended   uint64 // tenures.ended
}

// task waits for the log.
type task struct {
	proposed *raftlog.Proposed
	reading  *raftlog.Reading
	until    instant
	done     func(state.Result, error)
}

const proposeTimeout = 10 * time.Second

// startDaemon starts a daemon on the log as it is on disk.
func (h *host) startDaemon() {
	w := h.w
	if h.daemonProc.alive || !h.up {
		return
	}
	h.daemonProc.begin()
	d := &daemon{h: h, w: w, peers: liveness.NewPeers(h.name, cluster.DefaultToken), verbs: map[uint64]func(api.VolumeReply){}, alone: liveness.NewAlone(h.clock.Boottime())}
	h.daemon = d
	d.keep.d = d
	var err error
	d.raft, err = raftlog.NewStepped(raftlog.Config{Name: h.name, Clock: &h.clock, Log: w.logger(h), Send: d.sendRaft, MayTransfer: d.calm}, &h.log)
	if err != nil {
		panic(err)
	}
	if err := d.found(); err != nil {
		panic(err)
	}
	w.note(h, "daemon started", "incarnation", d.raft.Incarnation(), "fresh", d.raft.Fresh())
	d.every(tickRaft, "raft tick", d.tickRaft)
	d.every(cluster.Heartbeat, "pulse", d.pulse)
	d.every(cluster.Heartbeat, "keeper", d.keep.tick)
	d.every(200*time.Millisecond, "join", d.join)
	if w.opts.Forking {
		d.every(cluster.Heartbeat, "watch peer", d.watchPeer)
	}
	if h.kind == state.Data {
		d.every(100*time.Millisecond, "roles", d.roles)
		d.every(feedEvery, "feed", d.feed)
		d.every(time.Second, "consider", d.reconsider)
		w.later(h.daemonProc, w.between(time.Millisecond, 20*time.Millisecond), "resume volumes", d.resumeVolumes)
	}
}

// stopDaemon is the end of a daemon process alone.
func (h *host) stopDaemon() {
	h.w.note(h, "daemon killed")
	h.daemonProc.end()
	h.daemon = nil
}

// every repeats f with a little jitter.
func (d *daemon) every(pause time.Duration, what string, f func()) {
	var again func()
	again = func() {
		d.w.later(d.h.daemonProc, d.w.between(pause, pause+pause/50), what, again)
		f()
	}
	d.w.later(d.h.daemonProc, d.w.between(0, pause), what, again)
}

// after looks at the outcome of a turn of the log: a failed log ends the daemon, which is started again.
func (d *daemon) after(err error) {
	if d.h.daemon != d {
		return
	}
	if err != nil {
		d.w.note(d.h, "the log failed", "err", err)
		d.h.stopDaemon()
		d.w.after(d.w.between(50*time.Millisecond, 500*time.Millisecond), "restart daemon", d.h.startDaemon)
		return
	}
	d.w.saw(d)
	d.settle()
	d.compare()
}

func (d *daemon) tickRaft() { d.after(d.raft.Tick()) }

func (d *daemon) deliverRaft(from string, msgs []*raftpb.Message) {
	if d == nil {
		return
	}
	for _, m := range msgs {
		if err := d.raft.Deliver(from, m); err != nil {
			d.after(err)
			return
		}
	}
	d.after(nil)
}

// settle ends the tasks whose outcome is known or whose time is over.
func (d *daemon) settle() {
	for again := true; again; {
		again = false
		for i, t := range d.tasks {
			finished, result, err := d.look(t)
			if finished {
				d.tasks = append(d.tasks[:i:i], d.tasks[i+1:]...)
				t.done(result, err)
				again = d.h.daemon == d
				break
			}
		}
	}
}

func (d *daemon) look(t *task) (finished bool, result state.Result, err error) {
	if t.reading != nil {
		if t.reading.Done() {
			return true, result, nil
		}
		if d.w.now >= t.until {
			t.reading.Forget()
			return true, result, errors.New("no quorum confirmed the read")
		}
		return false, result, nil
	}
	result, sent, err, ok := t.proposed.Outcome()
	switch {
	case ok && err != nil:
		return true, result, err
	case ok && result.TooOld && sent > 1:
		return true, result, raftlog.ErrUnknownOutcome
	case ok:
		return true, result, result.Err()
	case d.w.now < t.until:
		return false, result, nil
	}
	t.proposed.Forget()
	if sent == 0 {
		return true, result, raftlog.ErrNoLeader
	}
	return true, result, raftlog.ErrUnknownOutcome
}

// propose is raftlog's Propose, or ProposeInTerm, with its outcome given to done.
func (d *daemon) propose(term uint64, c state.Command, done func(error)) {
	switch c := c.(type) {
	case *state.VolumePromote:
		d.w.strand(d.view().Cluster.Branch).truth.asked[d.h.index] = recordVersion{c.Epoch, c.Version}
	case *state.VolumeRemove:
		d.w.strand(d.view().Cluster.Branch).truth.asked[d.h.index] = recordVersion{c.Epoch, c.Version}
	}
	p, err := d.raft.Propose(term, c)
	if p == nil {
		panic(err)
	}
	d.tasks = append(d.tasks, &task{proposed: p, until: d.w.now.add(proposeTimeout), done: func(_ state.Result, err error) {
		if err != nil {
			d.w.note(d.h, "proposal", "verb", state.Verb(c), "err", err)
		}
		done(err)
	}})
	d.finishTurn(err)
}

// linear is raftlog's ReadIndex.
func (d *daemon) linear(timeout time.Duration, done func(error)) {
	r, err := d.raft.Read()
	d.tasks = append(d.tasks, &task{reading: r, until: d.w.now.add(timeout), done: func(_ state.Result, err error) { done(err) }})
	d.finishTurn(err)
}

// finishTurn looks at what a proposal or read has led to at once, after the present event.
func (d *daemon) finishTurn(err error) {
	d.w.later(d.h.daemonProc, 0, "turn", func() { d.after(err) })
}

func (d *daemon) view() *state.View { return d.raft.View() }

// found is session.found.
func (d *daemon) found() error {
	var founders []raftlog.Founder
	mine := false
	for i, h := range d.w.founding() {
		id := d.w.truth.founders[i]
		founders = append(founders, raftlog.Founder{Name: h.name, Incarnation: id})
		mine = mine || h == d.h && id == d.raft.Incarnation()
	}
	if !mine {
		return nil
	}
	return d.raft.Bootstrap(founders)
}

// found draws the incarnations the cluster is founded with: each host's log is made once for it.
func (w *World) found() {
	for _, h := range w.founding() {
		s, err := raftlog.NewStepped(raftlog.Config{Name: h.name, Clock: &h.clock, Log: w.logger(h)}, &h.log)
		if err != nil {
			panic(err)
		}
		w.truth.founders = append(w.truth.founders, s.Incarnation())
	}
}

func (w *World) init() *state.ClusterInit {
	c := &state.ClusterInit{Name: "sim", UUID: "00000000000000000000000000000001", UnixSeconds: 1_800_000_000}
	for i, h := range w.founding() {
		c.CIB = w.configuration()
		c.Members = append(c.Members, state.Member{Name: h.name, Kind: h.kind, Incarnation: w.truth.founders[i], Voter: true, Addrs: []string{fmt.Sprintf("10.0.0.%d", i+1)}})
	}
	return c
}

// join is session.join: the cluster's first record, being taken in with a new log, and then a read.
func (d *daemon) join() {
	if d.read || d.keep.joining {
		return
	}
	me, ok := d.view().Members[d.h.name]
	switch {
	case ok && me.Incarnation == d.raft.Incarnation():
		d.keep.joining = true
		d.linear(proposeTimeout, func(err error) {
			d.keep.joining = false
			if err == nil {
				d.read = true
				d.push()
			}
		})
	case d.raft.Founded() && len(d.raft.Status().Voters) > 0 && d.view().Cluster.UUID == "":
		d.keep.joining = true
		d.propose(0, d.w.init(), func(error) { d.keep.joining = false })
	default:
		d.askIn()
	}
}

// askIn is callAdmit to some member, which does raftlog's Admit.
func (d *daemon) askIn() {
	other := d.w.hosts[d.w.rng.IntN(len(d.w.hosts))]
	name, id := d.h.name, d.raft.Incarnation()
	if other == d.h {
		return
	}
	d.w.send(d.h, other, "admit", func(int) {
		if known, ok := other.daemon.view().Members[name]; ok && known.Incarnation != id && other.daemon.read {
			other.daemon.linear(proposeTimeout, func(err error) {
				if err == nil && other.daemon.view().Members[name].Incarnation != id {
					other.daemon.propose(0, &state.MemberIncarnation{Name: name, Incarnation: id}, func(error) {})
				}
			})
		}
	})
}

// compare is session.watch for the volume: a change of its record is pushed.
func (d *daemon) compare() {
	view := d.view()
	if view == d.old || d.h.kind != state.Data {
		return
	}
	if d.old == nil || !d.old.Volumes[volumeName].SameView(view.Volumes[volumeName]) {
		d.push()
	}
	d.feed()
	d.old = view
}

// push is volumes.push with session.view.
func (d *daemon) push() {
	if !d.read {
		return
	}
	view := d.view().VolumeView(volumeName, d.h.name)
	view.TLS = &api.TLSFiles{}
	d.toVolume(api.VolumeMessage{View: &view})
}

// toVolume sends a message on the control socket, in order.
func (d *daemon) toVolume(m api.VolumeMessage) {
	v := d.control
	if v == nil || d.h.volume != v {
		return
	}
	d.toVol = max(d.w.now.add(d.w.between(10*time.Microsecond, 150*time.Microsecond)), d.toVol+1)
	d.w.later(d.h.volumeProc, d.toVol.sub(d.w.now), "from daemon", func() {
		v.s.Hear(m)
		v.turn()
	})
}
