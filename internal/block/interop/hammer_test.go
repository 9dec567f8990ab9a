package interop

import (
	"math/rand"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/block/kernel"
)

// long tells whether the long versions are asked for.
func long() bool { return os.Getenv(wantedEnv) == "full" }

// writing is how long an application writes.
func writing() time.Duration {
	if long() {
		return 15 * time.Second
	}
	return 3 * time.Second
}

// minute is writing where a minute of it is promised, in the long version.
func minute() time.Duration {
	if long() {
		return time.Minute
	}
	return writing()
}

// hammer does on holdfast's side what testdata/hammer does in the machine.
func (n *node) hammer(d time.Duration, discard bool) {
	n.t.Helper()
	until, size := time.Now().Add(d), n.size()
	var all sync.WaitGroup
	var done atomic.Int64
	for i := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			h := &hammerer{n: n, rng: rand.New(rand.NewSource(time.Now().UnixNano() + int64(i))), size: size, discard: discard}
			for time.Now().Before(until) && !n.t.Failed() {
				h.step()
				done.Add(1)
			}
		}()
	}
	all.Wait()
	if n.t.Failed() {
		n.t.FailNow()
	}
	n.flush()
	n.t.Log(done.Load(), "requests")
}

type hammerer struct {
	n       *node
	rng     *rand.Rand
	size    int64
	discard bool
}

func (h *hammerer) step() {
	const sector, most = 512, 1 << 20
	length := int64(1+h.rng.Intn(16)) * sector
	switch h.rng.Intn(8) {
	case 0:
		length = int64(1+h.rng.Intn(most/sector)) * sector
	case 1, 2:
		length = 4096
	}
	off := h.rng.Int63n((h.size-length)/sector+1) * sector
	op, data := kernel.Write, []byte(nil)
	if h.discard && h.rng.Intn(10) == 0 {
		op = []kernel.Op{kernel.Discard, kernel.WriteZeroes}[h.rng.Intn(2)]
	} else {
		data = aligned(int(length))
		h.rng.Read(data)
	}
	r := h.n.submit(op, off, data, length)
	r.FUA = h.rng.Intn(20) == 0
	h.await(r)
	if h.rng.Intn(20) == 0 {
		h.await(h.n.submit(kernel.Flush, 0, nil, 0))
	}
}

// await is node.wait for a goroutine of the test.
func (h *hammerer) await(r *ioRequest) {
	select {
	case <-r.done:
		if r.err != nil {
			h.n.t.Errorf("request at %d: %v", r.Offset, r.err)
		}
	case <-time.After(patience):
		h.n.t.Errorf("request at %d of %d bytes not answered; status %+v", r.Offset, r.Length, h.n.last())
	}
}
