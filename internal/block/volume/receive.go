package volume

import (
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
)

// runReceiver carries out what the receiver wants.
func (r *resource) runReceiver() bool {
	in := r.line.receiver
	if in == nil {
		return false
	}
	list := in.Effects()
	for i := range list {
		r.receiverEffect(&list[i])
	}
	in.Reuse(list)
	return len(list) > 0
}

func (r *resource) receiverEffect(f *writepath.Effect) {
	switch f.Do {
	case writepath.WriteLocal:
		j := r.line.received[f.ID]
		j.begun = true
		r.line.peerJobs++
		if j.work != doRead {
			j.part.stats.written += uint64(j.length)
		}
		j.part.carry(j)
	case writepath.FlushLocal:
		r.flushAll()
	case writepath.AckBarrier:
		replica.SendMeta(r.line.link, 0, wire.BarrierAck, wire.BarrierInfo{Number: f.Number, Writes: f.Writes})
	}
}

// flushAll makes durable what the peer has written, on each disk that has any of it. One volume's alone is flushed whatever it has:
// an empty flush tells whether the disk still works.
func (r *resource) flushAll() {
	for _, e := range r.parts {
		switch {
		case r.several() && !e.unflushed:
			continue
		case e.store == nil: // what it had taken may be lost
			r.line.flushErr = errDiskFailed
			continue
		}
		e.unflushed = false
		r.line.flushes++
		j := r.jobs.get()
		j.work, j.purpose, j.dev, j.link = doFlush, forPeerSync, e.store.data, r.line.link
		e.carry(j)
	}
	if r.line.flushes == 0 {
		r.line.receiver.Flushed(r.line.flushErr)
	}
}

// peerFlushed: a disk has been flushed, or not; the receiver is told of all together.
func (r *resource) peerFlushed(j *job) {
	if j.link != r.line.link || r.line.receiver == nil {
		return
	}
	if j.err != nil {
		r.line.flushErr = j.err
	}
	if r.line.flushes--; r.line.flushes == 0 {
		r.line.receiver.Flushed(r.line.flushErr)
	}
}

// forgetReceived: with the connection gone, what waits for the peer's writes is not carried out, and holds nothing any more.
func (r *resource) forgetReceived() {
	for _, j := range r.line.received {
		switch {
		case j == nil || j.begun:
		case j.verify != nil:
			j.verify.reading = false
		case j.resync != nil:
			j.resync.reading = false
		}
	}
	r.line.received = r.line.received[:0]
}
