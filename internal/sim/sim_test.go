package sim

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "run this seed alone; with -v, log what happens")
	seedsFlag     = flag.Int("seeds", 0, "how many seeds to run, one after the other")
	firstFlag     = flag.Uint64("first", 1, "the first seed")
	eventsFlag    = flag.Uint64("events", 2000, "events of each seed's safety phase")
	totalFlag     = flag.Uint64("total", 0, "go on with further seeds until so many events have happened")
	sizeFlag      = flag.Int64("size", 0, "bytes of the volume, in place of what the seed draws")
	forkingFlag   = flag.Bool("forking", false, "two hosts without a witness that go on alone, in every seed")
	twiceFlag     = flag.Bool("twice", false, "run each seed twice and compare the traces")
	electionsFlag = flag.Int("elections", 200, "deaths of the leader in TestLeasesOutliveAnElection")
	reportFlag    = flag.Duration("report", time.Minute, "how often a long run says how far it is")
)

// defaultSeeds is what TestSim runs when no flag says more: what is worth a race detector's time.
const defaultSeeds = 24

func TestSim(t *testing.T) {
	if *seedFlag != 0 {
		one(t, *seedFlag)
		return
	}
	n := *seedsFlag
	if n == 0 && *totalFlag == 0 {
		n = defaultSeeds
	}
	many(t, n)
}

func options() Options { return Options{Size: *sizeFlag, Forking: *forkingFlag} }

// one runs a seed twice: the second run must be the first, event by event.
func one(t *testing.T, seed uint64) {
	opts := options()
	if testing.Verbose() {
		opts.Log = slog.NewTextHandler(os.Stdout, nil)
	}
	r := Seed(seed, *eventsFlag, opts)
	t.Logf("seed %d: %+v, trace %016x", seed, r.Stats, r.Hash)
	if again := Seed(seed, *eventsFlag, options()); again.Hash != r.Hash {
		t.Errorf("the second run of seed %d has trace %016x, the first %016x", seed, again.Hash, r.Hash)
	}
	if r.Err != nil {
		t.Fatal(r.Err)
	}
}

// many runs seeds until enough of them, or of events, are done.
func many(t *testing.T, n int) {
	var total Stats
	bad, done := 0, 0
	next := time.Now().Add(*reportFlag)
	for seed := *firstFlag; (n == 0 || done < n) && (*totalFlag == 0 || total.Events < *totalFlag) && bad < 10; seed++ {
		r := Seed(seed, *eventsFlag, options())
		total.add(r.Stats)
		done++
		if r.Err != nil {
			bad++
			t.Errorf("%s -events=%d\n%v", Command(seed), *eventsFlag, r.Err)
			fmt.Fprintf(os.Stderr, "seed %d failed\n", seed) // what testing tells, it tells at the end
		}
		if (*twiceFlag || done%16 == 1) && Seed(seed, *eventsFlag, options()).Hash != r.Hash {
			t.Errorf("seed %d has another trace when it is run again", seed)
		}
		if time.Now().After(next) {
			next = time.Now().Add(*reportFlag)
			fmt.Fprintf(os.Stderr, "%s: %d seeds, %+v, %d failed\n", time.Now().Format(time.TimeOnly), done, total, bad)
		}
	}
	t.Logf("%d seeds from %d: %+v", done, *firstFlag, total)
	if total.Acked == 0 || total.Promotions == 0 {
		t.Errorf("nothing was tested: %+v", total)
	}
}

func (s *Stats) add(o Stats) {
	s.Events += o.Events
	s.Acked += o.Acked
	s.Reads += o.Reads
	s.Flushes += o.Flushes
	s.Promotions += o.Promotions
	s.Expiries += o.Expiries
	s.Removes += o.Removes
	s.Adds += o.Adds
	s.Faults += o.Faults
	s.Forks += o.Forks
	s.Splits += o.Splits
	s.Saved += o.Saved
}

// planted lists the bugs of package planted with what catches each: a test, mostly of this package, and a word of its message.
var plantedBugs = []struct {
	tag, test string
	args      []string
	says      string
	dir       string // of the test, if it is not here
}{
	{tag: "ack_before_peer", test: "TestSim", args: []string{"-seeds=10"}, says: "S2"},
	{tag: "skip_peer_flush", test: "TestSim", args: []string{"-seeds=20"}, says: "S2"},
	{tag: "flush_assumed", test: "TestSim", args: []string{"-seeds=40"}, says: "S2"},
	{tag: "promote_outside_u", test: "TestBothHostsDownAndBackInEachOrder", says: "S1"},
	{tag: "volume_ignores_lease", test: "TestPausedProcessResumes", says: "S"},
	{tag: "guard_ignores_lease", test: "TestNoPromotionBeforeTheLeaseIsOver", says: "S6"},
	{tag: "wiped_voter_votes", test: "TestAmnesiacVoter", says: "another state than others"},
	{tag: "old_epoch_connects", test: "TestConnectionBelongsToOneEpoch", says: "S3"},
	{tag: "extent_leaves_early", test: "TestExtentsStayUntilFlushed", says: "S5"},
	{tag: "generation_forgotten", test: "TestReplicaAddedWhileDegraded", says: "progress"},
	{tag: "bit_lost", test: "TestJoinRaceWithASlowPrimary", says: "S5"},
	{tag: "fork_before_lease", test: "TestForkWaitsForThePeersLease", says: "S6"},
	{tag: "other_branch_connects", test: "TestForkBothSides", says: "S8"},
	{tag: "leaver_acknowledges", test: "TestFailedDiskLeavesUBeforeTheNextAcknowledgement", says: "S2"},
	{tag: "keeper_forgets", test: "TestDiskOfALeaningPrimaryIsResynced", says: "S5"},
	{tag: "primary_grows_first", test: "TestGrow", says: "the Primary has grown before its peer", dir: "../block/peer"},
	{tag: "verify_ignores", test: "TestVerifyFindsWhatDiffers", says: "U5"},
	{tag: "split_resynced", test: "TestSplitBrainNeedsAWord", says: "U3"},
	{tag: "failed_block_forgotten", test: "TestDiskErrors", says: "U2"},
	{tag: "new_area_unmarked", test: "TestOnlineResize", says: "U4"},
	{tag: "discard_stays", test: "TestSplitBrainNeedsAWord", says: "U3"},
	{tag: "sent_counts", test: "TestDiskComesAndGoes", says: "on no disk"},
	{tag: "source_keeps_generation", test: "TestTargetFinishedWithoutWord", says: "no split brain was found", dir: "../block/peer"},
	{tag: "attached_disk_read", test: "TestDiskComesAndGoes", says: "U2"},
	{tag: "balancer_stale", test: "TestNoPromotionBeforeTheLeaseIsOver", says: "S7"},
}

// TestPlantedBugs builds the tests with each planted bug and demands that the test named for it fails.
func TestPlantedBugs(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("builds the tests once for each bug; make test-sim runs this without the race detector")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command here: ", err)
	}
	for _, b := range plantedBugs {
		t.Run(b.tag, func(t *testing.T) {
			args := append([]string{"test", "-count=1", "-tags=bug_" + b.tag, "-run=^" + b.test + "$", "."}, b.args...)
			cmd := exec.Command("go", args...)
			cmd.Dir = b.dir
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			out, err := cmd.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("--- FAIL: "+b.test)) || !bytes.Contains(out, []byte(b.says)) {
				t.Errorf("go %v: the planted bug was not caught (%v):\n%s", args, err, out)
			}
		})
	}
}
