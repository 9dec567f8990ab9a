package histories

import (
	"context"
	"strings"
	"testing"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/nemesis"
	"holdfast/internal/lab/tutorial"
)

// logWiped: a voter comes back without its log. It must not vote as who it was; it is taken in again.
func logWiped(ctx context.Context, t *testing.T, s *stage) {
	witness := s.lab.Host(tutorial.Web1)
	before := s.incumbent(ctx, t)
	sh(ctx, t, witness, "rm /var/lib/holdfast/raft.db && sync /var/lib/holdfast")
	kill(ctx, t, witness)
	start(ctx, t, witness)
	s.awaitVoter(ctx, t, witness)
	s.awaitWhole(ctx, t)
	s.wantSame(ctx, t, before)
}

// logDamaged: the host that runs everything loses its power, and finds its log damaged when it is back.
func logDamaged(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	sh(ctx, t, active, nemesis.DamageLogLine)
	kill(ctx, t, active)
	s.awaitPrimary(ctx, t, standby.Name())
	s.awaitServed(ctx, t)
	start(ctx, t, active)
	s.awaitVoter(ctx, t, active)
	wantLine(ctx, t, active, "test -e /var/lib/holdfast/raft.db.unusable && echo kept", "kept")
}

// awaitVoter waits until the others count a host's vote again and it holds a lease.
func (s *stage) awaitVoter(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	s.await(ctx, t, h.Name()+" votes again", func() bool {
		look, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		st, err := demo.Status(look, h)
		for _, m := range st.Members {
			if m.Node == h.Name() {
				return err == nil && m.Voter && m.Lease == "active"
			}
		}
		return false
	})
}

// majorityGone: active host and witness are lost at once, the standby has every acknowledged write and no majority. An
// operator has it go on alone; when the others are back after all, they rejoin it, and no vote of theirs counts before.
func majorityGone(ctx context.Context, t *testing.T, s *stage) {
	active, survivor := s.roles(ctx, t)
	witness := s.lab.Host(tutorial.Web1)
	out, code, err := typed(ctx, survivor, "holdfast recover --survivor "+survivor.Name()+" --accept-loss", "")
	if err != nil || code == 0 || !strings.Contains(out, "has a majority") {
		t.Fatalf("recover while nothing is lost: exit code %d, %v\n%s", code, err, out)
	}
	if err := s.lab.Kill(ctx, active.Name(), witness.Name()); err != nil {
		t.Fatal(err)
	}
	var asked string
	s.await(ctx, t, "the survivor finds itself alone and asks", func() bool {
		out, code, err := typed(ctx, survivor, "holdfast recover --survivor "+survivor.Name(), "")
		asked = out
		return err == nil && code != 0 && strings.Contains(out, "say --accept-loss")
	})
	if !strings.Contains(asked, "volume mysqlr0: writes acknowledged after this host was removed") {
		t.Errorf("recover does not say what may be lost:\n%s", asked)
	}
	sh(ctx, t, survivor, "holdfast recover --survivor "+survivor.Name()+" --accept-loss")
	s.await(ctx, t, survivor.Name()+" is Primary", func() bool {
		look, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		st, err := demo.Status(look, survivor)
		return err == nil && len(st.Volumes) == 1 && st.Volumes[0].Primary == survivor.Name()
	})
	s.awaitServed(ctx, t)
	// One after the other: both together are the old majority.
	start(ctx, t, active)
	s.awaitVoter(ctx, t, active)
	start(ctx, t, witness)
	s.awaitVoter(ctx, t, witness)
}

// replicasNamed: with no Primary an operator names the replica that counts, and later strikes one off. Both come back by
// resync, and nothing is lost, since both had everything.
func replicasNamed(ctx context.Context, t *testing.T, s *stage) {
	for _, line := range []string{"drbdadm survivor mysqlr0", "drbdadm forget --node=OTHER mysqlr0"} {
		active, standby := s.roles(ctx, t)
		sh(ctx, t, standby, "pcs resource meta ms_drbd_ha target-role=Slave")
		s.await(ctx, t, "no host is Primary", func() bool { return demo.Primary(ctx, s.lab) == "" && len(s.replicas(ctx)) == 2 })
		sh(ctx, t, standby, strings.ReplaceAll(line, "OTHER", active.Name()))
		s.await(ctx, t, "only "+standby.Name()+" is in U", func() bool {
			u := s.replicas(ctx)
			return len(u) == 1 && u[0] == standby.Name()
		})
		sh(ctx, t, standby, "pcs resource meta ms_drbd_ha target-role=")
		s.awaitPrimary(ctx, t, standby.Name())
		s.awaitWhole(ctx, t)
		s.awaitServed(ctx, t)
	}
}
