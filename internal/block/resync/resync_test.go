package resync

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/internal/block"
	"holdfast/internal/block/metadata"
)

const size = 64<<20 - 1536 // the last block is a part

func TestRequestsFollowTheBits(t *testing.T) {
	bits := metadata.NewBitmap(size)
	bits.Set(3, 2)
	bits.Set(255, 3) // across a boundary of 1 MiB
	bits.Set(bits.Bits()-1, 1)
	target := NewTarget(bits, size)
	want := [][2]int64{{3 * 4096, 8192}, {255 * 4096, 4096}, {256 * 4096, 8192}, {int64(bits.Bits()-1) * 4096, 4096 - 1536}}
	for _, w := range want {
		off, n, ok := target.Next(0)
		if !ok || off != w[0] || n != w[1] {
			t.Fatalf("got %d+%d %v, want %d+%d", off, n, ok, w[0], w[1])
		}
	}
	if _, _, ok := target.Next(0); ok || target.Complete() {
		t.Error("asks for more, or is complete, with everything in flight")
	}
	target.Done(0, want[0][0], want[0][1], false) // failed: asked for again
	for _, w := range want[1:] {
		target.Done(0, w[0], w[1], true)
	}
	off, n, ok := target.Next(0)
	if !ok || off != want[0][0] || n != want[0][1] {
		t.Fatalf("got %d+%d %v", off, n, ok)
	}
	target.Done(0, off, n, true)
	if !target.Complete() {
		t.Error("not complete")
	}
}

func TestApplicationHasPriority(t *testing.T) {
	ask := func(target *Target, now time.Duration) (sum int64) {
		for {
			_, n, ok := target.Next(now)
			if !ok {
				return sum
			}
			sum += n
		}
	}
	bits := metadata.NewBitmap(size)
	bits.Set(0, bits.Bits())
	idle := NewTarget(bits, size)
	if got := ask(idle, 0); got != block.ResyncWindow {
		t.Errorf("asks for %d when idle", got)
	}
	busy := NewTarget(bits, size)
	busy.Application(time.Second)
	if got := ask(busy, time.Second); got != block.ResyncBusyWindow {
		t.Errorf("asks for %d beside the application", got)
	}
	if got := ask(busy, time.Second+block.ResyncBusyFor); got != block.ResyncWindow-block.ResyncBusyWindow {
		t.Errorf("asks for %d more when the application is quiet again", got)
	}
}

// TestWindowFollowsTheRate: whatever the rate, what is in flight when the application begins is written soon, and a fast
// disk has more of it than a slow one.
func TestWindowFollowsTheRate(t *testing.T) {
	const big = 4 << 30
	for _, c := range []struct{ rate, least, most int64 }{
		{1 << 20, block.ResyncWindowLeast, block.ResyncWindowLeast + block.ResyncRequest},
		{100 << 20, 7 << 20, 9<<20 + block.ResyncRequest},
		{2 << 30, block.ResyncWindowMost, block.ResyncWindowMost + block.ResyncRequest},
	} {
		bits := metadata.NewBitmap(big)
		bits.Set(0, bits.Bits())
		target := NewTarget(bits, big)
		var now time.Duration
		var queue [][2]int64
		var inFlight int64
		for range 1500 {
			for {
				off, n, ok := target.Next(now)
				if !ok {
					break
				}
				queue, inFlight = append(queue, [2]int64{off, n}), inFlight+n
			}
			r := queue[0]
			queue, inFlight = queue[1:], inFlight-r[1]
			now += time.Duration(float64(r[1]) / float64(c.rate) * float64(time.Second))
			target.Done(now, r[0], r[1], true)
		}
		if inFlight+block.ResyncRequest < c.least || inFlight > c.most {
			t.Errorf("at %d bytes/s: %d in flight, want %d to %d", c.rate, inFlight, c.least, c.most)
		}
	}
}

func TestSourceServesTheApplicationFirst(t *testing.T) {
	s := NewSource()
	if !s.May(0, 20) {
		t.Error("holds back without an application")
	}
	s.Application(time.Second)
	if s.May(time.Second, 1) || !s.May(time.Second, 0) {
		t.Error("beside the application, one at a time")
	}
	if !s.May(time.Second+block.ResyncBusyFor, 20) {
		t.Error("holds back although the application is quiet again")
	}
}

func TestEveryBlockIsAskedForOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := metadata.NewBitmap(size)
		for range rapid.IntRange(0, 40).Draw(t, "runs") {
			bits.Set(rapid.Uint64Range(0, bits.Bits()-1).Draw(t, "first"), rapid.Uint64Range(1, 600).Draw(t, "n"))
		}
		want := bits.Count()
		target := NewTarget(bits, size)
		var got uint64
		for !target.Complete() {
			off, n, ok := target.Next(0)
			if !ok {
				t.Fatalf("nothing to ask for, %d bits left", bits.Count())
			}
			if n <= 0 || n > block.ResyncRequest || off%4096 != 0 || off+n > size {
				t.Fatalf("asks for %d+%d", off, n)
			}
			got += uint64((n + 4095) / 4096)
			target.Done(0, off, n, true)
		}
		if got != want {
			t.Fatalf("asked for %d blocks of %d", got, want)
		}
	})
}

func TestProgress(t *testing.T) {
	p := NewProgress(time.Second, 1000)
	for _, c := range []struct {
		at               time.Duration
		left             uint64
		percent          float64
		speed, avg, etas uint64
	}{
		{1 * time.Second, 1000, 0, 0, 0, 0},
		{2 * time.Second, 900, 10, 400, 400, 9},
		{3 * time.Second, 500, 50, 1000, 1000, 2},
		{13 * time.Second, 0, 100, 333, 333, 0},
	} {
		s := p.Status(c.at, c.left)
		if s.Percent != c.percent || s.SpeedKiB != c.speed || s.AverageKiB != c.avg || s.ETASeconds != c.etas || s.LeftKiB != c.left*4 {
			t.Errorf("at %v: %+v", c.at, *s)
		}
	}
	for i := range 30 { // the speed is that of the last seconds
		p.Status(time.Duration(20+i)*time.Second, 0)
	}
	if s := p.Status(60*time.Second, 0); s.SpeedKiB != 0 {
		t.Errorf("speed %d after a pause", s.SpeedKiB)
	}
	if s := NewProgress(0, 0).Status(0, 0); s.Percent != 100 {
		t.Errorf("an empty resync is at %v %%", s.Percent)
	}
}
