package sim

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"
)

// defaultUnboundSeeds is what TestUnbound runs when no flag says more.
const defaultUnboundSeeds = 24

// TestUnbound runs seeds of a pair without a cluster.
func TestUnbound(t *testing.T) {
	if *seedFlag != 0 {
		oneUnbound(t, *seedFlag)
		return
	}
	n := *seedsFlag
	if n == 0 && *totalFlag == 0 {
		n = defaultUnboundSeeds
	}
	manyUnbound(t, n)
}

func unboundOptions() UnboundOptions { return UnboundOptions{Setting: Setting{Size: *sizeFlag}} }

// oneUnbound runs a seed twice: the second run must be the first, event by event.
func oneUnbound(t *testing.T, seed uint64) {
	opts := unboundOptions()
	if testing.Verbose() {
		opts.Log = slog.NewTextHandler(os.Stdout, nil)
	}
	hash, stats, err := UnboundSeed(seed, *eventsFlag, opts)
	t.Logf("seed %d: %+v, trace %016x", seed, stats, hash)
	if again, _, _ := UnboundSeed(seed, *eventsFlag, unboundOptions()); again != hash {
		t.Errorf("the second run of seed %d has trace %016x, the first %016x", seed, again, hash)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func manyUnbound(t *testing.T, n int) {
	var total UnboundStats
	bad, done := 0, 0
	next := time.Now().Add(*reportFlag)
	seed := *firstFlag
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "seed %d panicked\n", seed)
			panic(p)
		}
	}()
	for ; (n == 0 || done < n) && (*totalFlag == 0 || total.Events < *totalFlag) && bad < 10; seed++ {
		hash, stats, err := UnboundSeed(seed, *eventsFlag, unboundOptions())
		total.add(stats)
		done++
		if err != nil {
			bad++
			t.Errorf("go test ./internal/sim -run TestUnbound -seed=%d -events=%d\n%v", seed, *eventsFlag, err)
			fmt.Fprintf(os.Stderr, "seed %d failed\n", seed) // what testing tells, it tells at the end
		}
		if *twiceFlag || done%16 == 1 {
			if again, _, _ := UnboundSeed(seed, *eventsFlag, unboundOptions()); again != hash {
				t.Errorf("seed %d has another trace when it is run again", seed)
			}
		}
		if time.Now().After(next) {
			next = time.Now().Add(*reportFlag)
			fmt.Fprintf(os.Stderr, "%s: %d seeds, %+v, %d failed\n", time.Now().Format(time.TimeOnly), done, total, bad)
		}
	}
	t.Logf("%d seeds from %d: %+v", done, *firstFlag, total)
	if total.Acked == 0 || total.Promotions == 0 || total.Resyncs == 0 || total.Equal == 0 {
		t.Errorf("nothing was tested: %+v", total)
	}
}

func (s *UnboundStats) add(o UnboundStats) {
	s.Stats.add(o.Stats)
	s.Verbs += o.Verbs
	s.Refused += o.Refused
	s.Resyncs += o.Resyncs
	s.Splits += o.Splits
	s.Settled += o.Settled
	s.Verifies += o.Verifies
	s.Found += o.Found
	s.Resizes += o.Resizes
	s.Errors += o.Errors
	s.Equal += o.Equal
}
