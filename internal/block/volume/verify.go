package volume

import (
	"bytes"
	"fmt"
	"hash"
	"maps"
	"slices"

	"holdfast/internal/block"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/resync"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
	"holdfast/internal/planted"
)

// Online verify. The side that began it asks for the digest of one range after the other (VerifyS), the other answers
// (VerifyT); both mark what differs. A range is locked against the application's writes, on the side that is Primary, from
// before the request leaves or is read until the result is known.

// verifyState is the comparison under way.
type verifyState struct {
	alg    hash.Hash // nil when none is under way
	cursor int64     // where the next request begins
	reads  map[int64]*verifyRead
	differ int64 // bytes found different
	// again are pieces of ranges that differ, asked for one block at a time: what is equal in them is not marked.
	again []writepath.Span
}

// verifyRead is a range being compared.
type verifyRead struct {
	lock    writepath.ID
	span    writepath.Span
	locked  bool
	reading bool
	dead    bool
	theirs  []byte // digest of the peer's content, on the asking side
}

// startVerify begins this side's part.
func (e *engine) startVerify() {
	alg, err := wire.Digest(e.cfg.Resource.Net().Text("verify-alg", ""))
	if err != nil {
		e.closeLink(fmt.Sprintf("online verify: verify-alg: %v", err))
		return
	}
	e.check = verifyState{alg: alg(), reads: map[int64]*verifyRead{}}
	e.sync.progress = resync.NewProgress(e.env().Now, e.store.bits.Bits())
	e.pumpVerify()
}

// endVerify forgets the comparison.
func (e *engine) endVerify() {
	if e.check.alg == nil {
		return
	}
	for _, at := range slices.Sorted(maps.Keys(e.check.reads)) {
		r := e.check.reads[at]
		r.dead = true
		if !r.reading && e.path != nil {
			e.path.Unlock(r.lock)
		}
	}
	if e.check.differ > 0 {
		e.log.Warn("online verify found blocks that differ: disconnect and connect to resync them", "bytes", e.check.differ)
	}
	e.check = verifyState{}
	e.sync.progress = nil
}

// verifyLeft is what is not compared yet, in bits.
func (e *engine) verifyLeft() uint64 {
	return uint64((e.store.size-e.check.cursor)/4096) + uint64(len(e.check.reads))*block.VerifyRequest/4096
}

func (e *engine) lockVerify(s writepath.Span) {
	r := &verifyRead{span: s}
	e.check.reads[s.Start] = r
	r.lock = e.path.Admit(writepath.Op{Kind: writepath.Lock, Span: s})
}

// pumpVerify asks for as much as the window allows, and ends the comparison after the last result.
func (e *engine) pumpVerify() {
	if e.check.alg == nil || e.machine.Conn() != wire.VerifyS || e.conn.link == nil || e.conn.closing {
		return
	}
	for len(e.check.reads) < block.VerifyWindow {
		s, more := e.nextToVerify()
		if !more {
			break
		}
		e.lockVerify(s)
	}
	if len(e.check.reads) == 0 {
		e.machine.VerifyDone(e.env())
	}
}

// nextToVerify is the next range to ask for; false if there is none.
func (e *engine) nextToVerify() (s writepath.Span, ok bool) {
	v := &e.check
	switch {
	case len(v.again) > 0:
		s, v.again = v.again[0], v.again[1:]
	case v.cursor < e.store.size:
		s = writepath.Span{Start: v.cursor, End: min(v.cursor+block.VerifyRequest, e.store.size)}
		v.cursor = s.End
	default:
		return s, false
	}
	return s, true
}

// refine has a range that differs compared again block by block, and tells whether it does. A kernel module counts results.
func (e *engine) refine(s writepath.Span) bool {
	if s.Len() <= metadata.BytesPerBit || e.foreign() {
		return false
	}
	for at := s.Start; at < s.End; at += metadata.BytesPerBit {
		e.check.again = append(e.check.again, writepath.Span{Start: at, End: min(at+metadata.BytesPerBit, s.End)})
	}
	return true
}

// verifyLocked: no write of the application is under way on the range.
func (e *engine) verifyLocked(id writepath.ID) bool {
	for _, r := range e.check.reads {
		if r.lock != id || r.locked {
			continue
		}
		r.locked = true
		if e.machine.Conn() == wire.VerifyT {
			e.readVerify(r)
			return true
		}
		if l := e.conn.link; l != nil && !e.conn.closing {
			replica.Send(l, e.vnr(), wire.OVRequest, wire.BlockRequest{Sector: uint64(r.span.Start / 512), BlockID: wire.IDSyncer, Bytes: uint32(r.span.Len())}, nil, nil)
		}
		return true
	}
	return false
}

// readVerify reads the range behind the peer's writes that overlap it.
func (e *engine) readVerify(r *verifyRead) {
	j := e.jobs.get()
	j.work, j.purpose, j.dev, j.off, j.length, j.link, j.verify = doRead, forVerify, e.store.data, r.span.Start, r.span.Len(), e.conn.link, r
	j.buffer = e.pool.Get(int(r.span.Len()))
	j.data = j.buffer.B
	r.reading = true
	e.queueReceived(j, r.span, true)
}

// verifyRead has what is here: the digest is sent, or compared.
func (e *engine) verifyRead(j *job) {
	r := j.verify
	r.reading = false
	e.readBehindWrites(j)
	defer j.buffer.Release()
	if r.dead {
		if e.path != nil {
			e.path.Unlock(r.lock)
		}
		return
	}
	if e.conn.link == nil || e.conn.closing || j.err != nil {
		return // the connection's end, or the disk's, gives the range back
	}
	at := wire.BlockRequest{Sector: uint64(r.span.Start / 512), BlockID: wire.IDSyncer, Bytes: uint32(r.span.Len())}
	mine := sum(e.check.alg, j.data)
	if e.machine.Conn() == wire.VerifyT {
		replica.Send(e.conn.link, e.vnr(), wire.OVReply, digestPacket{at, mine}, nil, nil)
		return
	}
	result := uint64(wire.IDInSync)
	if !bytes.Equal(mine, r.theirs) && !e.refine(r.span) {
		result = wire.IDOutOfSync
	}
	replica.SendMeta(e.conn.link, e.vnr(), wire.OVResult, wire.BlockAck{Sector: at.Sector, BlockID: result, Bytes: at.Bytes})
	e.verified(r, result == wire.IDOutOfSync)
	e.pumpVerify()
}

// verified notes the result of a range.
func (e *engine) verified(r *verifyRead, differs bool) {
	if differs && !planted.VerifyIgnores {
		e.store.bits.SetBytes(r.span.Start, r.span.Len())
		e.check.differ += r.span.Len()
	}
	delete(e.check.reads, r.span.Start)
	e.path.Unlock(r.lock)
}

// onVerifyRequest: the peer wants the digest of a range.
func (e *engine) onVerifyRequest(p *packet) error {
	s, err := e.span(p.ack.Sector, int64(p.ack.Bytes), block.MaxIO)
	switch {
	case err != nil:
		return err
	case e.machine.Conn() != wire.VerifyT || e.check.alg == nil:
		return fmt.Errorf("this node is %s", e.machine.Conn())
	case len(e.check.reads) >= block.MaxPeerRequests || !e.verifiedAgain(s):
		return fmt.Errorf("more than %d ranges at once, or one twice", block.MaxPeerRequests)
	}
	e.check.cursor = max(e.check.cursor, s.End)
	e.lockVerify(s)
	return nil
}

// verifiedAgain makes room for a range that begins where another does: a part of one that differed, whose result is still on
// its way on the other connection. It returns false if that one has not been answered.
func (e *engine) verifiedAgain(s writepath.Span) bool {
	r := e.check.reads[s.Start]
	if r == nil {
		return true
	}
	if r.reading || !r.locked || r.span.Len() <= s.Len() {
		return false
	}
	e.verified(r, false)
	return true
}

// onVerifyReply: the digest of the peer's content.
func (e *engine) onVerifyReply(p *packet) error {
	r := e.check.reads[int64(p.ack.Sector)*512]
	if e.machine.Conn() != wire.VerifyS || r == nil || !r.locked || r.theirs != nil || r.span.Len() != int64(p.ack.Bytes) {
		return fmt.Errorf("sector %d was not asked for", p.ack.Sector)
	}
	r.theirs = p.body
	e.readVerify(r)
	return nil
}

// onVerifyResult: the peer has compared. It may come after the end was announced.
func (e *engine) onVerifyResult(p *packet) error {
	r := e.check.reads[int64(p.ack.Sector)*512]
	if e.check.alg == nil || r == nil || r.reading || r.span.Len() != int64(p.ack.Bytes) {
		return nil
	}
	e.verified(r, p.ack.BlockID == wire.IDOutOfSync)
	return nil
}
