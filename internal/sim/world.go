package sim

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
)

const (
	volumeName = "r0"
	tickRaft   = cluster.TickEvery
	tickVolume = 50 * time.Millisecond
)

// Options shape a world; the zero value of each field lets the seed decide.
type Options struct {
	// Witnesses is the number of voters without data, 1 to 3.
	Witnesses int
	// Size of the volume in bytes; ALExtents is its option al-extents.
	Size      int64
	ALExtents int
	// Quiet: no faults but those the caller makes, and no clients but those it starts.
	Quiet bool
	// Late: the last witness is no founder; it is added later.
	Late bool
	// Restores: disks of hosts are put back to what they were.
	Restores bool
	// Forking: there is no witness, and no-quorum-policy=ignore.
	Forking bool
	// PrimaryBefore: host 0 is Primary under DRBD's rules before the cluster takes the volume in.
	PrimaryBefore bool
	// Plain: clients neither flush nor write durably.
	Plain bool
	// Log, if not nil, gets what the real parts log, with the virtual time.
	Log slog.Handler
}

// World is a cluster in virtual time.
type World struct {
	Seed   uint64
	opts   Options
	now    instant
	queue  queue
	rng    *rand.Rand
	trace  trace
	events uint64

	hosts []*host
	data  []*host // those with a replica
	cuts  [][]int // from, to: how many faults cut this direction
	net   netFaults
	link  *replication
	res   *resfile.Resource

	strands  map[uint64]*strand
	truth    *truth // of the strand in focus
	model    *model
	clients  []*client
	durably  bool   // clients flush after most writes, as a database does with its log
	values   uint64 // written so far, all different
	attended bool   // the operator of split brains is at work
	kept     *host  // which an operator keeps of two that have diverged
	balance  []*balancer
	unbound  *unbound // of a world without a cluster
	failure  error
	// clocks tells that CLOCK_BOOTTIME has run through every pause: S6's exclusion and S7 hold (S2 does without).
	clocks bool
	quiet  bool // no more faults
	halted bool // clients rest
	stats  Stats
}

// Stats count what a run has seen, to tell a test that tests nothing.
type Stats struct {
	Events, Acked, Reads, Flushes, Promotions, Expiries, Removes, Adds, Faults, Forks, Splits, Saved uint64
}

// Violation is a broken invariant.
type Violation struct {
	Rule string // the name in check.go
	At   time.Duration
	Text string
}

// Error gives rule, time and what happened.
func (v *Violation) Error() string { return fmt.Sprintf("%s at %v: %s", v.Rule, v.At, v.Text) }

// fail notes the first violation; the run ends with it.
func (w *World) fail(rule, format string, args ...any) {
	if w.failure == nil {
		w.failure = &Violation{Rule: rule, At: time.Duration(w.now), Text: fmt.Sprintf(format, args...)}
		w.note(nil, "violation", "rule", rule, "text", w.failure.Error())
	}
}

// New makes the world of a seed: hosts that are down, nothing else.
func New(seed uint64, opts Options) *World {
	w := &World{Seed: seed, opts: opts, rng: rand.New(rand.NewPCG(seed, 0x686f6c6466617374)), clocks: true, quiet: opts.Quiet}
	w.takeOverRandomness()
	w.draw()
	w.drawApart()
	names := []string{"db1", "db2", "w1", "w2", "w3"}[:2+w.opts.Witnesses]
	for i, name := range names {
		kind := state.Witness
		if i < 2 {
			kind = state.Data
		}
		w.hosts = append(w.hosts, newHost(w, i, name, kind))
	}
	w.data = w.hosts[:2]
	w.cuts = make([][]int, len(w.hosts))
	for i := range w.cuts {
		w.cuts[i] = make([]int, len(w.hosts))
	}
	for _, h := range w.data {
		w.balance = append(w.balance, &balancer{h: h})
	}
	w.link = &replication{w: w}
	w.res = w.resource()
	w.firstStrand()
	generation := w.rng.Uint64() | 1<<63
	for i, h := range w.data {
		h.disk = newStore(w, w.opts.Size+w.metadataSize())
		h.disk.owner = h
		if err := h.disk.format(uint64(0xd15c0000+i)<<32|w.rng.Uint64()>>32|1, generation&^1); err != nil {
			panic(err)
		}
	}
	return w
}

// draw fills in what the options leave to the seed.
func (w *World) draw() {
	o := &w.opts
	kind := w.rng.IntN(10)
	witnesses := 1 + w.rng.IntN(3)
	before := w.rng.IntN(4) == 0
	if o.Witnesses == 0 && !o.Forking {
		o.Witnesses = witnesses
	}
	if !o.Quiet {
		o.PrimaryBefore = o.PrimaryBefore || before
	}
	if o.Size == 0 {
		o.Size = 256 << 10
		if !o.Quiet && kind == 0 {
			o.Size = 13*4<<20 + 64<<10 // more extents than the smallest activity log has room for
		}
	}
	if o.ALExtents == 0 {
		o.ALExtents = 7
	}
}

// metadataSize is what internal metadata takes.
func (w *World) metadataSize() int64 {
	return (1+8)*pageSize + (w.opts.Size/(128<<20)+1)*pageSize
}

func (w *World) resource() *resfile.Resource {
	text := fmt.Sprintf(`resource %s { 
  on db1 { device /dev/drbd1; disk /disk/db1; address 10.0.0.1:7788; meta-disk internal; }
  on db2 { device /dev/drbd1; disk /disk/db2; address 10.0.0.2:7788; meta-disk internal; } }`, volumeName)
	return parseResource("sim.res", text)
}

// parseResource is the volume's resource in a file of drbd.conf(5), which the simulator has written.
func parseResource(file, text string) *resfile.Resource {
	cfg, err := resfile.Parse(file, []byte(text), nil)
	if err != nil {
		panic(err)
	}
	res, ok := cfg.Resource(volumeName)
	if !ok {
		panic("sim: the resource is not in its file")
	}
	return res
}

// Start boots every host and, if the options say so, has the first be Primary before there is a cluster.
func (w *World) Start() {
	w.found()
	w.judgeBalancers()
	for _, h := range w.hosts {
		h.boot()
	}
	if w.opts.PrimaryBefore {
		for _, h := range w.data {
			h.runAlone()
		}
	}
}

// runAlone starts the volume as it ran before there was a cluster, Primary on the first host.
func (h *host) runAlone() {
	h.marked = true
	h.startVolume()
	v := h.volume
	v.s.Hear(api.VolumeMessage{View: &api.VolumeView{Node: h.name}})
	v.s.Hear(api.VolumeMessage{ID: 1, Do: &api.VolumeDo{Verb: api.VolumeUp}})
	if h.index == 0 {
		v.s.Hear(api.VolumeMessage{ID: 2, Do: &api.VolumeDo{Verb: api.VolumePrimary}})
	}
	h.w.later(h.volumeProc, 0, "alone", v.turn)
}

// after makes an event of the world itself.
func (w *World) after(d time.Duration, what string, do func()) {
	w.queue.push(event{at: w.now.add(d), what: what, do: do})
}

// later makes an event of a process, void when that ends.
func (w *World) later(p *process, d time.Duration, what string, do func()) {
	w.queue.push(event{at: w.now.add(d), proc: p, life: p.life, what: what, do: do})
}

// between draws a duration.
func (w *World) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

// chance is true once in n.
func (w *World) chance(n int) bool { return w.rng.IntN(n) == 0 }

// step carries out the next event; false if there is none or an invariant is broken.
func (w *World) step() bool {
	if w.failure != nil || len(w.queue.heap) == 0 {
		return false
	}
	e := w.queue.pop()
	w.now = e.at
	if p := e.proc; p != nil {
		if p.life != e.life || !p.alive {
			return true
		}
		if p.stopped() {
			p.waiting = append(p.waiting, e)
			return true
		}
		w.trace.text(p.name)
	}
	w.events++
	w.trace.add(uint64(e.at), e.seq)
	w.trace.text(e.what)
	w.carryOut(&e)
	w.check()
	if w.unbound != nil && w.events%64 == 0 {
		w.unbound.judgeStill()
	}
	w.focus()
	return true
}

// carryOut runs an event; a power cut in its middle ends the host.
func (w *World) carryOut(e *event) {
	defer func() {
		p := recover()
		if cut, ok := p.(powerCut); ok {
			cut.host.powerOff()
			return
		}
		if p != nil {
			panic(p)
		}
	}()
	e.do()
}

// Run goes on for a while.
func (w *World) Run(d time.Duration) error {
	end := w.now.add(d)
	for w.failure == nil && len(w.queue.heap) > 0 && w.queue.heap[0].at <= end {
		w.step()
	}
	w.now = max(w.now, end)
	return w.failure
}

// Until goes on until ok holds; it fails when that takes longer than bound.
func (w *World) Until(what string, bound time.Duration, ok func() bool) error {
	end := w.now.add(bound)
	for !ok() {
		if w.failure != nil {
			return w.failure
		}
		if len(w.queue.heap) == 0 || w.queue.heap[0].at > end {
			w.fail("progress", "waited %v for %s; %s", bound, what, w.describe())
			return w.failure
		}
		w.step()
	}
	return w.failure
}

// note logs something of the simulation itself.
func (w *World) note(h *host, what string, args ...any) {
	if w.opts.Log != nil {
		w.logger(h).Info(what, args...)
	}
}

func (w *World) logger(h *host) *slog.Logger {
	if w.opts.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	l := slog.New(w.opts.Log)
	if h != nil {
		l = l.With("host", h.name)
	}
	return l
}

// Hash is the trace so far: equal for equal histories.
func (w *World) Hash() uint64 { return w.trace.sum }

// Stats tells what has happened so far.
func (w *World) Stats() Stats {
	s := w.stats
	s.Events = w.events
	return s
}
