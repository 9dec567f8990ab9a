package volume

import (
	"bytes"
	"fmt"
	"hash"
	"time"

	"holdfast/internal/block"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
)

// Resync with digests (csums-alg): the target says what it has, and gets only what differs.

// csumsToUse is the digest for a resync that begins; nil for none.
func (e *engine) csumsToUse() hash.Hash {
	net := e.cfg.Resource.Net()
	name := net.Text("csums-alg", "")
	if name == "" || net.Bool("csums-after-crash-only", false) && !e.machine.AfterCrash() {
		return nil
	}
	alg, err := wire.Digest(name)
	if err != nil {
		e.log.Warn("resync without digests", "err", fmt.Errorf("csums-alg: %w", err))
		return nil
	}
	return alg()
}

// sameDigest compares the peer's digest with that of our content.
func (e *engine) sameDigest(theirs, data []byte) bool {
	alg, err := wire.Digest(e.cfg.Resource.Net().Text("csums-alg", ""))
	return err == nil && bytes.Equal(sum(alg(), data), theirs)
}

func sum(h hash.Hash, data []byte) []byte {
	h.Reset()
	h.Write(data)
	return h.Sum(nil)
}

// askWithCsum reads what is here first.
func (e *engine) askWithCsum(off, n int64) {
	j := e.jobs.get()
	j.work, j.purpose, j.dev, j.off, j.length, j.link = doRead, forCsum, e.store.data, off, n, e.conn.link
	j.buffer = e.pool.Get(int(n))
	j.data = j.buffer.B
	e.conn.peerJobs++
	e.carry(j)
}

// digestPacket is a request followed by a digest.
type digestPacket struct {
	wire.BlockRequest
	digest []byte
}

// Len is the encoded length in bytes.
func (p digestPacket) Len() int { return p.BlockRequest.Len() + len(p.digest) }

// AppendTo appends the encoding.
func (p digestPacket) AppendTo(dst []byte) []byte {
	return append(p.BlockRequest.AppendTo(dst), p.digest...)
}

// csumRead sends the request with the digest of what was read.
func (e *engine) csumRead(j *job) {
	e.conn.peerJobs--
	defer j.buffer.Release()
	if j.link != e.conn.link || e.conn.closing || j.err != nil || e.sync.csums == nil {
		return
	}
	req := wire.BlockRequest{Sector: uint64(j.off / 512), BlockID: wire.IDSyncer, Bytes: uint32(j.length)}
	replica.Send(j.link, e.vnr(), wire.CsumRSRequest, digestPacket{req, sum(e.sync.csums, j.data)}, nil, nil)
}

// onInSync: the source has the same content.
func (e *engine) onInSync(p *packet) error {
	s, err := e.span(p.ack.Sector, int64(p.ack.Bytes), block.MaxIO)
	if err != nil {
		return err
	}
	if e.sync.target == nil {
		return fmt.Errorf("this node is %s", e.machine.Conn())
	}
	e.sync.target.Done(time.Duration(e.now()), s.Start, s.Len(), true)
	e.unlockTarget(s.Start)
	e.pumpTarget()
	return nil
}
