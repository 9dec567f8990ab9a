package writepath

import (
	"slices"

	"holdfast/internal/block/metadata"
)

// spans is a set of ranges, kept as they came; neighbours that follow one another are joined.
type spans []Span

func (s *spans) add(r Span) {
	if n := len(*s); n > 0 {
		last := &(*s)[n-1]
		if r.Start >= last.Start && r.Start <= last.End {
			last.End = max(last.End, r.End)
			return
		}
	}
	*s = append(*s, r)
}

// overlap tells whether any of the ranges has a byte of r.
func (s spans) overlap(r Span) bool {
	return slices.ContainsFunc(s, func(x Span) bool { return x.Start < r.End && r.Start < x.End })
}

func (s *spans) reset() { *s = (*s)[:0] }

// markIn sets the bits of all ranges.
func (s spans) markIn(b *metadata.Bitmap) {
	for _, r := range s {
		b.SetBytes(r.Start, r.Len())
	}
}
