package volume

import (
	"encoding/binary"
	"slices"

	"holdfast/internal/block/kernel"
)

// What an application asks a world's Primary for, and how the answers are judged.

type worldRequest struct {
	kernel.Request
	host   *worldHost
	volume int
	block  int
	index  int         // of a write in its block's story
	before map[int]int // of a flush: the last write of each block that was acknowledged when it was submitted
	others map[int]int // the same of the other volume
	linked bool        // of a flush: both volumes were connected and in sync on both sides then
	ended  bool
}

// client has an application of the Primary, if there is one, write, flush or read.
func (w *seriesWorld) client() {
	for _, h := range w.hosts {
		if h.s == nil || !h.primary() || len(h.open) > 12 {
			continue
		}
		volume, b := w.rng.IntN(2), w.rng.IntN(worldBlocks)
		r := &worldRequest{host: h, volume: volume, block: b}
		switch n := w.rng.IntN(10); {
		case n < 6:
			w.next++
			data := make([]byte, 4096)
			binary.LittleEndian.PutUint64(data, w.next)
			r.Request = kernel.Request{Op: kernel.Write, Offset: int64(b) * worldStride, Length: 4096, Data: data}
			r.index = len(w.story[volume][b])
			if slices.ContainsFunc(h.open, func(o *worldRequest) bool { return o.Op == kernel.Write && o.volume == volume && o.block == b }) {
				return // two writes to a block at once may end in any order
			}
			w.story[volume][b] = append(w.story[volume][b], w.next)
			w.writes++
		case n < 9:
			r.Request = kernel.Request{Op: kernel.Flush}
			r.before, r.others = w.acknowledged(volume), w.acknowledged(1-volume)
			r.linked = h.synced() && w.hosts[1-h.index].s != nil && w.hosts[1-h.index].synced()
		default:
			r.Request = kernel.Request{Op: kernel.Read, Offset: int64(b) * worldStride, Length: 4096, Data: make([]byte, 4096)}
			r.index = w.acked[volume][b]
		}
		r.Owner = r
		h.open = append(h.open, r)
		h.s.On(volume).Submit(&r.Request)
		h.turn()
		return
	}
}

// acknowledged is the last acknowledged write of each block.
func (w *seriesWorld) acknowledged(volume int) map[int]int {
	m := map[int]int{}
	for b, i := range w.acked[volume] {
		m[b] = i
	}
	return m
}

// Complete judges an answer.
func (r *worldRequest) Complete(_ *kernel.Request, err error) {
	h, w := r.host, r.host.w
	if r.ended {
		return
	}
	r.ended = true
	h.open = slices.DeleteFunc(h.open, func(o *worldRequest) bool { return o == r })
	if err != nil {
		return
	}
	acked := &w.acked
	switch r.Op {
	case kernel.Write:
		acked[r.volume][r.block] = max(acked[r.volume][r.block], r.index)
	case kernel.Read:
		if i := w.indexOf(r.volume, r.block, r.Data); i < min(r.index, acked[r.volume][r.block]) {
			w.fail("volume %d block %d: read write %d after %d was acknowledged", r.volume, r.block, i, r.index)
		}
	case kernel.Flush:
		w.judgeFlush(r)
	}
}

// indexOf finds what a block holds in its story.
func (w *seriesWorld) indexOf(volume, b int, data []byte) int {
	i := slices.Index(w.story[volume][b], binary.LittleEndian.Uint64(data))
	if i < 0 {
		w.fail("volume %d block %d holds %x, which nobody wrote there", volume, b, data[:8])
	}
	return i
}

func (w *seriesWorld) judgeFlush(r *worldRequest) {
	durable := func(h *worldHost, volume int, want map[int]int, what string) {
		for b := range worldBlocks {
			if i := w.indexOf(volume, b, h.disks[volume].durable[b*worldStride:]); i < want[b] {
				w.fail("a flush of volume %d ended on %s, and write %d of volume %d block %d is not durable on %s (%s): %d is", r.volume, r.host.name, want[b], volume, b, h.name, what, i)
			}
		}
	}
	durable(r.host, r.volume, r.before, "the Primary")
	other := w.hosts[1-r.host.index]
	if r.linked && other.s != nil && r.host.synced() && other.synced() {
		w.linked++
		durable(other, r.volume, r.before, "the peer")
		durable(other, 1-r.volume, r.others, "the peer, of the other volume")
	}
	for b, i := range r.before {
		w.floor[r.volume][b] = max(w.floor[r.volume][b], i)
	}
}

// heal ends the faults; then the replicas are equal, and hold what they must.
func (w *seriesWorld) heal() {
	w.cut = false
	for _, h := range w.hosts {
		if h.s == nil {
			h.start()
		}
	}
	w.settleWorld()
	for _, volume := range both {
		for b := range worldBlocks {
			x, y := w.hosts[0].disks[volume].now[b*worldStride:][:8], w.hosts[1].disks[volume].now[b*worldStride:][:8]
			i, j := w.indexOf(volume, b, x), w.indexOf(volume, b, y)
			if i != j {
				w.fail("volume %d block %d: the replicas hold the writes %d and %d", volume, b, i, j)
			}
			if i < w.acked[volume][b] {
				w.fail("volume %d block %d holds write %d, %d was acknowledged", volume, b, i, w.acked[volume][b])
			}
		}
	}
}
