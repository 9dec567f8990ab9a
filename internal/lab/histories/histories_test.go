package histories

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster"
	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/labdisk"
	"holdfast/internal/lab/tutorial"
)

// frozenFor is how long the active host stands still at least: longer than every timeout.
const frozenFor = 12 * time.Second

// TestHistories plays one history after the other on the shared stage; the last compares the replicas.
func TestHistories(t *testing.T) {
	needLab(t)
	for _, h := range []struct {
		name string
		play func(context.Context, *testing.T, *stage)
	}{
		{"active host frozen and thawed", frozenActive},
		{"database hosts cut from each other", cutDatabases},
		{"active host cut off from everyone", isolatedActive},
		{"both killed, the former standby first", bothKilledStandbyFirst},
		{"both killed, the former active first", bothKilledActiveFirst},
		{"daemon of the active host killed", daemonKilled},
		{"volume process of the active host killed", volumeKilled},
		{"daemon and volume process stopped, disk hung", onlyTheGuard},
		{"database killed", databaseKilled},
		{"cluster stop and start", stopAndStart},
		{"standby and unstandby", standbyAndBack},
		{"data disk replaced", diskReplaced},
		{"host replaced", hostReplaced},
		{"a voter's log wiped", logWiped},
		{"the active host's log damaged", logDamaged},
		{"majority gone and recover", majorityGone},
		{"survivor named and replica forgotten", replicasNamed},
	} {
		t.Run(h.name, func(t *testing.T) { play(t, h.play) })
	}
	t.Run("replicas are identical", identicalReplicas)
}

// frozenActive: every process of the active host stands still while another takes over, and then goes on as if nothing had
// happened, with writes of its own under way (S3, S6).
func frozenActive(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	begun := time.Now()
	if err := active.Freeze(); err != nil {
		t.Fatal(err)
	}
	s.awaitPrimary(ctx, t, standby.Name())
	s.awaitServed(ctx, t)
	s.await(ctx, t, "the host has been frozen long enough", func() bool { return time.Since(begun) >= frozenFor })
	if err := active.Thaw(); err != nil {
		t.Fatal(err)
	}
	s.awaitServed(ctx, t)
}

// cutDatabases: the replicas lose each other while both are seen by the witness (S4: one goes on alone, the other is out).
func cutDatabases(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	s.cut(t, active.Name(), standby.Name())
	s.awaitServed(ctx, t)
	s.await(ctx, t, "one replica has been removed from U", func() bool { return len(s.replicas(ctx)) == 1 })
	s.heal(t)
}

// isolatedActive: nobody hears the active host, which must stop before another starts (S6).
func isolatedActive(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	s.cut(t, active.Name(), lab.Everyone)
	s.awaitPrimary(ctx, t, standby.Name())
	s.awaitServed(ctx, t)
	s.await(ctx, t, "the host that nobody hears has stopped its database", func() bool {
		out, _, err := typed(ctx, active, "pgrep -c -x mariadbd", "")
		return err == nil && strings.TrimSpace(out) == "0"
	})
	s.heal(t)
}

func (s *stage) cut(t *testing.T, a, b string) {
	t.Helper()
	if err := s.lab.Cut(a, b, false); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) heal(t *testing.T) {
	t.Helper()
	if err := s.lab.Heal(); err != nil {
		t.Fatal(err)
	}
}

// replicas are the nodes of U, as the witness knows it.
func (s *stage) replicas(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	st, err := demo.Status(ctx, s.lab.Host(tutorial.Web1))
	if err != nil || len(st.Volumes) == 0 {
		return nil
	}
	var nodes []string
	for _, r := range st.Volumes[0].U {
		nodes = append(nodes, r.Node)
	}
	return nodes
}

func bothKilledStandbyFirst(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	s.killBoth(ctx, t, standby, active)
}

func bothKilledActiveFirst(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	s.killBoth(ctx, t, active, standby)
}

// killBoth cuts the power of both database hosts under load. Each is in U, and so each alone may serve (S5).
func (s *stage) killBoth(ctx context.Context, t *testing.T, first, second *lab.Host) {
	t.Helper()
	if err := s.lab.Kill(ctx, tutorial.DB1, tutorial.DB2); err != nil {
		t.Fatal(err)
	}
	start(ctx, t, first)
	s.awaitPrimary(ctx, t, first.Name())
	s.awaitServed(ctx, t)
	if u := s.replicas(ctx); len(u) != 1 || u[0] != first.Name() {
		t.Errorf("after an unclean stop of both, U is %v, not only the promoted %s", u, first.Name())
	}
	start(ctx, t, second)
}

func start(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// incumbent is what must not change while nothing fails over.
type incumbent struct {
	Primary string
	Epoch   uint64
	// Server is the database's process.
	Server string
}

func (s *stage) incumbent(ctx context.Context, t *testing.T) incumbent {
	t.Helper()
	active, _ := s.roles(ctx, t)
	st, err := demo.Status(ctx, s.lab.Host(tutorial.Web1))
	if err != nil || len(st.Volumes) != 1 {
		t.Fatalf("status of the witness: %v", err)
	}
	return incumbent{active.Name(), st.Volumes[0].Epoch, strings.TrimSpace(sh(ctx, t, active, "pgrep -x mariadbd"))}
}

// wantSame fails when something has failed over or the database was restarted.
func (s *stage) wantSame(ctx context.Context, t *testing.T, before incumbent) {
	t.Helper()
	if after := s.incumbent(ctx, t); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// killProcess sends SIGKILL to the processes that a pattern of pgrep -f finds, and returns their ids.
func killProcess(ctx context.Context, t *testing.T, h *lab.Host, pattern string) string {
	t.Helper()
	return strings.TrimSpace(sh(ctx, t, h, fmt.Sprintf("pids=$(pgrep -f %q) && kill -9 $pids && echo $pids", pattern)))
}

// awaitOther waits until the pattern finds another process.
func (s *stage) awaitOther(ctx context.Context, t *testing.T, h *lab.Host, pattern, old string) {
	t.Helper()
	s.await(ctx, t, "a new process "+pattern+" on "+h.Name(), func() bool {
		out, code, err := typed(ctx, h, fmt.Sprintf("pgrep -f %q", pattern), "")
		return err == nil && code == 0 && strings.TrimSpace(out) != old
	})
}

// restarts bounds the tries of daemonKilled.
const restarts = 3

// daemonKilled: the control plane dies and comes back within the lease; I/O, connections and resources go on. A restart on
// a busy machine may take longer than the lease: then a failover is right, nothing may be lost by it, and the next try
// counts.
func daemonKilled(ctx context.Context, t *testing.T, s *stage) {
	for range restarts {
		before := s.incumbent(ctx, t)
		active := s.lab.Host(before.Primary)
		begun := time.Now()
		old := killProcess(ctx, t, active, "^holdfast daemon")
		s.awaitOther(ctx, t, active, "^holdfast daemon", old)
		s.awaitWhole(ctx, t)
		s.awaitServed(ctx, t)
		after := s.incumbent(ctx, t)
		took := s.restarted(t, active.Name(), begun).Sub(begun)
		t.Logf("the daemon was up again after %v; before %+v, after %+v", took, before, after)
		if after == before {
			return
		}
		if took < cluster.LeaseLength/2 {
			t.Errorf("the daemon came back in time, and still something failed over or was restarted")
		}
		s.verify(ctx, t)
	}
	t.Errorf("the daemon never came back within its lease, in %d tries", restarts)
}

// restarted is when a host's daemon has started after a time, by its timeline.
func (s *stage) restarted(t *testing.T, host string, after time.Time) time.Time {
	t.Helper()
	events, err := demo.Timeline(s.lab)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Name == "daemon.start" && e.Node == host && e.At > after.UnixNano() {
			return time.Unix(0, e.At)
		}
	}
	t.Fatalf("the timeline of %s has no start of a daemon after %s", host, after.Format(time.TimeOnly))
	return time.Time{}
}

// volumeKills is how often volumeKilled kills.
const volumeKills = 20

// volumeKilled: the volume's process dies again and again, and is replaced under the mounted file system. Neither the database
// and its clients nor a program that reads back what it writes sees an error.
func volumeKilled(ctx context.Context, t *testing.T, s *stage) {
	before := s.incumbent(ctx, t)
	failed, _ := s.rows.Failed()
	active := s.lab.Host(before.Primary)
	verified := s.verifiedWrites(ctx, t, active)
	for range volumeKills {
		old := killProcess(ctx, t, active, "[v]olume "+tutorial.Volume)
		s.awaitOther(ctx, t, active, "[v]olume "+tutorial.Volume, old)
		s.awaitServed(ctx, t)
		s.awaitWhole(ctx, t)
	}
	verified()
	if after, err := s.rows.Failed(); after != failed {
		t.Errorf("%d inserts failed, the last with: %v", after-failed, err)
	}
	s.wantSame(ctx, t, before)
}

// verifiedWrites has fio write to the volume's file system on a host, past the page cache, and read everything back, until the
// function returned is called, which fails the test if anything differed or could not be read or written.
func (s *stage) verifiedWrites(ctx context.Context, t *testing.T, h *lab.Host) (stop func()) {
	t.Helper()
	const dir, enough = "/var/lib/mysql/holdfast-fio", "/run/enough"
	fio := h.Command(ctx, "sh", "-c", "rm -f "+enough+"; mkdir -p "+dir+"; while [ ! -e "+enough+" ]; do "+
		"fio --name=verify --directory="+dir+" --size=8m --rw=randrw --bs=4k --ioengine=libaio --direct=1 --iodepth=8 "+
		"--verify=crc32c --verify_backlog=256 --verify_fatal=1 || exit 1; done")
	var out bytes.Buffer
	fio.Stdout, fio.Stderr = &out, &out
	if err := fio.Start(); err != nil {
		t.Fatal(err)
	}
	s.await(ctx, t, "fio has begun", func() bool {
		_, code, err := typed(ctx, h, "ls "+dir+"/verify*", "")
		return err == nil && code == 0
	})
	return func() {
		t.Helper()
		sh(ctx, t, h, "touch "+enough)
		if err := fio.Wait(); err != nil || !strings.Contains(out.String(), "err= 0") {
			t.Errorf("fio: %v\n%s", err, out.String())
		}
		sh(ctx, t, h, "rm -r "+dir)
	}
}

// onlyTheGuard: on the active host nothing but the guard does anything: the daemon is stopped, and the volume process is
// too, with requests stuck on a disk that hangs. The guard ends the database all the same, and the standby takes over (S6).
func onlyTheGuard(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	const both = "pkill -%s -f '^holdfast daemon'; pkill -%s -f '[v]olume mysqlr0'"
	if _, err := active.Disk(ctx, labdisk.Command{Do: "hang"}); err != nil {
		t.Fatal(err)
	}
	sh(ctx, t, active, fmt.Sprintf(both, "STOP", "STOP"))
	s.awaitPrimary(ctx, t, standby.Name())
	s.awaitServed(ctx, t)
	s.await(ctx, t, "the host whose daemon is stopped runs no database", func() bool {
		out, _, err := typed(ctx, active, "pgrep -c -x mariadbd", "")
		return err == nil && strings.TrimSpace(out) == "0"
	})
	if _, err := active.Disk(ctx, labdisk.Command{Do: "heal"}); err != nil {
		t.Fatal(err)
	}
	// The daemon that goes on may have killed the volume's process before it is to go on.
	sh(ctx, t, active, fmt.Sprintf(both, "CONT", "CONT")+"; true")
}

// databaseKilled: the server and the script that would restart it die; the cluster starts them again on the same host.
func databaseKilled(ctx context.Context, t *testing.T, s *stage) {
	before := s.incumbent(ctx, t)
	active := s.lab.Host(before.Primary)
	// The script has short-lived children, which may be gone by now; the server is not.
	sh(ctx, t, active, "kill -9 $(pgrep -f [m]ysqld_safe) 2>/dev/null; kill -9 "+before.Server)
	s.awaitServed(ctx, t)
	after := s.incumbent(ctx, t)
	if after.Primary != before.Primary || after.Epoch != before.Epoch || after.Server == before.Server {
		t.Errorf("before %+v, after %+v: the database is to be restarted where it was", before, after)
	}
	sh(ctx, t, active, "pcs resource cleanup mysql_svc")
}

// stopAndStart: a host that stops taking part hands over first.
func stopAndStart(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	sh(ctx, t, active, "pcs cluster stop "+active.Name())
	s.awaitPrimary(ctx, t, standby.Name())
	s.awaitServed(ctx, t)
	st, err := demo.Status(ctx, active)
	if err != nil || st.Running {
		t.Errorf("the stopped host's daemon says running %v, %v", st.Running, err)
	}
	sh(ctx, t, standby, "pcs cluster start "+active.Name())
	s.awaitWhole(ctx, t)
	// A start right after a stop must not be taken for one that comes too late.
	sh(ctx, t, standby, "pcs cluster stop "+active.Name()+" && pcs cluster start "+active.Name())
}

// standbyAndBack: an operator takes a host out of service and back.
func standbyAndBack(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	sh(ctx, t, active, "pcs node standby "+active.Name())
	s.awaitPrimary(ctx, t, standby.Name())
	s.awaitServed(ctx, t)
	sh(ctx, t, active, "pcs node unstandby "+active.Name())
}

// diskReplaced: the standby gets an empty disk. It must not be in U, whatever the log says, before a full resync (S1).
func diskReplaced(ctx context.Context, t *testing.T, s *stage) {
	_, standby := s.roles(ctx, t)
	kill(ctx, t, standby)
	s.awaitServed(ctx, t)
	if err := standby.ReplaceDisk(ctx); err != nil {
		t.Fatal(err)
	}
	start(ctx, t, standby)
	s.awaitServed(ctx, t)
	sh(ctx, t, standby, "drbdadm create-md mysqlr0")
	sh(ctx, t, standby, "pcs resource cleanup drbd_ha")
}

// hostReplaced: a new machine with the name and address of a database host takes its place.
func hostReplaced(ctx context.Context, t *testing.T, s *stage) {
	active, standby := s.roles(ctx, t)
	kill(ctx, t, standby)
	s.awaitServed(ctx, t)
	if err := standby.Replace(ctx); err != nil {
		t.Fatal(err)
	}
	start(ctx, t, standby)
	// What the tutorial did on a new host, and then what makes it the member it stands for.
	resource := sh(ctx, t, active, "cat /etc/drbd.d/mysqlr0.res")
	for _, step := range []tutorial.Step{
		{Line: "cat > /etc/drbd.d/mysqlr0.res", Stdin: resource},
		{Line: "drbdadm create-md mysqlr0"},
		{Line: "systemctl enable drbd"},
		{Line: "install -d -o mysql -g mysql /var/lib/mysql"},
		{Line: "passwd hacluster", Stdin: "P@ssw0rd01\nP@ssw0rd01\n"},
		{Line: "sync --file-system /etc"}, // a later history cuts the power
	} {
		type1(ctx, t, standby, step)
	}
	type1(ctx, t, active, tutorial.Step{Line: "pcs cluster auth --force " + standby.Name(), Stdin: "hacluster\nP@ssw0rd01\n"})
	type1(ctx, t, active, tutorial.Step{Line: "holdfast member add " + standby.Name()})
}

// type1 types one line that must succeed.
func type1(ctx context.Context, t *testing.T, h *lab.Host, step tutorial.Step) {
	t.Helper()
	out, code, err := typed(ctx, h, step.Line, step.Stdin)
	if err != nil || code != 0 {
		t.Fatalf("on %s, %q: exit code %d, %v\n%s", h.Name(), step.Line, code, err, out)
	}
}

func kill(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	if err := h.Kill(ctx); err != nil {
		t.Fatal(err)
	}
}

// identicalReplicas stops everything, compares the replicas byte by byte, and starts everything again.
func identicalReplicas(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), historyLimit)
	defer cancel()
	s := set(ctx, t)
	defer func() {
		if t.Failed() {
			s.spoil(t)
		}
	}()
	s.awaitWhole(ctx, t)
	s.verify(ctx, t)
	s.watch.Stop()
	s.rows.Stop()
	v, err := demo.Volume(ctx, s.lab.Host(tutorial.DB1), tutorial.Volume)
	if err != nil {
		t.Fatal(err)
	}
	sh(ctx, t, s.lab.Host(tutorial.DB1), "pcs cluster stop --all")
	s.compare(t, v.SizeBytes)
	sh(ctx, t, s.lab.Host(tutorial.DB1), "pcs cluster start --all")
	s.awaitWhole(ctx, t)
	s.verify(ctx, t)
}

// compare compares the replicas of volumes that are down.
func (s *stage) compare(t *testing.T, size int64) {
	t.Helper()
	same, err := demo.SameData(s.lab, size)
	if err != nil || !same {
		t.Errorf("the replicas are the same: %v, %v; %s", same, err, differences(s.lab, size))
	}
}

// differences says for a person where two data areas differ, in blocks of 4 KiB.
func differences(l *lab.Lab, size int64) string {
	var disks [2]*os.File
	for i, name := range []string{tutorial.DB1, tutorial.DB2} {
		f, err := os.Open(l.Host(name).Path("/dev/sdc"))
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		disks[i] = f
	}
	const block = 4096
	var where []string
	a, b := make([]byte, block), make([]byte, block)
	for off := int64(0); off < size; off += block {
		_, errA := disks[0].ReadAt(a, off)
		_, errB := disks[1].ReadAt(b, off)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			where = append(where, fmt.Sprintf("%d(%d/%d zeros)", off/block, bytes.Count(a, []byte{0}), bytes.Count(b, []byte{0})))
		}
	}
	return fmt.Sprintf("%d blocks of 4 KiB differ: %s", len(where), strings.Join(where[:min(40, len(where))], " "))
}
