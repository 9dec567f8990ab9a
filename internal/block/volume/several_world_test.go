package volume

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/resfile"
	"holdfast/internal/clock"
	"holdfast/internal/disk"
)

// A world of two real engines, each with two volumes, without threads, sockets and time: what happens next is drawn from a seed.
// Disks have caches that a power cut loses parts of; connections break; processes are killed. The story of a block is what an
// application wrote to it, and what it may read from now on.

const (
	worldBlocks = 10
	// worldStride is from one block to the next: each is in an extent of its own, of which the activity log has room for a few.
	worldStride = 4 << 20
	worldSlots  = 7
)

type seriesWorld struct {
	res   *resfile.Resource
	t     *testing.T
	rng   *rand.Rand
	now   clock.Boottime
	hosts [2]*worldHost
	pair  *worldLink
	cut   bool
	trace []string
	// story is every value written to a block, oldest first; floor is the newest that was flushed.
	story  [2][worldBlocks][]uint64
	floor  [2][worldBlocks]int
	acked  [2][worldBlocks]int // the newest that was acknowledged, and not lost with the power since
	next   uint64
	may    [2]bool // a host that may become Primary without a peer: it has what was acknowledged last
	writes int
	linked int // flushes that were judged on both sides
}

type worldHost struct {
	w     *seriesWorld
	index int
	name  string
	s     *Stepped
	disks [2]*memDisk
	notes Notes
	jobs  []*DiskJob
	want  *worldWant
	reply map[uint64]api.VolumeReply
	asked uint64
	role  uint64 // the last request for another role
	open  []*worldRequest
}

type worldWant struct {
	cfg  replica.Config
	up   func(*replica.Link)
	gone bool
}

// worldLink is a connection: what each side has sent on either of its streams, and the other has not read.
type worldLink struct {
	ends  [2]replica.Stepped
	queue [2][2][][]byte
	ended [2]bool
}

func (w *seriesWorld) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *seriesWorld) fail(format string, args ...any) {
	w.t.Helper()
	for _, line := range w.trace[max(0, len(w.trace)-60):] {
		w.t.Log(line)
	}
	w.t.Fatalf(format, args...)
}

type worldClock struct{ w *seriesWorld }

func (c worldClock) Boottime() clock.Boottime { return c.w.now }
func (c worldClock) Wall() time.Time          { return time.Unix(0, int64(c.w.now)) }

func newSeriesWorld(t *testing.T, seed uint64) *seriesWorld {
	w := &seriesWorld{t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: 1e9}
	w.res = severalWorldResource(t, []string{"C", "A", "B", "C"}[seed%4])
	for i := range w.hosts {
		h := &worldHost{w: w, index: i, name: string(rune('a' + i)), reply: map[uint64]api.VolumeReply{}}
		for n := range h.disks {
			h.disks[n] = newMemDisk(int64(41+n) << 20)
			inSync(t, h.disks[n], uint64(i+1)<<8|uint64(n)<<4|1)
		}
		w.hosts[i] = h
	}
	for v := range w.story {
		for b := range w.story[v] {
			w.story[v][b] = []uint64{0}
		}
	}
	return w
}

func (h *worldHost) start() {
	var err error
	h.s, err = NewStepped(Config{Resource: h.w.res, Node: h.name, Clock: worldClock{h.w},
		OpenDisk: func(path string) (disk.Device, error) { return h.disks[path[len(path)-1]-'0'], nil }},
		Surroundings{Notes: &h.notes, ALExtents: worldSlots, Carry: func(j *DiskJob) { h.jobs = append(h.jobs, j) },
			Tell: func(m api.VolumeMessage) bool {
				if m.Reply != nil {
					h.reply[m.ID] = *m.Reply
				}
				return true
			},
			Connect: func(cfg replica.Config, up func(*replica.Link)) func() {
				want := &worldWant{cfg: cfg, up: up}
				h.want = want
				return func() { want.gone = true }
			}})
	must(h.w.t, err)
	h.w.note("%s starts", h.name)
	h.s.Hear(api.VolumeMessage{View: &api.VolumeView{Node: h.name}})
	h.ask(api.VolumeDo{Verb: api.VolumeUp})
	h.turn()
}

// ask gives a command, whose answer may come later.
func (h *worldHost) ask(do api.VolumeDo) uint64 {
	h.asked++
	h.s.Hear(api.VolumeMessage{ID: h.asked, Do: &do})
	return h.asked
}

// turn lets the engine take in what was posted, and takes what it sends.
func (h *worldHost) turn() {
	if h.s == nil {
		return
	}
	if err := h.s.Step(); err != nil {
		h.w.fail("%s: %v", h.name, err)
	}
	h.w.pump(h)
}

func (w *seriesWorld) pump(h *worldHost) {
	p := w.pair
	if p == nil || p.ended[h.index] {
		return
	}
	for i := range p.queue[h.index] {
		if packets := p.ends[h.index].Take(i == 1); packets != nil {
			p.queue[h.index][i] = append(p.queue[h.index][i], packets)
		}
	}
	if p.ends[h.index].Closed() {
		w.endLink(h.index, "closed")
	}
}

// endLink tells one side that the connection is down.
func (w *seriesWorld) endLink(side int, why string) {
	p := w.pair
	if p.ended[side] {
		return
	}
	p.ended[side] = true
	w.note("%s: connection down: %s", w.hosts[side].name, why)
	p.ends[side].End(why, false)
	w.hosts[side].turn()
}

// connect pairs two that look for one another.
func (w *seriesWorld) connect() {
	a, b := w.hosts[0], w.hosts[1]
	live := func(h *worldHost) bool { return h.s != nil && h.want != nil && !h.want.gone }
	if w.cut || !live(a) || !live(b) || w.pair != nil && !(w.pair.ended[0] && w.pair.ended[1]) {
		return
	}
	p := &worldLink{}
	accepted := w.rng.IntN(2)
	wants := [2]*worldWant{a.want, b.want}
	for i := range wants {
		l, err := replica.NewStepped(wants[i].cfg, wants[1-i].cfg, i == accepted)
		must(w.t, err)
		p.ends[i] = l
	}
	a.want, b.want = nil, nil
	w.pair = p
	w.note("connected")
	for i, h := range w.hosts {
		wants[i].up(p.ends[i].Link)
		h.turn()
	}
}

// deliver has one side read something of what the other sent.
func (w *seriesWorld) deliver() {
	p := w.pair
	if p == nil {
		return
	}
	from, stream := w.rng.IntN(2), w.rng.IntN(2)
	to := 1 - from
	if p.ended[to] {
		return
	}
	if len(p.queue[from][stream]) == 0 {
		if p.ended[from] && len(p.queue[from][1-stream]) == 0 {
			w.endLink(to, "closed by the peer")
		}
		return
	}
	packets := p.queue[from][stream][0]
	p.queue[from][stream] = p.queue[from][stream][1:]
	if err := p.ends[to].Receive(stream == 1, packets); err != nil {
		w.fail("%s: %v", w.hosts[to].name, err)
	}
	w.hosts[to].turn()
}

func (w *seriesWorld) breakLink(why string) {
	if w.pair == nil {
		return
	}
	for side, h := range w.hosts {
		w.pair.queue[side] = [2][][]byte{}
		if h.s == nil {
			w.pair.ended[side] = true
		}
	}
	for side := range w.hosts {
		w.endLink(side, why)
	}
}

// kill ends a process; with the power of its host parts of what was not flushed are lost. A process that was Primary is again,
// unless the power was lost: then the peer may be, if it has all.
func (h *worldHost) kill(power bool) {
	if h.s == nil {
		return
	}
	w := h.w
	w.note("%s dies, power lost: %v", h.name, power)
	if h.primary() {
		w.may[h.index], w.may[1-h.index] = true, power && h.synced()
		if power {
			w.acked = w.floor
		}
	}
	for _, j := range h.jobs {
		if w.rng.IntN(2) == 0 {
			j.Run()
		}
	}
	for _, r := range h.open { // their outcome is not known
		r.ended = true
	}
	h.s, h.jobs, h.want, h.open = nil, nil, nil, nil
	for n, d := range h.disks {
		if power {
			h.notes.Of(n).Role = nil
			w.losePower(d)
		}
	}
	w.breakLink("the peer has died")
}

// losePower keeps of what was not flushed some blocks. Nobody has the disk open.
func (w *seriesWorld) losePower(d *memDisk) {
	for _, b := range slices.Sorted(maps.Keys(d.dirty)) {
		was, now := d.durable[b*memBlock:(b+1)*memBlock], d.now[b*memBlock:(b+1)*memBlock]
		if w.rng.IntN(2) == 0 {
			was, now = now, was
		}
		copy(now, was)
	}
	clear(d.dirty)
}

// primary tells whether both volumes are.
func (h *worldHost) primary() bool { return h.primaryOf(0) && h.primaryOf(1) }

// synced tells whether a host knows both volumes to be connected and in sync.
func (h *worldHost) synced() bool {
	for _, number := range both {
		st := h.s.On(number).e.status()
		if st.Conn != "Connected" || st.Disk != "UpToDate" || st.PeerDisk != "UpToDate" {
			return false
		}
	}
	return true
}

// operator changes roles: a Primary is demoted now and then, and where there is none, a host that has all becomes it. One request at a
// time: two hosts that are promoted at once may both be when the connection is lost.
func (w *seriesWorld) operator() {
	for _, h := range w.hosts {
		if _, answered := h.reply[h.role]; h.s != nil && h.role != 0 && !answered {
			return
		}
	}
	for _, h := range w.hosts {
		if h.s != nil && h.primary() {
			if w.rng.IntN(4) == 0 && h.synced() {
				h.role = h.ask(api.VolumeDo{Verb: api.VolumeSecondary})
				h.turn()
			}
			return
		}
	}
	if h := w.hosts[w.rng.IntN(2)]; h.s != nil && (w.may[h.index] || h.synced()) {
		h.role = h.ask(api.VolumeDo{Verb: api.VolumePrimary})
		h.turn()
	}
}

// look notes who is Primary.
func (w *seriesWorld) look() {
	for i, h := range w.hosts {
		if h.s == nil || !h.primary() && !h.primaryOf(1) {
			continue
		}
		if other := w.hosts[1-i]; other.s != nil && (other.primary() || other.primaryOf(1)) {
			w.fail("both are Primary: %s, %s", w.describe(0), w.describe(1))
		}
		if !w.may[i] || w.may[1-i] {
			w.note("%s is Primary", h.name)
		}
		w.may[i], w.may[1-i] = true, false
	}
}

// primaryOf tells whether a volume is Primary.
func (h *worldHost) primaryOf(number int) bool {
	_, ok := h.s.On(number).Primary()
	return ok
}

func (w *seriesWorld) runJob(h *worldHost) {
	if h.s == nil || len(h.jobs) == 0 {
		return
	}
	i := w.rng.IntN(len(h.jobs))
	j := h.jobs[i]
	h.jobs = slices.Delete(h.jobs, i, i+1)
	j.Deliver()
	h.turn()
}

func (w *seriesWorld) tick() {
	w.now = w.now.Add(block.Tick)
	for _, h := range w.hosts {
		if h.s == nil {
			continue
		}
		if err := h.s.Tick(); err != nil {
			w.fail("%s: %v", h.name, err)
		}
		w.pump(h)
	}
}

func severalWorldSeed(t *testing.T, seed uint64, steps int) (writes int) {
	w := newSeriesWorld(t, seed)
	for _, h := range w.hosts {
		h.start()
	}
	w.settleWorld()
	for range steps {
		w.step()
		w.look()
	}
	w.heal()
	t.Log(w.writes, "writes,", w.linked, "flushes of both disks")
	return w.writes
}

func (w *seriesWorld) step() {
	w.connect()
	switch n := w.rng.IntN(1000); {
	case n < 300:
		w.deliver()
	case n < 600:
		w.runJob(w.hosts[w.rng.IntN(2)])
	case n < 700:
		w.tick()
	case n < 980:
		for range 1 + w.rng.IntN(4) {
			w.client()
		}
	case n < 985:
		w.operator()
	case n < 987:
		w.cut = !w.cut
		w.breakLink("cut")
	case n < 989:
		if h := w.hosts[w.rng.IntN(2)]; w.rng.IntN(3) == 0 {
			h.kill(w.rng.IntN(2) == 0)
		}
	case n < 996:
		for _, h := range w.hosts {
			if h.s == nil && w.rng.IntN(3) == 0 {
				h.start()
			}
		}
	}
}

// settleWorld lets everything happen that is under way, until both hosts are connected and in sync.
func (w *seriesWorld) settleWorld() {
	for range 200000 {
		w.connect()
		w.deliver()
		for _, h := range w.hosts {
			w.runJob(h)
		}
		if w.rng.IntN(20) == 0 {
			w.tick()
		}
		if w.quiet() {
			return
		}
	}
	w.fail("not whole again: a %+v, b %+v", w.describe(0), w.describe(1))
}

func (w *seriesWorld) describe(i int) string {
	if w.hosts[i].s == nil {
		return "down"
	}
	text := ""
	for _, number := range both {
		st := w.hosts[i].s.On(number).e.status()
		text += fmt.Sprintf(" /%d cs:%s ro:%s ds:%s/%s frozen:%s reason:%s;", number, st.Conn, st.Role, st.Disk, st.PeerDisk, st.Frozen, st.Reason)
	}
	return text
}

func (w *seriesWorld) quiet() bool {
	for _, h := range w.hosts {
		if h.s == nil || !h.synced() || len(h.jobs) > 0 || len(h.open) > 0 {
			return false
		}
	}
	p := w.pair
	return p != nil && !p.ended[0] && !p.ended[1] && len(p.queue[0][0])+len(p.queue[0][1])+len(p.queue[1][0])+len(p.queue[1][1]) == 0
}

func severalWorldResource(t *testing.T, protocol string) *resfile.Resource {
	cfg, err := resfile.Parse("test.res", []byte(severalFile("10.0.0.1:7788", "10.0.0.2:7788", "protocol "+protocol+";")), nil)
	must(t, err)
	res, _ := cfg.Resource("r0")
	return res
}

// TestSeveralWorld plays worlds drawn from seeds.
func TestSeveralWorld(t *testing.T) {
	seeds, writes := uint64(10), 0
	if first := os.Getenv("VOLUME_WORLD_SEED"); first != "" {
		seed, err := strconv.ParseUint(first, 10, 64)
		must(t, err)
		severalWorldSeed(t, seed, 4000)
		return
	}
	if text := os.Getenv("VOLUME_WORLD_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { writes += severalWorldSeed(t, seed, 4000) })
	}
	if writes < int(seeds)*50 {
		t.Errorf("only %d writes in %d worlds", writes, seeds)
	}
}
