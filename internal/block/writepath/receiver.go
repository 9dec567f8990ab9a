package writepath

// Receiver is the write path of the peer's writes on a Secondary, of all volumes of a connection: overlapping ones in the order
// they came, each answered when the disk has it, and each barrier when everything before it is flushed on every disk. Not safe
// for concurrent use.
type Receiver struct {
	ops    []received
	free   []ID
	ranges []Ranges // by part
	// epochs, oldest first; the last is open. first is the number of the oldest since the connection began.
	epochs   []epoch
	first    uint64
	flushing int // epochs covered by the flush under way
	out      []Effect
	spare    []Effect // from Reuse
}

type received struct {
	span   Span
	part   int
	epoch  uint64
	resync bool
}

type epoch struct {
	number uint32 // as the peer called it, when closed
	closed bool
	writes uint32
	active int
}

// NewReceiver makes the receiver of one connection.
func NewReceiver() *Receiver { return &Receiver{epochs: []epoch{{}}} }

// Effects returns what is to be done, in order, and forgets it.
func (r *Receiver) Effects() []Effect {
	if len(r.out) == 0 {
		return nil
	}
	out := r.out
	r.out, r.spare = r.spare, nil
	return out
}

// Reuse gives a slice from Effects back.
func (r *Receiver) Reuse(e []Effect) {
	if r.spare == nil {
		r.spare = e[:0]
	}
}

func (r *Receiver) emit(e Effect) { r.out = append(r.out, e) }

// Write is WriteTo of a connection with one volume.
func (r *Receiver) Write(s Span, resync bool) ID { return r.WriteTo(0, s, resync) }

// WriteTo takes in a write to a part: of the application, which belongs to the open epoch, or of the resync, which belongs to none.
func (r *Receiver) WriteTo(part int, s Span, resync bool) ID {
	var id ID
	if n := len(r.free); n > 0 {
		id, r.free = r.free[n-1], r.free[:n-1]
	} else {
		id = ID(len(r.ops))
		r.ops = append(r.ops, received{})
	}
	last := len(r.epochs) - 1
	r.ops[id] = received{span: s, part: part, resync: resync, epoch: r.first + uint64(last)}
	if !resync {
		r.epochs[last].writes++
		r.epochs[last].active++
	}
	for len(r.ranges) <= part {
		r.ranges = append(r.ranges, Ranges{})
	}
	if r.ranges[part].Acquire(id, s) {
		r.emit(Effect{Do: WriteLocal, ID: id})
	}
	return id
}

// Done tells how the disk took a write.
func (r *Receiver) Done(id ID, err error) {
	o := r.ops[id]
	r.emit(Effect{Do: Ack, ID: id, Err: err})
	for _, next := range r.ranges[o.part].Release(id) {
		r.emit(Effect{Do: WriteLocal, ID: next})
	}
	r.free = append(r.free, id)
	if o.resync {
		return
	}
	r.epochs[o.epoch-r.first].active--
	r.startFlush()
}

// Barrier closes the open epoch.
func (r *Receiver) Barrier(number uint32) {
	last := &r.epochs[len(r.epochs)-1]
	last.number, last.closed = number, true
	r.epochs = append(r.epochs, epoch{})
	r.startFlush()
}

// startFlush flushes once for all closed epochs, from the oldest, that have no write under way.
func (r *Receiver) startFlush() {
	if r.flushing > 0 {
		return
	}
	for _, e := range r.epochs {
		if !e.closed || e.active > 0 {
			break
		}
		r.flushing++
	}
	if r.flushing > 0 {
		r.emit(Effect{Do: FlushLocal})
	}
}

// Flushed tells how the flush ended. After an error no barrier is confirmed any more: the shell drops the disk.
func (r *Receiver) Flushed(err error) {
	if err != nil {
		return
	}
	for _, e := range r.epochs[:r.flushing] {
		r.emit(Effect{Do: AckBarrier, Number: e.number, Writes: e.writes})
	}
	r.epochs = append(r.epochs[:0], r.epochs[r.flushing:]...)
	r.first += uint64(r.flushing)
	r.flushing = 0
	r.startFlush()
}

// Busy is the number of writes not yet done.
func (r *Receiver) Busy() (n int) {
	for i := range r.ranges {
		n += r.ranges[i].Busy()
	}
	return n
}

// Span gives the range of a write.
func (r *Receiver) Span(id ID) Span { return r.ops[id].span }

// IsResync tells whether a write came from the resync.
func (r *Receiver) IsResync(id ID) bool { return r.ops[id].resync }
