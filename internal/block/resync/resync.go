// Package resync decides which blocks a resync asks for next, how much at once, and shows its progress. It holds no bits of
// its own: the bitmap of blocks out of sync is the work left.
package resync

import (
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/metadata"
)

// Target asks for blocks, in the order of the bitmap, on the side that receives them.
type Target struct {
	bits     *metadata.Bitmap
	size     int64
	cursor   uint64
	inFlight int64
	lastPeer time.Duration // when the application's last request came
	failed   bool
	limit    ceiling

	idle   int64         // the window while the application is quiet
	moved  int64         // bytes written since
	marked time.Duration // this time
}

// NewTarget starts a resync of all bits set, of a volume of size bytes.
func NewTarget(bits *metadata.Bitmap, size int64) *Target {
	return &Target{bits: bits, size: size, lastPeer: -block.ResyncBusyFor, idle: block.ResyncWindow}
}

// Application tells that a request of the application came in: it has priority for a while.
func (t *Target) Application(now time.Duration) { t.lastPeer = now }

func (t *Target) window(now time.Duration) int64 {
	if now-t.lastPeer < block.ResyncBusyFor {
		return block.ResyncBusyWindow
	}
	return t.idle
}

// measure sets the idle window to what is written in block.ResyncYield: the window is full enough for the disks and the
// link to be busy, and when the application begins, what was asked for is done within that time.
func (t *Target) measure(now time.Duration, bytes int64) {
	if t.moved == 0 && t.inFlight == bytes || now < t.marked {
		t.marked = now // the first after a pause says nothing about the rate
	}
	t.moved += bytes
	if now-t.marked < block.ResyncYield {
		return
	}
	window := int64(float64(t.moved) / float64(now-t.marked) * float64(block.ResyncYield))
	t.idle = min(max(window, t.idle/2, block.ResyncWindowLeast), t.idle*2, block.ResyncWindowMost)
	t.moved, t.marked = 0, now
}

// Next gives the next range to ask for, in bytes; false if nothing is to be asked now. The range counts as in flight until
// Done.
func (t *Target) Next(now time.Duration) (offset, length int64, ok bool) {
	if t.inFlight >= t.window(now) || !t.limit.open(now) {
		return 0, 0, false
	}
	first, ok := t.bits.NextSet(t.cursor)
	if !ok {
		if t.inFlight > 0 || t.bits.Count() == 0 {
			return 0, 0, false
		}
		t.cursor = 0 // what failed, or was set behind the cursor
		if first, ok = t.bits.NextSet(0); !ok {
			return 0, 0, false
		}
	}
	const most = block.ResyncRequest / metadata.BytesPerBit
	end := (first/most + 1) * most
	if clear, found := t.bits.NextClear(first); found && clear < end {
		end = clear
	}
	end = min(end, t.bits.Bits())
	t.cursor = end
	offset = int64(first) * metadata.BytesPerBit
	length = min(int64(end)*metadata.BytesPerBit, t.size) - offset
	t.inFlight += length
	t.limit.take(length)
	return offset, length, true
}

// Done tells that a range asked for has been written, or failed; written ones are in sync now.
func (t *Target) Done(now time.Duration, offset, length int64, ok bool) {
	t.measure(now, length)
	t.inFlight -= length
	if ok {
		t.bits.ClearBytes(offset, length, t.size)
		return
	}
	t.failed = true
}

// Complete tells that no block is left and none is under way.
func (t *Target) Complete() bool { return t.inFlight == 0 && t.bits.Count() == 0 }

// Source says how many of the target's requests the source serves at a time: the application comes first, also with reads,
// of which the target knows nothing.
type Source struct{ last time.Duration }

// NewSource starts without an application.
func NewSource() Source { return Source{last: -block.ResyncBusyFor} }

// Application tells that a request of the application came in.
func (s *Source) Application(now time.Duration) { s.last = now }

// May tells whether one more may be served beside so many.
func (s *Source) May(now time.Duration, serving int) bool {
	return serving == 0 || now-s.last >= block.ResyncBusyFor
}

// Progress measures a resync on either side.
type Progress struct {
	total uint64 // bits
	begun time.Duration
	marks []mark
}

type mark struct {
	at   time.Duration
	left uint64
}

// NewProgress starts measuring with so many bits to go.
func NewProgress(now time.Duration, bits uint64) *Progress {
	return &Progress{total: bits, begun: now, marks: []mark{{at: now, left: bits}}}
}

// Status tells how far the resync is, with so many bits to go.
func (p *Progress) Status(now time.Duration, left uint64) *api.ResyncStatus {
	p.total = max(p.total, left)
	if last := p.marks[len(p.marks)-1]; now-last.at >= block.ResyncMarkEvery {
		p.marks = append(p.marks, mark{at: now, left: left})
		if len(p.marks) > block.ResyncMarks {
			p.marks = p.marks[1:]
		}
	}
	s := &api.ResyncStatus{LeftKiB: left * 4, TotalKiB: p.total * 4, Percent: 100}
	if p.total > 0 {
		s.Percent = 100 * float64(p.total-left) / float64(p.total)
	}
	s.SpeedKiB = rate(p.marks[0].left, left, now-p.marks[0].at)
	s.AverageKiB = rate(p.total, left, now-p.begun)
	if s.SpeedKiB > 0 {
		s.ETASeconds = s.LeftKiB / s.SpeedKiB
	}
	return s
}

func rate(from, to uint64, in time.Duration) uint64 {
	if in <= 0 || to > from {
		return 0
	}
	return uint64(float64((from-to)*4) / in.Seconds())
}
