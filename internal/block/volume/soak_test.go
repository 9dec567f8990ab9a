package volume

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"holdfast/internal/api"
)

// TestFaults draws a row of faults under load, from a seed, and checks after each that what was acknowledged (and flushed)
// is on the disk that serves; at the end that both disks are equal. VOLUME_SEED repeats a run, VOLUME_STEPS lengthens it.
func TestFaults(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("VOLUME_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seed = v
	}
	steps := 6
	if s := os.Getenv("VOLUME_STEPS"); s != "" {
		v, err := strconv.Atoi(s)
		must(t, err)
		steps = v
	}
	t.Logf("VOLUME_SEED=%d", seed)
	p, l := bound(t)
	f := &faults{t: t, p: p, l: l, rng: rand.New(rand.NewPCG(seed, 1)), primary: p.a, other: p.b, disk: map[int64][]byte{}}
	for i := range steps {
		f.step(i)
	}
	f.l.whole()
	f.primary.flush()
	p.identical()
}

type faults struct {
	t              *testing.T
	p              *pair
	l              *fakeLog
	rng            *rand.Rand
	primary, other *node
	disk           map[int64][]byte // what each block may hold: one value if the last write was acknowledged
}

func (f *faults) step(i int) {
	names := []string{"switchover", "secondary loses power", "secondary's process ends", "primary loses power", "primary's process ends for good",
		"both lose power", "connection breaks"}
	k := f.rng.IntN(len(names))
	f.t.Logf("step %d: %s (primary %s)", i, names[k], f.primary.name)
	w := f.primary.writer(true)
	w.more(5 + f.rng.IntN(30))
	switch k {
	case 0:
		f.switchover(w)
	case 1, 2:
		f.l.lose(f.other, k == 1)
		w.more(5)
		f.l.back(f.other)
		if f.rng.IntN(2) == 0 {
			f.l.whole()
		}
		w.more(5)
		f.halt(w)
	case 3, 4:
		f.failover(w, k == 3)
	case 5:
		f.coldStart(w)
	case 6:
		f.l.do(func() {})
		f.other.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
		w.more(5)
		f.other.ok(api.VolumeDo{Verb: api.VolumeConnect})
		w.more(5)
		f.halt(w)
	}
	f.check(fmt.Sprintf("after step %d (%s)", i, names[k]))
}

// halt stops the load and remembers what the blocks must hold.
func (f *faults) halt(w *writer) {
	f.t.Helper()
	w.finish()
	f.remember(w)
}

func (f *faults) remember(w *writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for off, b := range w.acked {
		f.disk[off] = []byte{b}
	}
	for off, b := range w.tried {
		if len(f.disk[off]) == 0 {
			f.disk[off] = []byte{0}
		}
		f.disk[off] = append(f.disk[off], b)
	}
}

func (f *faults) switchover(w *writer) {
	f.l.whole()
	f.halt(w)
	f.primary.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	f.l.end(false)
	f.primary, f.other = f.other, f.primary
	f.l.promote(f.primary)
}

func (f *faults) failover(w *writer, power bool) {
	f.l.whole()
	f.l.lose(f.primary, power)
	w.abandon()
	f.remember(w)
	f.l.end(true)
	f.primary, f.other = f.other, f.primary
	f.l.promote(f.primary)
	f.check("promoted")
	f.l.back(f.other)
}

func (f *faults) coldStart(w *writer) {
	f.l.whole()
	f.l.lose(f.primary, true)
	f.l.lose(f.other, true)
	w.abandon()
	f.remember(w)
	f.l.end(true)
	if f.rng.IntN(2) == 0 && f.l.inU("a", "b") {
		f.primary, f.other = f.other, f.primary
	}
	f.l.back(f.primary)
	if f.rng.IntN(2) == 0 {
		f.l.back(f.other)
		f.l.promote(f.primary)
		return
	}
	f.l.promote(f.primary)
	f.l.back(f.other)
}

// check reads every block from the serving disk.
func (f *faults) check(when string) {
	f.t.Helper()
	for off, allowed := range f.disk {
		got := f.primary.read(off, 4096)
		ok := false
		for _, b := range allowed {
			if string(got) == string(fill(b, 4096)) {
				f.disk[off] = []byte{b} // a read settles it
				ok = true
				break
			}
		}
		if !ok {
			f.t.Fatalf("%s: %s: block at %d holds %x, allowed are %x", when, f.primary.name, off, got[0], allowed)
		}
	}
}
