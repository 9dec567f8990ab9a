package histories

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/tutorial"
)

// forkLimit bounds the whole history, the lab's beginning included.
const forkLimit = 2 * historyLimit

// twoHosts is the tutorial's database pair without a witness and without followers: two votes, and no-quorum-policy=ignore.
func twoHosts() []tutorial.Step {
	third := func(s tutorial.Step) bool {
		return strings.Contains(s.Line, "witness add") || strings.Contains(s.Line, "member add") || strings.Contains(s.Line, "pcs cluster auth lqi1ecmy03")
	}
	var all []tutorial.Step
	for _, part := range [][]tutorial.Step{tutorial.Volumes(), tutorial.Database(), tutorial.Cluster(), tutorial.Resources()} {
		all = append(all, part...)
	}
	return slices.DeleteFunc(all, third)
}

// TestForkedCluster: two hosts lose each other and both serve; one is given up by one command, its rows are in the file and
// the other's are all there. Then the active host stands still, the other goes on alone, and the first one comes back by itself.
func TestForkedCluster(t *testing.T) {
	needLab(t)
	ctx, cancel := context.WithTimeout(context.Background(), forkLimit)
	defer cancel()
	s := raise(t)
	defer func() { // it is not the tutorial's system
		if t.Failed() {
			s.spoil(t)
		} else if err := strike(); err != nil {
			t.Error(err)
		}
	}()
	if err := tutorial.Replay(ctx, demo.LabRunner{Lab: s.lab}, twoHosts(), io.Discard); err != nil {
		t.Fatal(err)
	}
	s.awaitPair(ctx, t)
	keep, lose := s.lab.Host(tutorial.DB1), s.lab.Host(tutorial.DB2)
	s.takeRow(ctx, t, s.pairPrimary(ctx, t), 1, "before")

	s.cut(t, keep.Name(), lose.Name())
	for i, h := range []*lab.Host{keep, lose} {
		s.takeRow(ctx, t, h, 100+i, "alone-on-"+h.Name())
	}
	s.heal(t)
	for _, h := range []*lab.Host{keep, lose} {
		s.await(ctx, t, h.Name()+" warns of the split brain", func() bool {
			out, code, err := typed(ctx, h, "pcs status", "")
			return err == nil && code == 0 && strings.Contains(out, "SPLIT BRAIN")
		})
	}
	s.takeRow(ctx, t, keep, 200, "after-the-cut")
	heal := "holdfast drbd heal --keep=" + keep.Name()
	if out := sh(ctx, t, lose, heal+" --dry-run mysqlr0"); !strings.Contains(out, "Nothing was changed.") {
		t.Errorf("dry run: %s", out)
	}
	if out := sh(ctx, t, keep, heal+" mysqlr0"); !strings.Contains(out, "is kept") {
		t.Errorf("on the host that is kept: %s", out)
	}
	if out := sh(ctx, t, lose, heal+" --save=/root/lost.side mysqlr0"); !strings.Contains(out, "mysqlr0: healed.") {
		t.Errorf("heal: %s", out)
	}
	s.awaitPair(ctx, t)
	s.wantRows(ctx, t, "1 100 200")
	wantLine(ctx, t, lose, "grep -c -a -m1 alone-on-"+lose.Name()+" /root/lost.side", "1")
	sh(ctx, t, lose, "holdfast drbd heal --show=/root/lost.side")

	frozen := s.pairPrimary(ctx, t)
	other := keep
	if frozen.Name() == keep.Name() {
		other = lose
	}
	begun := time.Now()
	if err := frozen.Freeze(); err != nil {
		t.Fatal(err)
	}
	s.takeRow(ctx, t, other, 300, "while-frozen")
	s.await(ctx, t, "the host has been frozen long enough", func() bool { return time.Since(begun) >= frozenFor })
	if err := frozen.Thaw(); err != nil {
		t.Fatal(err)
	}
	s.awaitPair(ctx, t)
	s.wantRows(ctx, t, "1 100 200 300")
	s.comparePair(ctx, t)
}

const query = "mysql -h 127.0.0.1 -u " + tutorial.DatabaseUser + " -p" + tutorial.DatabasePass + " " + tutorial.DatabaseName + " -N -e "

// takeRow has a host's own database take a row, as soon as it serves.
func (s *stage) takeRow(ctx context.Context, t *testing.T, h *lab.Host, id int, what string) {
	t.Helper()
	line := fmt.Sprintf(`"create table if not exists forked (id int primary key, what varchar(40)); insert ignore into forked values (%d, '%s')"`, id, what)
	s.await(ctx, t, fmt.Sprintf("%s takes row %d", h.Name(), id), func() bool {
		_, code, err := typed(ctx, h, query+line, "")
		return err == nil && code == 0
	})
}

// wantRows wants exactly these rows in the database, wherever it serves.
func (s *stage) wantRows(ctx context.Context, t *testing.T, ids string) {
	t.Helper()
	h := s.pairPrimary(ctx, t)
	got := ""
	s.await(ctx, t, h.Name()+" serves", func() bool {
		out, code, err := typed(ctx, h, query+`"select id from forked order by id" | xargs`, "")
		got = strings.TrimSpace(out)
		return err == nil && code == 0 && got != ""
	})
	if got != ids {
		t.Errorf("the rows are %q, expected %q", got, ids)
	}
}

// pairPrimary is the host that both say is Primary.
func (s *stage) pairPrimary(ctx context.Context, t *testing.T) *lab.Host {
	t.Helper()
	var found *lab.Host
	s.await(ctx, t, "both agree on the Primary", func() bool {
		var said []string
		for _, name := range []string{tutorial.DB1, tutorial.DB2} {
			if st, err := s.ask(ctx, name); err == nil && len(st.Volumes) == 1 {
				said = append(said, st.Volumes[0].Primary)
			}
		}
		if len(said) == 2 && said[0] == said[1] && said[0] != "" {
			found = s.lab.Host(said[0])
		}
		return found != nil
	})
	return found
}

func (s *stage) ask(ctx context.Context, name string) (api.ClusterStatus, error) {
	look, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return demo.Status(look, s.lab.Host(name))
}

// awaitPair waits until two hosts without a witness are whole: in one branch of the log, both voting and with a lease, both
// replicas in U, connected and UpToDate.
func (s *stage) awaitPair(ctx context.Context, t *testing.T) {
	t.Helper()
	s.await(ctx, t, "two hosts are whole", func() bool {
		branches := map[string]bool{}
		for _, name := range []string{tutorial.DB1, tutorial.DB2} {
			st, err := s.ask(ctx, name)
			if err != nil || len(st.Members) != 2 || len(st.Apart) > 0 || len(st.Volumes) != 1 || len(st.Volumes[0].U) != 2 || st.Volumes[0].Primary == "" {
				return false
			}
			branches[st.Branch] = true
			if slices.ContainsFunc(st.Members, func(m api.MemberStatus) bool { return !m.Voter || m.Lease != "active" }) {
				return false
			}
			look, cancel := context.WithTimeout(ctx, askLimit)
			v, err := demo.Volume(look, s.lab.Host(name), tutorial.Volume)
			cancel()
			if err != nil || v.Conn != "Connected" || v.Disk != "UpToDate" || v.PeerDisk != "UpToDate" || v.Frozen != "" {
				return false
			}
		}
		return len(branches) == 1
	})
}

// comparePair stops the cluster and compares both disks.
func (s *stage) comparePair(ctx context.Context, t *testing.T) {
	t.Helper()
	v, err := demo.Volume(ctx, s.lab.Host(tutorial.DB1), tutorial.Volume)
	if err != nil {
		t.Fatal(err)
	}
	sh(ctx, t, s.lab.Host(tutorial.DB1), "pcs cluster stop --all")
	s.compare(t, v.SizeBytes)
}
