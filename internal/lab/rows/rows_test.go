package rows

import (
	"testing"
	"time"
)

func TestLongestGapLooksOnlyAtItsWindow(t *testing.T) {
	second := int64(time.Second)
	acks := []Ack{{1, 0}, {2, 10 * second}, {3, 11 * second}, {4, 14 * second}, {5, 15 * second}, {6, 40 * second}}
	g := LongestGap(acks, time.Unix(10, 1), time.Unix(16, 0))
	// The last gap begins within the window, so it belongs to it.
	if g.Length() != 25*time.Second {
		t.Errorf("longest gap %v, want 25s", g.Length())
	}
	g = LongestGap(acks, time.Unix(10, 1), time.Unix(14, 5e8))
	if g.Length() != 3*time.Second || g.From.Unix() != 11 {
		t.Errorf("longest gap %v from %v, want 3s from 11", g.Length(), g.From)
	}
	if g := LongestGap(nil, time.Unix(0, 0), time.Unix(9, 0)); g.Length() != 0 {
		t.Errorf("a gap without acknowledgements: %v", g)
	}
}
