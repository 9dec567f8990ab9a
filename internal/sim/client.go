package sim

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/anishathalye/porcupine"

	"holdfast/internal/block/kernel"
)

// op is one operation of a client on the device of one host.
type op struct {
	w      *World
	client *client
	host   *host
	kind   kernel.Op
	fua    bool
	block  int
	value  uint64 // of a write

	invoked  instant
	seq      uint64 // of the write in its block's history; of a read, the oldest it may return
	flushed  []uint64
	inside   bool    // the engine has it
	served   bool    // without a cluster: the peer's disk could have served it when the engine got it
	leaned   bool    // the same: there was no disk here
	linked   int     // the connection at that time
	strand   *strand // of the engine that had it last
	read     []byte
	done     bool
	judged   bool // completed by the engine without an error
	returned instant
}

// client issues one operation after the other on one host's device, whatever that host believes to be.
type client struct {
	w    *World
	id   int
	host *host
	owes bool // its last operation was a write that it has not flushed
}

// startClients puts n clients on each data host.
func (w *World) startClients(n int) {
	for _, h := range w.data {
		for range n {
			c := &client{w: w, id: len(w.clients), host: h}
			w.clients = append(w.clients, c)
			c.rest(10 * time.Millisecond)
		}
	}
}

func (c *client) rest(most time.Duration) {
	c.w.after(c.w.between(100*time.Microsecond, most), "client", c.next)
}

// next issues an operation.
func (c *client) next() {
	w := c.w
	if w.halted || !c.host.up || c.host.frozen {
		c.rest(200 * time.Millisecond)
		return
	}
	if c.owes && w.durably && !w.chance(8) {
		c.issue(&op{kind: kernel.Flush})
		return
	}
	block := w.model.places[w.rng.IntN(len(w.model.places))]
	k := w.rng.IntN(20)
	if w.opts.Plain {
		k %= 18
	}
	switch {
	case k < 10:
		w.values++
		c.issue(&op{kind: kernel.Write, block: block, value: w.values, fua: !w.opts.Plain && (w.model.fuaOnly(block) || w.chance(6))})
	case k < 18:
		c.issue(&op{kind: kernel.Read, block: block})
	default:
		c.issue(&op{kind: kernel.Flush})
	}
}

func (c *client) issue(o *op) {
	o.w, o.client, o.host, o.invoked = c.w, c, c.host, c.w.now
	c.owes = o.kind == kernel.Write && !o.fua
	c.host.kernel.submit(o)
}

func (o *op) buffer() []byte {
	p := make([]byte, pageSize)
	if o.kind == kernel.Write {
		for s := range 8 {
			binary.LittleEndian.PutUint64(p[s*512:], o.value)
		}
	} else {
		o.read = p
	}
	return p
}

// refused: there is no device.
func (o *op) refused() {
	o.done = true
	if o.client.id < 0 {
		return
	}
	o.client.rest(300 * time.Millisecond)
}

// entered: the engine gets the operation now, perhaps again.
func (o *op) entered() {
	if u := o.w.unbound; u != nil {
		u.entered(o)
		return
	}
	o.strand = o.w.strandAt(o.host)
	m := o.strand.model
	o.inside = true
	switch o.kind {
	case kernel.Write:
		o.seq = m.blocks[o.block].begin(o.value)
		o.w.strayWrite(o)
		if o.done { // the device was aborted, and a process that stood still takes what it had read of it
			o.strand.model.recordUnknown(o)
			o.w.strayRecord(o)
		}
	case kernel.Read:
		o.seq = m.blocks[o.block].floor
	case kernel.Flush:
		o.flushed = m.acknowledged(o.flushed)
	}
}

// end is the answer the client gets; errAborted also stands for a client that was killed.
func (o *op) end(err error) {
	if o.done {
		return
	}
	o.done, o.returned = true, o.w.now
	if u := o.w.unbound; u != nil {
		u.record(o, err)
	} else if o.strand != nil {
		o.strand.model.record(o, err)
		o.w.strayRecord(o)
	}
	if o.client.id >= 0 {
		most := 20 * time.Millisecond
		if err != nil {
			most = 300 * time.Millisecond
		}
		o.client.rest(most)
	}
}

// history for porcupine: reads and writes of the blocks that are only written durably, so that no loss of power takes
// anything back.
type history struct{ ops []porcupine.Operation }

type registerInput struct {
	write bool
	block int
	value uint64
}

const forever = int64(1) << 62

func (m *model) record(o *op, err error) {
	switch {
	case o.kind == kernel.Flush || !m.fuaOnly(o.block) || !o.inside || len(m.history.ops) >= m.historyLimit:
		return
	case o.kind == kernel.Write && err == nil:
		m.history.add(o, registerInput{true, o.block, o.value}, 0, int64(o.returned))
	case o.kind == kernel.Write && !errors.Is(err, errNeverRan):
		m.history.add(o, registerInput{true, o.block, o.value}, 0, forever)
	case o.kind == kernel.Read && err == nil && !m.early(o):
		m.history.add(o, registerInput{false, o.block, 0}, page(o.read).sectors()[0], int64(o.returned))
	}
}

// recordUnknown notes a write whose outcome nobody will learn in this branch of the log.
func (m *model) recordUnknown(o *op) {
	if o.kind == kernel.Write && m.fuaOnly(o.block) && o.inside && len(m.history.ops) < m.historyLimit {
		m.history.add(o, registerInput{true, o.block, o.value}, 0, forever)
	}
}

// early tells that a read has returned a write that was still under way, which a failover may take back: reads are local,
// as DRBD's are (docs/SAFETY.md).
func (m *model) early(o *op) bool {
	b := m.blocks[o.block]
	seq, ok := b.at(page(o.read).sectors()[0], b.safe)
	return ok && seq > b.floor
}

func (h *history) add(o *op, in registerInput, out uint64, end int64) {
	h.ops = append(h.ops, porcupine.Operation{ClientId: len(h.ops), Input: in, Call: int64(o.invoked), Output: out, Return: end})
}

// seen leaves out the writes of unknown outcome that nobody has read: they may as well come after everything else.
func (h *history) seen() []porcupine.Operation {
	read := map[uint64]bool{}
	for _, o := range h.ops {
		if !o.Input.(registerInput).write {
			read[o.Output.(uint64)] = true
		}
	}
	var out []porcupine.Operation
	for _, o := range h.ops {
		if in := o.Input.(registerInput); !in.write || o.Return != forever || read[in.value] {
			out = append(out, o)
		}
	}
	return out
}

// errNeverRan marks a write that certainly had no effect.
var errNeverRan = errors.New("refused before it was begun")

// registers is the model of TESTING: each block is a register.
func registers() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byBlock := map[int][]porcupine.Operation{}
			var order []int
			for _, o := range all {
				b := o.Input.(registerInput).block
				if byBlock[b] == nil {
					order = append(order, b)
				}
				byBlock[b] = append(byBlock[b], o)
			}
			var parts [][]porcupine.Operation
			for _, b := range order {
				parts = append(parts, byBlock[b])
			}
			return parts
		},
		Init: func() any { return uint64(0) },
		Step: func(state, input, output any) (bool, any) {
			in := input.(registerInput)
			if in.write {
				return true, in.value
			}
			return output.(uint64) == state.(uint64), state
		},
	}
}

// linearizable judges the history of the blocks that are only written durably, once the run is over.
func (w *World) linearizable(limit time.Duration) {
	ops := w.model.history.seen()
	if !w.clocks || len(ops) == 0 {
		return // S7: reads are promised to be fresh while clocks run through pauses
	}
	switch porcupine.CheckOperationsTimeout(registers(), ops, limit) {
	case porcupine.Illegal:
		w.fail("linearizable", "the clients' history of %d operations is not linearizable", len(ops))
	case porcupine.Unknown:
		w.fail("linearizable", "the clients' history of %d operations could not be judged in %v", len(ops), limit)
	}
}
