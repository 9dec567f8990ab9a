// Package writepath is the life of a write, as a state machine: on the Primary (Core) admitted, logged in the activity log,
// sent, durable here, durable there, acknowledged; on the peer (Receiver) received, written, flushed, acknowledged. It also
// holds what a lost peer may lack. DESIGN's rules S2, S4 and S5 are kept here.
package writepath

// ID names an operation within a Core or a Receiver from its admission to its end; IDs are used again afterwards.
type ID uint32

// Block is the unit in which overlapping operations are kept apart, in bytes: the bitmap's.
const Block = 4096

// Span is a range of bytes, End exclusive.
type Span struct{ Start, End int64 }

// Len is the number of bytes.
func (s Span) Len() int64 { return s.End - s.Start }

func (s Span) overlaps(t Span) bool { return s.Start < t.End && t.Start < s.End }

// blocks widens the span to whole blocks.
func (s Span) blocks() Span {
	return Span{Start: s.Start / Block * Block, End: (s.End + Block - 1) / Block * Block}
}
