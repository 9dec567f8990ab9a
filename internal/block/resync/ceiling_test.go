package resync

import (
	"testing"
	"time"

	"holdfast/internal/block/metadata"
)

// moved is how much a resync moves in so long, asked every 10 ms, each block being there at once.
func moved(t *Target, now *time.Duration, in time.Duration) (bytes int64) {
	for end := *now + in; *now < end; *now += 10 * time.Millisecond {
		for {
			off, n, ok := t.Next(*now)
			if !ok {
				break
			}
			bytes += n
			t.Done(*now, off, n, true)
		}
	}
	return bytes
}

// TestCeiling: a bound holds over any second, can be changed and taken away while the resync runs, and a pause is not made up for.
func TestCeiling(t *testing.T) {
	const size, rate = 1 << 30, 10 << 20
	bits := metadata.NewBitmap(size)
	bits.Set(0, bits.Bits())
	target := NewTarget(bits, size)
	now := time.Hour
	target.SetRate(now, rate)
	for _, want := range []int64{rate, rate, rate} {
		if got := moved(target, &now, time.Second); got < want*8/10 || got > want*12/10 {
			t.Errorf("%d bytes in a second, the bound is %d", got, want)
		}
	}
	now += time.Minute
	if got := moved(target, &now, time.Second); got > rate*13/10 {
		t.Errorf("%d bytes in the second after a pause", got)
	}
	target.SetRate(now, 2*rate)
	if got := moved(target, &now, time.Second); got < rate*16/10 || got > rate*24/10 {
		t.Errorf("%d bytes in a second after the bound was doubled", got)
	}
	target.SetRate(now, 0)
	if moved(target, &now, time.Second); !target.Complete() {
		t.Error("not done without a bound")
	}
}
