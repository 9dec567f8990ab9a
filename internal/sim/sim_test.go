package sim

import (
	"flag"
	"log/slog"
	"os"
	"testing"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "run this seed alone, and log what happens with -v")
	seedsFlag  = flag.Int("seeds", 0, "how many seeds to run")
	firstFlag  = flag.Uint64("first", 1, "the first seed")
	eventsFlag = flag.Uint64("events", 1000, "events of each seed's safety phase")
)

func TestSim(t *testing.T) {
	if *seedFlag != 0 {
		var opts Options
		if testing.Verbose() {
			opts.Log = slog.NewTextHandler(os.Stdout, nil)
		}
		r := Seed(*seedFlag, *eventsFlag, opts)
		t.Logf("%+v hash %x", r.Stats, r.Hash)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return
	}
	var total Stats
	n := *seedsFlag
	if n == 0 {
		n = 20
	}
	bad := 0
	for i := range n {
		seed := *firstFlag + uint64(i)
		r := Seed(seed, *eventsFlag, Options{})
		total.Events += r.Stats.Events
		total.Acked += r.Stats.Acked
		total.Reads += r.Stats.Reads
		total.Flushes += r.Stats.Flushes
		total.Promotions += r.Stats.Promotions
		total.Removes += r.Stats.Removes
		total.Adds += r.Stats.Adds
		total.Expiries += r.Stats.Expiries
		total.Faults += r.Stats.Faults
		if r.Err != nil {
			bad++
			t.Errorf("%s -events=%d\n%v", Command(seed), *eventsFlag, r.Err)
			if bad >= 8 {
				t.FailNow()
			}
		}
	}
	t.Logf("%d seeds: %+v", n, total)
}
