package histories

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/image"
	"holdfast/internal/lab/tutorial"
)

// The stage of the planted bugs is smaller than the tutorial's: two database hosts, a witness, and a client with a balancer.
// On the volume there is no file system: histories write blocks, so that what was acknowledged, and when, is exact. A
// MariaDB that no volume protects (each host has its own data) runs where the volume is Primary, in the histories that enable
// it: it stands for all that only the guard and the balancers keep from running, or being reached, twice.
const (
	device    = "/dev/drbd1"
	blockSize = 4096
	// plantedDiskMiB holds more extents (of 4 MiB) than the activity log, which has fewExtents, DRBD's least.
	plantedDiskMiB = 360
	fewExtents     = 67
	// opLimit bounds one operation on a device or database that may never answer.
	opLimit = 5 * time.Second
)

// plantedTopology is the tutorial's without what no history here needs.
func plantedTopology() lab.Topology {
	t := lab.Tutorial()
	t.Hosts = slices.DeleteFunc(t.Hosts, func(h lab.HostSpec) bool { return absent(h.Name) })
	for i := range t.Hosts {
		if t.Hosts[i].Role == image.Web {
			t.Hosts[i].Role = image.Plain
		}
	}
	return t
}

func absent(host string) bool { return host == tutorial.Web2 || host == tutorial.PublicBalancer }

// raisePlanted brings up the stage with the healthy program, and takes the snapshot that every history begins from.
func raisePlanted(t *testing.T) *stage {
	t.Helper()
	if err := strike(); err != nil {
		t.Fatal(err)
	}
	if err := lab.Down(labName); err != nil { // of a run that was killed
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), tutorialLimit)
	defer cancel()
	l, err := lab.Up(ctx, lab.Config{Name: labName, Program: program(t), Topology: plantedTopology(), DiskMiB: plantedDiskMiB})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{lab: l}
	shared.stage = s
	s.furnish(ctx, t)
	return s
}

// furnish makes volume, databases and cluster, has everything at rest and takes the snapshot.
func (s *stage) furnish(ctx context.Context, t *testing.T) {
	t.Helper()
	var databases sync.WaitGroup
	for _, name := range []string{tutorial.DB1, tutorial.DB2} {
		databases.Go(func() { s.makeDatabase(ctx, t, s.lab.Host(name)) })
	}
	databases.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if err := tutorial.Replay(ctx, demo.LabRunner{Lab: s.lab}, plantedSteps(), io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := demo.AwaitWhole(ctx, s.lab); err != nil {
		t.Fatal(err)
	}
	one := s.lab.Host(tutorial.DB1)
	sh(ctx, t, one, "pcs resource meta ms_drbd_ha target-role=Slave")
	s.await(ctx, t, "the volume rests", func() bool { return demo.Primary(ctx, s.lab) == "" && len(s.replicas(ctx)) == 2 })
	var names []string
	for _, h := range s.lab.Hosts() {
		sh(ctx, t, h, "sync --file-system /var")
		names = append(names, h.Name())
	}
	if err := s.lab.Kill(ctx, names...); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Snapshot(ctx, s.snapshot()); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) snapshot() string { return filepath.Join(s.lab.Dir(), "snapshot") }

// makeDatabase gives a host a MariaDB of its own, with a user and a table.
func (s *stage) makeDatabase(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	for _, line := range []string{
		"service mariadb start",
		fmt.Sprintf(`mysql -u root -e "create database %[1]s; create user '%[2]s'@'%%' identified by '%[3]s'; grant all on %[1]s.* to '%[2]s'@'%%';
create table %[1]s.served (id int auto_increment primary key) engine=innodb"`, tutorial.DatabaseName, tutorial.DatabaseUser, tutorial.DatabasePass),
		"systemctl stop mariadb.service",
	} {
		if out, code, err := typed(ctx, h, line, ""); err != nil || code != 0 {
			t.Errorf("on %s, %q: exit code %d, %v\n%s", h.Name(), line, code, err, out)
			return
		}
	}
}

// plantedSteps are the tutorial's steps that this stage needs, changed where it has less or other things.
func plantedSteps() []tutorial.Step {
	volume := tutorial.Volumes()
	mkfs := slices.IndexFunc(volume, func(s tutorial.Step) bool { return strings.HasPrefix(s.Line, "mkfs") })
	steps := slices.Clone(volume[:mkfs])
	for i := range steps {
		steps[i].Stdin = strings.Replace(steps[i].Stdin, "protocol C;", fmt.Sprintf("protocol C;\ndisk { al-extents %d; }", fewExtents), 1)
	}
	steps = append(steps, tutorial.Step{Host: tutorial.DB1, Line: "drbdadm secondary " + tutorial.Volume})
	for _, s := range tutorial.Cluster() {
		s.Line = strings.ReplaceAll(s.Line, fmt.Sprintf(" %s %s", tutorial.Web2, tutorial.PublicBalancer), "")
		if !absent(s.Host) && !s.Slip && !strings.Contains(s.Line, tutorial.Web2) && !strings.Contains(s.Line, tutorial.PublicBalancer) {
			steps = append(steps, s)
		}
	}
	var server string
	for _, s := range tutorial.Resources() {
		if strings.Contains(s.Line, "resource create mysql_svc") {
			server = s.Line
		}
	}
	for _, line := range []string{
		"pcs -f drbd_cfg resource create drbd_ha ocf:linbit:drbd drbd_resource=mysqlr0 op monitor interval=60s",
		"pcs -f drbd_cfg resource master ms_drbd_ha drbd_ha master-max=1 master-node-max=1 clone-max=2 clone-node-max=1 notify=true",
		server,
		"pcs -f drbd_cfg resource meta mysql_svc target-role=Stopped",
		"pcs -f drbd_cfg constraint colocation add mysql_svc with ms_drbd_ha INFINITY with-rsc-role=Master",
		"pcs -f drbd_cfg constraint order promote ms_drbd_ha then start mysql_svc",
		"pcs cluster cib-push drbd_cfg",
	} {
		steps = append(steps, tutorial.Step{Host: tutorial.DB1, Line: line})
	}
	balancer := tutorial.Balancers()[0]
	balancer.Line = strings.Replace(balancer.Line, "hosts="+tutorial.Web1+","+tutorial.Web2+","+tutorial.Client, "hosts="+tutorial.Client, 1)
	return append(steps, balancer)
}

// begin puts the stage back to the snapshot, under a program, and waits until it is whole.
func (s *stage) begin(ctx context.Context, t *testing.T, program string) {
	t.Helper()
	if err := s.lab.Restore(ctx, s.snapshot(), program); err != nil {
		t.Fatal(err)
	}
	one := s.lab.Host(tutorial.DB1)
	s.await(ctx, t, "the volume may be promoted", func() bool {
		_, code, err := typed(ctx, one, "pcs resource meta ms_drbd_ha target-role=", "")
		return err == nil && code == 0
	})
	s.awaitWhole(ctx, t)
}

// blocks are what was acknowledged: by number, the content.
type blocks map[int]string

// write has a host's volume acknowledge a block, and with flush that it is durable; it waits as long as that takes.
func (s *stage) write(ctx context.Context, t *testing.T, h *lab.Host, n int, value string, flush bool) blocks {
	t.Helper()
	flags := "direct"
	if flush {
		flags += ",dsync"
	}
	content := make([]byte, blockSize)
	copy(content, value)
	line := fmt.Sprintf("test -b %[1]s && exec dd of=%[1]s bs=%[2]d count=1 seek=%[3]d iflag=fullblock conv=notrunc,nocreat oflag=%[4]s status=none",
		device, blockSize, n, flags)
	ctx, cancel := context.WithTimeout(ctx, serveLimit)
	defer cancel()
	if out, code, err := typed(ctx, h, line, string(content)); err != nil || code != 0 {
		t.Fatalf("write block %d on %s: exit code %d, %v\n%s", n, h.Name(), code, err, out)
	}
	return blocks{n: value}
}

// read reads a block past every cache.
func (s *stage) read(ctx context.Context, h *lab.Host, n int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, opLimit)
	defer cancel()
	line := fmt.Sprintf("test -b %[1]s && exec dd if=%[1]s bs=%[2]d count=1 skip=%[3]d iflag=direct status=none", device, blockSize, n)
	cmd := h.Command(ctx, "sh", "-c", line)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("read block %d on %s: %w", n, h.Name(), err)
	}
	return string(bytes.TrimRight(out, "\x00")), nil
}

// lost judges: which acknowledged blocks the volume does not have, on the host that is Primary now.
func (s *stage) lost(ctx context.Context, t *testing.T, h *lab.Host, acked blocks) error {
	t.Helper()
	for n, want := range acked {
		var got string
		s.await(ctx, t, fmt.Sprintf("%s reads block %d", h.Name(), n), func() bool {
			value, err := s.read(ctx, h, n)
			got = value
			return err == nil
		})
		if got != want {
			return fmt.Errorf("an acknowledged write is lost: block %d on %s is %q, not %q", n, h.Name(), got, want)
		}
	}
	return nil
}

// differ judges: whether the replicas of the whole and idle volume are not the same.
func (s *stage) differ(ctx context.Context, t *testing.T) error {
	t.Helper()
	s.awaitWhole(ctx, t)
	v, err := demo.Volume(ctx, s.lab.Host(tutorial.DB1), tutorial.Volume)
	if err != nil {
		t.Fatal(err)
	}
	same, err := demo.SameData(s.lab, v.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	if !same {
		return fmt.Errorf("the replicas differ: %s", differences(s.lab, v.SizeBytes))
	}
	return nil
}

// awaitPromoted waits until a host's volume itself is Primary: the log may still name a host whose power is gone.
func (s *stage) awaitPromoted(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	s.await(ctx, t, "the volume on "+h.Name()+" is Primary", func() bool {
		look, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		v, err := demo.Volume(look, h, tutorial.Volume)
		return err == nil && v.Role == "Primary"
	})
}

// awaitOnly waits until U has one member.
func (s *stage) awaitOnly(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	s.await(ctx, t, "only "+h.Name()+" is in U", func() bool {
		u := s.replicas(ctx)
		return len(u) == 1 && u[0] == h.Name()
	})
}

// successor is who serves after the active host has lost its power: the standby if it is in U, otherwise the active host
// itself, whose power comes back.
func (s *stage) successor(ctx context.Context, t *testing.T, active, standby *lab.Host) *lab.Host {
	t.Helper()
	var u []string
	s.await(ctx, t, "the witness knows U", func() bool {
		u = s.replicas(ctx)
		return len(u) > 0
	})
	if slices.Contains(u, standby.Name()) {
		s.awaitPromoted(ctx, t, standby)
		return standby
	}
	start(ctx, t, active)
	s.awaitPromoted(ctx, t, active)
	return active
}

// enableDatabase has the cluster run the database, and waits until it serves on a host.
func (s *stage) enableDatabase(ctx context.Context, t *testing.T, on *lab.Host) {
	t.Helper()
	sh(ctx, t, on, "pcs resource meta mysql_svc target-role=")
	s.awaitServing(ctx, t, on)
}

func (s *stage) awaitServing(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	s.await(ctx, t, "the database on "+h.Name()+" serves", func() bool {
		server, err := s.insert(ctx, h, "127.0.0.1:3306")
		return err == nil && server == h.Name()
	})
}

// insert has the database that a host reaches at an address acknowledge a row, on a new connection, and returns the host
// that server runs on.
func (s *stage) insert(ctx context.Context, from *lab.Host, addr string) (server string, err error) {
	ctx, cancel := context.WithTimeout(ctx, opLimit)
	defer cancel()
	db, err := openDatabase(from, addr)
	if err != nil {
		return "", err
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, "SELECT @@hostname").Scan(&server); err != nil {
		return "", err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO served VALUES (NULL)")
	return server, err
}

// openDatabase prepares a single connection from a host to a database.
func openDatabase(from *lab.Host, addr string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = tutorial.DatabaseUser, tutorial.DatabasePass, tutorial.DatabaseName
	c.Net, c.Addr, c.DialFunc = "tcp", addr, from.DialContext
	c.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}
