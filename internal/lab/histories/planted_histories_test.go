package histories

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/tutorial"
)

// lostBeforeThePeerHadIt (S2): the standby hears nothing any more, a write is acknowledged, and the active host is gone. Either
// the standby had left U before, or it has the write.
func lostBeforeThePeerHadIt(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	s.cut(t, active.Name(), standby.Name())
	acked := s.write(ctx, t, active, 1, "acknowledged", false)
	kill(ctx, t, active)
	s.heal(t)
	return s.lost(ctx, t, s.successor(ctx, t, active, standby), acked)
}

// lostBeforeThePeerFlushed (S2): a flushed write is acknowledged, then both hosts lose their power and only the standby comes
// back.
func lostBeforeThePeerFlushed(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	acked := s.write(ctx, t, active, 1, "flushed", true)
	if err := s.lab.Kill(ctx, active.Name(), standby.Name()); err != nil {
		t.Fatal(err)
	}
	start(ctx, t, standby)
	s.awaitPromoted(ctx, t, standby)
	return s.lost(ctx, t, standby, acked)
}

// twoDatabases (S6): nobody hears the active host. What no volume protects must have ended there before another host runs it.
func twoDatabases(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	s.enableDatabase(ctx, t, active)
	s.cut(t, active.Name(), lab.Everyone)
	s.awaitServing(ctx, t, standby)
	if _, err := s.insert(ctx, active, "127.0.0.1:3306"); err == nil {
		return fmt.Errorf("two databases serve at once: %s acknowledges a row although %s has taken over", active.Name(), standby.Name())
	}
	return nil
}

// writtenAlone (S5): what was written without the standby reaches it when it is back.
func writtenAlone(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	s.cut(t, active.Name(), standby.Name())
	s.awaitOnly(ctx, t, active)
	s.write(ctx, t, active, 1, "written alone", true)
	s.heal(t)
	return s.differ(ctx, t)
}

// promotedOutsideU (S1, S3): the standby misses an acknowledged write and is then the only one left. Neither the cluster nor an
// operator may promote it.
func promotedOutsideU(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	kill(ctx, t, standby)
	s.awaitOnly(ctx, t, active)
	acked := s.write(ctx, t, active, 1, "missed", true)
	kill(ctx, t, active)
	start(ctx, t, standby)
	promoted := false
	s.await(ctx, t, "the log refuses the standby, or promotes it", func() bool {
		out, code, err := typed(ctx, standby, "drbdadm primary --force "+tutorial.Volume, "")
		promoted = err == nil && code == 0
		return promoted || err == nil && strings.Contains(out, "no up-to-date replica")
	})
	if promoted {
		return s.lost(ctx, t, standby, acked)
	}
	start(ctx, t, active)
	s.awaitPromoted(ctx, t, active)
	return s.lost(ctx, t, active, acked)
}

// readAfterTheLease (S6): on a host that nobody hears the guard stands still, so that only the volume process can keep the old
// Primary from answering reads when another has written.
func readAfterTheLease(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	s.write(ctx, t, active, 1, "old", true)
	sh(ctx, t, active, "pkill -STOP -f '[h]oldfast guard'")
	s.cut(t, active.Name(), lab.Everyone)
	s.awaitPromoted(ctx, t, standby)
	s.write(ctx, t, standby, 1, "new", true)
	if value, err := s.read(ctx, active, 1); err == nil && value != "new" {
		return fmt.Errorf("a stale read: block 1 on %s is %q after %s has acknowledged %q", active.Name(), value, standby.Name(), "new")
	}
	return nil
}

// forwardedOnAnOldView (S7): the client's balancer hears only the active host, which nobody else hears, and whose guard stands
// still, so that its database goes on. When another serves, the balancer must not forward to it.
func forwardedOnAnOldView(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	client := s.lab.Host(tutorial.Client)
	s.enableDatabase(ctx, t, active)
	s.await(ctx, t, "the balancer forwards", func() bool {
		server, err := s.insert(ctx, client, tutorial.DatabaseAddr)
		return err == nil && server == active.Name()
	})
	sh(ctx, t, active, "pkill -STOP -f '[h]oldfast guard'")
	for _, cutOff := range []string{active.Name(), client.Name()} {
		s.cut(t, cutOff, standby.Name())
		s.cut(t, cutOff, tutorial.Web1)
	}
	s.awaitServing(ctx, t, standby)
	if server, err := s.insert(ctx, client, tutorial.DatabaseAddr); err == nil && server != standby.Name() {
		return fmt.Errorf("a stale view: the balancer of %s forwards to %s although %s has taken over", client.Name(), server, standby.Name())
	}
	return nil
}

// moreExtentsThanTheLog (S5): more extents are written than the activity log has, none of it flushed; then both hosts lose their
// power. What the first one back has, and the other lost, is found by the activity log alone.
func moreExtentsThanTheLog(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	v, err := demo.Volume(ctx, active, tutorial.Volume)
	if err != nil {
		t.Fatal(err)
	}
	const extent = 4 << 20
	last := v.SizeBytes/extent - 1
	if last < fewExtents+8 {
		t.Fatalf("the volume has %d extents; it needs more than the log's %d", last+1, fewExtents)
	}
	sh(ctx, t, active, fmt.Sprintf("for e in $(seq 0 %d); do echo extent $e | dd of=%s bs=%d count=1 seek=$((e * %d)) conv=notrunc,nocreat,sync oflag=direct status=none || exit 1; done",
		last, device, blockSize, extent/blockSize))
	if err := s.lab.Kill(ctx, active.Name(), standby.Name()); err != nil {
		t.Fatal(err)
	}
	start(ctx, t, active)
	s.awaitPromoted(ctx, t, active)
	start(ctx, t, standby)
	return s.differ(ctx, t)
}

// generationGiven (S1): when a replica leaves U the others get a new generation. Who has not taken it can never take the replica
// back.
func generationGiven(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	kill(ctx, t, standby)
	s.awaitOnly(ctx, t, active)
	s.write(ctx, t, active, 1, "written alone", true)
	start(ctx, t, standby)
	whole, cancel := context.WithTimeout(ctx, wholeLimit/2)
	defer cancel()
	return demo.AwaitWhole(whole, s.lab)
}

// connectedAcrossEpochs (S3): a promotion begins an epoch that the old Primary's side does not hear of, since its daemon stands
// still. Its volume must not be connected to before it has, and so it leaves U before a write is acknowledged.
func connectedAcrossEpochs(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	sh(ctx, t, active, "pcs resource meta ms_drbd_ha target-role=Slave")
	s.await(ctx, t, "no host is Primary", func() bool { return demo.Primary(ctx, s.lab) == "" })
	sh(ctx, t, active, "pkill -STOP -f '^holdfast daemon'")
	sh(ctx, t, standby, "pcs resource meta ms_drbd_ha target-role=")
	s.awaitPromoted(ctx, t, standby)
	s.write(ctx, t, standby, 1, "of the new epoch", true)
	// The Primary's own view is the one it has acknowledged by.
	st, err := demo.Status(ctx, standby)
	if err != nil || len(st.Volumes) != 1 {
		t.Fatalf("status of %s: %v", standby.Name(), err)
	}
	if v := st.Volumes[0]; len(v.U) != 1 {
		return fmt.Errorf("one connection in two epochs: a write of epoch %d is acknowledged with %s in U, whose daemon has not heard of that epoch",
			v.Epoch, active.Name())
	}
	return nil
}

// votedWithoutAMemory (votes): the witness forgets what it has confirmed. With it the standby, which missed that, would be a
// majority that knows nothing of it.
func votedWithoutAMemory(ctx context.Context, t *testing.T, s *stage) error {
	active, standby := s.roles(ctx, t)
	witness := s.lab.Host(tutorial.Web1)
	s.cut(t, standby.Name(), lab.Everyone)
	s.awaitOnly(ctx, t, active)
	acked := s.write(ctx, t, active, 1, "missed", true)
	sh(ctx, t, witness, "rm /var/lib/holdfast/raft.db && sync --file-system /var")
	if err := s.lab.Kill(ctx, active.Name(), witness.Name()); err != nil {
		t.Fatal(err)
	}
	s.heal(t)
	start(ctx, t, witness)
	if s.promotedWithin(ctx, standby) {
		return s.lost(ctx, t, standby, acked)
	}
	start(ctx, t, active)
	s.awaitPromoted(ctx, t, active)
	return s.lost(ctx, t, active, acked)
}

// opportunity is several elections and leases long.
const opportunity = 12 * time.Second

// promotedWithin gives a host that must not be promoted every opportunity.
func (s *stage) promotedWithin(ctx context.Context, h *lab.Host) bool {
	for end := time.Now().Add(opportunity); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(lookEvery) {
		look, cancel := context.WithTimeout(ctx, askLimit)
		v, err := demo.Volume(look, h, tutorial.Volume)
		cancel()
		if err == nil && v.Role == "Primary" {
			return true
		}
	}
	return false
}
