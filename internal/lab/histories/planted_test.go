package histories

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// plot is the shortest history that must expose one planted bug. Its judge returns what it found against the program.
type plot struct {
	tag  string // of package planted, without bug_
	play func(context.Context, *testing.T, *stage) error
	says string // a word of the judge's finding
	// brief: also played when only some are.
	brief bool
}

// plots are the planted bugs that show with real processes; docs/SAFETY.md says what hides the others.
var plots = []plot{
	{tag: "ack_before_peer", play: lostBeforeThePeerHadIt, says: "lost", brief: true},
	{tag: "skip_peer_flush", play: lostBeforeThePeerFlushed, says: "lost", brief: true},
	{tag: "guard_ignores_lease", play: twoDatabases, says: "two databases", brief: true},
	{tag: "bit_lost", play: writtenAlone, says: "differ"},
	{tag: "promote_outside_u", play: promotedOutsideU, says: "lost", brief: true},
	{tag: "volume_ignores_lease", play: readAfterTheLease, says: "stale", brief: true},
	{tag: "balancer_stale", play: forwardedOnAnOldView, says: "stale"},
	{tag: "extent_leaves_early", play: moreExtentsThanTheLog, says: "differ", brief: true},
	{tag: "generation_forgotten", play: generationGiven, says: "not whole"},
	{tag: "old_epoch_connects", play: connectedAcrossEpochs, says: "two epochs"},
	{tag: "wiped_voter_votes", play: votedWithoutAMemory, says: "lost"},
}

// tries bounds how often a history is played for a bug that must show: some need a window to be met (a write before the peer
// is given up), which a busy machine may miss.
const tries = 3

// TestPlantedBugs plays each history with the healthy program, where its judge must find nothing, and with the bug built in,
// where it must find it. HOLDFAST_LAB=full plays all, otherwise those that are brief.
func TestPlantedBugs(t *testing.T) {
	needLab(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Fatal("the planted bugs are built here: ", err)
	}
	s := raisePlanted(t)
	defer func() { // it is not the tutorial's system
		if err := strike(); err != nil {
			t.Error(err)
		}
	}()
	healthy, dir := program(t), t.TempDir()
	for _, p := range plots {
		if !p.brief && os.Getenv("HOLDFAST_LAB") != "full" {
			continue
		}
		t.Run(p.tag, func(t *testing.T) {
			built := buildPlanted(dir, p.tag)
			if found := s.act(t, healthy, p); found != nil {
				s.keepLogs(t)
				t.Fatalf("the healthy program: %v", found)
			}
			bug := <-built
			if bug.err != nil {
				t.Fatal(bug.err)
			}
			for n := range tries {
				found := s.act(t, bug.program, p)
				if found != nil && strings.Contains(found.Error(), p.says) {
					t.Logf("found at try %d: %v", n+1, found)
					return
				}
				t.Logf("try %d: %v", n+1, found)
			}
			t.Errorf("the planted bug was not found: no judge said %q", p.says)
		})
	}
}

// act plays a history from the snapshot, under a program.
func (s *stage) act(t *testing.T, program string, p plot) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), historyLimit)
	defer cancel()
	defer func() {
		if t.Failed() {
			s.keepLogs(t)
		}
	}()
	s.begin(ctx, t, program)
	return p.play(ctx, t, s)
}

// planted is a program with a bug.
type planted struct {
	program string
	err     error
}

// buildPlanted builds the program with a bug beside the history that is being played.
func buildPlanted(dir, tag string) <-chan planted {
	built := make(chan planted, 1)
	go func() {
		p := planted{program: filepath.Join(dir, tag)}
		p.err = buildProgram(p.program, "-tags=bug_"+tag)
		built <- p
	}()
	return built
}
