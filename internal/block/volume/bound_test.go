package volume

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

// bound gives a pair in a cluster: U = {a, b}, a is Primary in epoch 1.
func bound(t *testing.T) (*pair, *fakeLog) {
	t.Helper()
	p := newPair(t, "")
	p.synced()
	l := newFakeLog(p)
	l.bind()
	l.adopt("a")
	l.whole()
	return p, l
}

// writer writes distinct content to a few blocks until stopped, and remembers what was acknowledged.
type writer struct {
	n     *node
	stop  chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex
	acked map[int64]byte
	tried map[int64]byte // sent and not acknowledged: the block may have it or not
	wrong []error
	count int
}

const writerBlocks = 64

func (n *node) writer(flush bool) *writer {
	w := &writer{n: n, stop: make(chan struct{}), acked: map[int64]byte{}, tried: map[int64]byte{}}
	for lane := range int64(4) {
		w.done.Add(1)
		go w.run(lane, flush)
	}
	return w
}

func (w *writer) run(lane int64, flush bool) {
	defer w.done.Done()
	for i := 0; ; i++ {
		select {
		case <-w.stop:
			return
		default:
		}
		off := (lane*writerBlocks + rand.Int64N(writerBlocks)) * 16384
		b := byte(i%251 + 1)
		w.mu.Lock()
		w.tried[off] = b
		w.mu.Unlock()
		r := w.n.submit(kernel.Write, off, fill(b, 4096), 4096)
		<-r.done
		if r.err == nil && flush {
			f := w.n.submit(kernel.Flush, 0, nil, 0)
			<-f.done
			r.err = f.err
		}
		w.mu.Lock()
		if r.err == nil {
			w.acked[off] = b
			delete(w.tried, off)
			w.count++
		} else {
			w.wrong = append(w.wrong, r.err)
		}
		bad := r.err != nil
		w.mu.Unlock()
		if bad {
			return
		}
	}
}

func (w *writer) acknowledged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// more waits for so many further acknowledgements.
func (w *writer) more(n int) {
	w.n.t.Helper()
	from, deadline := w.acknowledged(), time.Now().Add(patience)
	for w.acknowledged() < from+n {
		if time.Now().After(deadline) {
			w.n.t.Fatalf("%s: only %d of %d writes were acknowledged; status %+v; errors %v", w.n.name, w.acknowledged()-from, n, w.n.last(), w.wrong)
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *writer) finish() {
	w.n.t.Helper()
	close(w.stop)
	w.done.Wait()
	if len(w.wrong) > 0 {
		w.n.t.Errorf("%s: I/O errors: %v", w.n.name, w.wrong)
	}
}

// intact checks on a disk that every block has the content acknowledged last.
func (w *writer) intact(on *node) {
	w.n.t.Helper()
	data := on.disk.content(diskSize)
	w.mu.Lock()
	defer w.mu.Unlock()
	for off, b := range w.acked {
		if tried, open := w.tried[off]; open && bytes.Equal(data[off:off+4096], fill(tried, 4096)) {
			continue
		}
		if !bytes.Equal(data[off:off+4096], fill(b, 4096)) {
			w.n.t.Errorf("%s: block at %d has %x, acknowledged was %x", on.name, off, data[off], b)
		}
	}
}

func TestAdoptionUnderLoad(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	w := p.a.writer(true)
	w.more(20)
	l := newFakeLog(p)
	l.bind()
	l.adopt("a")
	l.whole()
	w.more(20)
	w.finish()
	w.intact(p.a)
	w.intact(p.b)
	p.identical()
}

func TestLostReplica(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(false)
	w.more(50)
	l.mu.Lock()
	l.quorum = false
	l.mu.Unlock()
	l.lose(p.b, true)
	st := p.a.until("frozen", func(s *api.VolumeStatus) bool { return s.Frozen != "" && strings.Contains(s.Frozen, "log") })
	n := w.acknowledged()
	late := p.a.submit(kernel.Write, 20<<20, fill(9, 4096), 4096)
	if got := p.a.read(20<<20, 4096); len(got) != 4096 {
		t.Error("no reads while frozen")
	}
	select {
	case <-late.done:
		t.Fatal("a write was acknowledged while the lost replica is in U")
	case <-time.After(100 * time.Millisecond): // long enough to see a wrong answer
	}
	if w.acknowledged() != n || st.Epoch != 1 {
		t.Errorf("acknowledged %d then %d while frozen, epoch %d", n, w.acknowledged(), st.Epoch)
	}
	l.mu.Lock()
	l.quorum = true
	l.mu.Unlock()
	must(t, p.a.wait(late))
	w.more(20)
	if !l.inU("a") {
		t.Error("b is still in U")
	}
	l.back(p.b)
	l.whole()
	w.more(20)
	w.finish()
	p.a.flush()
	w.intact(p.b)
	p.identical()
	if st := p.b.until("status", func(s *api.VolumeStatus) bool { return true }); st.ResyncedBytes > st.SizeBytes/5 {
		t.Errorf("the resync moved %d of %d bytes", st.ResyncedBytes, st.SizeBytes)
	}
}

func TestFailoverAfterPrimaryDies(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(50)
	l.lose(p.a, true)
	w.abandon()
	w.intact(p.b)
	l.end(true)
	l.promote(p.b)
	if !l.inU("b") {
		t.Error("the first promotion after an unclean stop must take the other side out of U")
	}
	w2 := p.b.writer(true)
	w2.more(50)
	l.back(p.a)
	l.whole()
	w2.more(20)
	w2.finish()
	p.b.flush()
	w2.intact(p.a)
	p.identical()
	st := p.a.until("status", func(s *api.VolumeStatus) bool { return true })
	// The writer's lanes touch 4 MiB: one extent of the activity log.
	if st.ResyncedBytes == 0 || st.ResyncedBytes > 8<<20 {
		t.Errorf("the resync moved %d bytes", st.ResyncedBytes)
	}
}

func TestSwitchover(t *testing.T) {
	p, l := bound(t)
	for i, n := range []*node{p.a, p.b, p.a, p.b} {
		if i > 0 {
			l.promote(n)
		}
		w := n.writer(i%2 == 0)
		w.more(20)
		w.finish()
		n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
		l.end(false)
		w.intact(p.a)
		w.intact(p.b)
		p.identical()
	}
	if !l.inU("a", "b") {
		t.Errorf("U is %v", l.u)
	}
}

func TestTheCrashedPrimaryIsPromotedAgain(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(50)
	l.lose(p.a, true)
	l.lose(p.b, true)
	w.abandon()
	l.end(true)
	l.back(p.a)
	l.promote(p.a)
	w.intact(p.a)
	w2 := p.a.writer(true)
	w2.more(10)
	l.back(p.b)
	l.whole()
	w2.finish()
	p.a.flush()
	p.identical()
}

func TestTheOtherSideIsPromotedAfterBothDied(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(50)
	l.lose(p.a, true)
	l.lose(p.b, true)
	w.abandon()
	l.end(true)
	l.back(p.b)
	l.back(p.a)
	p.b.until("connected", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" })
	l.promote(p.b)
	w.intact(p.b)
	l.whole()
	p.identical()
}

func TestAnotherEpochIsRefused(t *testing.T) {
	p, l := bound(t)
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	l.end(false)
	l.mu.Lock()
	l.epoch++
	l.primary = "b"
	p.b.view(l.view(p.b)) // a does not hear of it
	l.mu.Unlock()
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary, Epoch: 2})
	p.b.until("frozen", func(s *api.VolumeStatus) bool { return s.Frozen != "" && s.Conn == "WFConnection" })
	late := p.b.submit(kernel.Write, 0, fill(1, 4096), 4096)
	if r := p.a.do(api.VolumeDo{Verb: api.VolumePrimary, Epoch: 1}); r.Code == 0 {
		t.Error("a was promoted in an old epoch")
	}
	select {
	case <-late.done:
		t.Fatal("acknowledged without the other member of U")
	default:
	}
	l.publish()
	must(t, p.b.wait(late))
	l.whole()
	p.identical()
}

func TestLeaseEnds(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(20)
	p.a.lease.deadline.Store(1)
	st := p.a.until("failed", func(s *api.VolumeStatus) bool { return s.Role == "Secondary" })
	w.done.Wait() // every lane ends with an error
	if !st.CrashedPrimary {
		t.Error("the metadata does not say that a Primary crashed")
	}
	w.intact(p.b)
	l.end(true)
	if r := p.a.do(api.VolumeDo{Verb: api.VolumePrimary, Epoch: 1}); r.Code == 0 {
		t.Error("promoted without a lease")
	}
	l.promote(p.b)
	w.intact(p.b)
	w2 := p.b.writer(true)
	w2.more(10)
	l.whole()
	w2.finish()
	p.b.flush()
	p.identical()
}

func TestPrimaryProcessRestarts(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(20)
	l.lose(p.a, false)
	w.abandon()
	w.intact(p.b)
	p.a.start()
	p.a.ok(api.VolumeDo{Verb: api.VolumeUp})
	early := p.a.submit(kernel.Write, 24<<20, fill(5, 4096), 4096) // as FUSE sends again what was not answered
	l.mu.Lock()
	delete(l.down, "a")
	p.a.view(l.view(p.a))
	l.mu.Unlock()
	must(t, p.a.wait(early))
	p.a.until("Primary", func(s *api.VolumeStatus) bool { return s.Role == "Primary" })
	l.whole()
	w2 := p.a.writer(true)
	w2.more(10)
	w2.finish()
	p.a.flush()
	p.identical()
}

// abandon ends lanes whose last requests nobody may ever answer.
func (w *writer) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.stop)
}

func TestPrimaryProcessComesTooLate(t *testing.T) {
	p, l := bound(t)
	l.lose(p.a, false)
	l.end(true)
	l.promote(p.b)
	p.b.write(0, fill(3, 4096))
	l.back(p.a)
	early := p.a.submit(kernel.Write, 0, fill(5, 4096), 4096)
	if p.a.wait(early) == nil {
		t.Error("a write was acknowledged by a Primary of the past")
	}
	l.whole()
	p.identical()
}

func TestReplacedDisk(t *testing.T) {
	p, l := bound(t)
	p.a.write(0, fill(3, 1<<20))
	l.lose(p.b, true)
	p.a.until("thawed", func(s *api.VolumeStatus) bool { return l.inU("a") && s.Frozen == "" })
	p.b.disk = newMemDisk(diskSize)
	p.b.disk.format(t, 0xdeadbeef7)
	l.back(p.b)
	l.whole()
	p.identical()
}

func TestSecondaryCannotBePromotedOutsideU(t *testing.T) {
	p, l := bound(t)
	l.lose(p.b, true)
	p.a.until("thawed", func(s *api.VolumeStatus) bool { return l.inU("a") && s.Frozen == "" })
	l.lose(p.a, true)
	l.back(p.b)
	p.b.until("Outdated", func(s *api.VolumeStatus) bool { return s.Disk == "Outdated" })
	l.do(func() { l.epoch++; l.primary = "b" })
	if r := p.b.do(api.VolumeDo{Verb: api.VolumePrimary, Epoch: 2, Force: true}); r.Code != 17 {
		t.Errorf("got %+v", r)
	}
}
