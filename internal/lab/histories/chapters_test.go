package histories

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/tutorial"
)

// TestTutorial types the tutorial into a fresh lab. What each line prints is checked by the replay, what it leaves behind
// after each chapter here.
func TestTutorial(t *testing.T) {
	needLab(t)
	ctx, cancel := context.WithTimeout(context.Background(), tutorialLimit)
	defer cancel()
	s := raise(t)
	defer func() {
		if t.Failed() {
			s.spoil(t)
		}
	}()
	for _, chapter := range []struct {
		name  string
		steps []tutorial.Step
		left  func(context.Context, *testing.T, *stage)
	}{
		{"volumes", tutorial.Volumes(), leftByVolumes},
		{"database", tutorial.Database(), leftByDatabase},
		{"cluster", tutorial.Cluster(), leftByCluster},
		{"resources", tutorial.Resources(), leftByResources},
		{"balancers", tutorial.Balancers(), leftByBalancers},
	} {
		begun := time.Now()
		if err := tutorial.Replay(ctx, newCareful(s, chapter.steps), chapter.steps, t.Output()); err != nil {
			t.Fatal(err)
		}
		chapter.left(ctx, t, s)
		t.Logf("chapter %s: %.1f s", chapter.name, time.Since(begun).Seconds())
		if t.Failed() {
			return
		}
	}
}

// careful types lines and makes sure that the tutorial's slips change nothing.
type careful struct {
	demo.LabRunner
	slips map[string]bool
}

func newCareful(s *stage, steps []tutorial.Step) careful {
	c := careful{demo.LabRunner{Lab: s.lab}, map[string]bool{}}
	for _, step := range steps {
		c.slips[step.Line] = step.Slip
	}
	return c
}

// Run is the runner's, between two looks if the line is a slip.
func (c careful) Run(ctx context.Context, host, line, stdin string) (string, int, error) {
	if !c.slips[line] {
		return c.LabRunner.Run(ctx, host, line, stdin)
	}
	before, err := c.everything(ctx, host)
	if err != nil {
		return "", 0, err
	}
	out, code, err := c.LabRunner.Run(ctx, host, line, stdin)
	if err != nil {
		return out, code, err
	}
	after, err := c.everything(ctx, host)
	if err == nil && before != after {
		err = fmt.Errorf("the slip has changed something: before it\n%s\nand after it\n%s", before, after)
	}
	return out, code, err
}

// everything is what a line about the cluster's configuration could change: the file being edited, the configuration, and
// who takes part.
func (c careful) everything(ctx context.Context, host string) (string, error) {
	var all strings.Builder
	file, _, err := c.LabRunner.Run(ctx, host, "cat drbd_cfg 2>&1; ls /root", "")
	if err != nil {
		return "", err
	}
	all.WriteString(file)
	for _, name := range []string{tutorial.DB1, tutorial.DB2} {
		st, err := demo.Status(ctx, c.Lab.Host(name))
		if err != nil {
			return "", err
		}
		_, rest, _ := strings.Cut(st.CIB, "<configuration")
		configuration, _, _ := strings.Cut(rest, "</configuration>")
		fmt.Fprintf(&all, "%s: configured %v, running %v, members %d\n%s\n", name, st.Configured, st.Running, len(st.Members), configuration)
	}
	return all.String(), nil
}

// wantLine fails unless a line prints exactly that.
func wantLine(ctx context.Context, t *testing.T, h *lab.Host, line, want string) {
	t.Helper()
	out, _, err := typed(ctx, h, line, "")
	if err != nil || strings.TrimSpace(out) != want {
		t.Errorf("on %s, %q printed %q (%v), not %q", h.Name(), line, out, err, want)
	}
}

// wantMounted checks where /var/lib/mysql is mounted, with ext3, and where not.
func wantMounted(ctx context.Context, t *testing.T, s *stage, on string) {
	t.Helper()
	for _, name := range []string{tutorial.DB1, tutorial.DB2} {
		want := "not mounted"
		if name == on {
			want = "ext3"
		}
		wantLine(ctx, t, s.lab.Host(name), "findmnt -n -o FSTYPE /var/lib/mysql || echo not mounted", want)
	}
}

// wantDatabase checks on which host MariaDB runs, and that on the other nothing of it does.
func wantDatabase(ctx context.Context, t *testing.T, s *stage, on string) {
	t.Helper()
	for _, name := range []string{tutorial.DB1, tutorial.DB2} {
		want := "0"
		if name == on {
			want = "1"
		}
		wantLine(ctx, t, s.lab.Host(name), "pgrep -c -x mariadbd", want)
	}
}

func leftByVolumes(ctx context.Context, t *testing.T, s *stage) {
	one, two := s.lab.Host(tutorial.DB1), s.lab.Host(tutorial.DB2)
	wantLine(ctx, t, one, "drbdadm role mysqlr0", "Primary/Secondary")
	wantLine(ctx, t, two, "drbdadm role mysqlr0", "Secondary/Primary")
	wantLine(ctx, t, one, "drbdadm dstate mysqlr0", "UpToDate/UpToDate")
	wantLine(ctx, t, two, "drbdadm cstate mysqlr0", "Connected")
	wantLine(ctx, t, one, "test -b /dev/drbd1 && test -e /dev/drbd/by-res/mysqlr0 && echo there", "there")
	wantMounted(ctx, t, s, tutorial.DB1)
}

func leftByDatabase(ctx context.Context, t *testing.T, s *stage) {
	one, two := s.lab.Host(tutorial.DB1), s.lab.Host(tutorial.DB2)
	wantLine(ctx, t, one, "drbdadm role mysqlr0", "Secondary/Primary")
	wantLine(ctx, t, two, "drbdadm role mysqlr0", "Primary/Secondary")
	wantMounted(ctx, t, s, tutorial.DB2)
	wantDatabase(ctx, t, s, tutorial.DB2)
	query := "mysql -N -u " + tutorial.DatabaseUser + " -p" + tutorial.DatabasePass + " -h 10.0.1.5 -e 'show databases' 2>/dev/null | grep -v schema"
	wantLine(ctx, t, one, query, tutorial.DatabaseName)
	// root's new password is what lets another user of the host in.
	wantLine(ctx, t, two, "runuser -u nobody -- mysql -u root -N -e 'select 1' 2>/dev/null || echo refused", "refused")
	wantLine(ctx, t, two, "runuser -u nobody -- mysql -u root -p'P@ssw0rd01' -N -e 'select 1' 2>/dev/null || echo refused", "1")
}

func leftByCluster(ctx context.Context, t *testing.T, s *stage) {
	st, err := demo.Status(ctx, s.lab.Host(tutorial.DB2))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{
		tutorial.DB1: "data", tutorial.DB2: "data", tutorial.Web1: "witness", tutorial.Web2: "follower",
		tutorial.PublicBalancer: "follower", tutorial.Client: "follower",
	}
	for _, m := range st.Members {
		if kinds[m.Node] != m.Kind || m.Lease != "active" || m.Voter != (m.Kind != "follower") {
			t.Errorf("member %+v; %s is to be a %s", m, m.Node, kinds[m.Node])
		}
		delete(kinds, m.Node)
	}
	if len(kinds) > 0 {
		t.Errorf("these are no members: %v", kinds)
	}
	want := map[string]string{"stonith-enabled": "false", "no-quorum-policy": "ignore", "cluster-name": "mysqlcluster"}
	text := sh(ctx, t, s.lab.Host(tutorial.DB2), "pcs cluster cib")
	for name, value := range parseCIB(t, text).properties() {
		if w, asked := want[name]; asked && w == value {
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("the CIB does not say %v:\n%s", want, text)
	}
}

// cib is what the tutorial's configuration leaves in the CIB.
type cib struct {
	Properties []nvpair    `xml:"configuration>crm_config>cluster_property_set>nvpair"`
	Primitives []primitive `xml:"configuration>resources>primitive"`
	// Clones: pcs writes <clone> with promotable=true, or the older <master>.
	Clones      []clone      `xml:"configuration>resources>clone"`
	Masters     []clone      `xml:"configuration>resources>master"`
	Colocations []constraint `xml:"configuration>constraints>rsc_colocation"`
	Orders      []constraint `xml:"configuration>constraints>rsc_order"`
}

type nvpair struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type primitive struct {
	ID         string   `xml:"id,attr"`
	Class      string   `xml:"class,attr"`
	Provider   string   `xml:"provider,attr"`
	Type       string   `xml:"type,attr"`
	Attributes []nvpair `xml:"instance_attributes>nvpair"`
	Ops        []struct {
		Name     string `xml:"name,attr"`
		Interval string `xml:"interval,attr"`
		Timeout  string `xml:"timeout,attr"`
	} `xml:"operations>op"`
}

type clone struct {
	ID        string    `xml:"id,attr"`
	Primitive primitive `xml:"primitive"`
	Meta      []nvpair  `xml:"meta_attributes>nvpair"`
}

type constraint struct {
	RSC         string `xml:"rsc,attr"`
	With        string `xml:"with-rsc,attr"`
	WithRole    string `xml:"with-rsc-role,attr"`
	Score       string `xml:"score,attr"`
	First       string `xml:"first,attr"`
	FirstAction string `xml:"first-action,attr"`
	Then        string `xml:"then,attr"`
	ThenAction  string `xml:"then-action,attr"`
}

func parseCIB(t *testing.T, text string) cib {
	t.Helper()
	var c cib
	if err := xml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("the CIB: %v\n%s", err, text)
	}
	return c
}

func (c cib) properties() map[string]string { return values(c.Properties) }

func values(pairs []nvpair) map[string]string {
	all := map[string]string{}
	for _, p := range pairs {
		all[p.Name] = p.Value
	}
	return all
}

// wantValues checks that all of want is in pairs.
func wantValues(t *testing.T, where string, pairs []nvpair, want map[string]string) {
	t.Helper()
	got := values(pairs)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %s is %q, not %q", where, name, got[name], value)
		}
	}
}

func leftByResources(ctx context.Context, t *testing.T, s *stage) {
	c := parseCIB(t, sh(ctx, t, s.lab.Host(tutorial.DB2), "pcs cluster cib"))
	wantResources(t, c)
	wantConstraints(t, c)
	wantVolumeRecord(ctx, t, s)
	two := s.lab.Host(tutorial.DB2)
	wantLine(ctx, t, two, "drbdadm role mysqlr0", "Primary/Secondary")
	wantMounted(ctx, t, s, tutorial.DB2)
	wantDatabase(ctx, t, s, tutorial.DB2)
	// The server that was started by hand is found by the cluster's first look, and left running.
	wantLine(ctx, t, two, "pcs resource status mysql_svc | grep -c 'Started lqi1ecmy02'", "1")
}

func wantResources(t *testing.T, c cib) {
	t.Helper()
	clones := slices.Concat(c.Clones, c.Masters)
	if len(clones) != 1 || clones[0].ID != "ms_drbd_ha" || clones[0].Primitive.ID != "drbd_ha" || clones[0].Primitive.Provider != "linbit" {
		t.Fatalf("clones: %+v", clones)
	}
	wantValues(t, "ms_drbd_ha", clones[0].Meta, map[string]string{"clone-max": "2", "clone-node-max": "1", "notify": "true"})
	wantValues(t, "drbd_ha", clones[0].Primitive.Attributes, map[string]string{"drbd_resource": tutorial.Volume})
	if len(c.Primitives) != 2 {
		t.Fatalf("primitives: %+v", c.Primitives)
	}
	for _, p := range c.Primitives {
		switch p.ID {
		case "drbd_fs":
			wantValues(t, p.ID, p.Attributes, map[string]string{"device": "/dev/drbd1", "directory": "/var/lib/mysql", "fstype": "ext3"})
		case "mysql_svc":
			wantValues(t, p.ID, p.Attributes, map[string]string{
				"binary": "/usr/bin/mysqld_safe", "config": "/etc/my.cnf", "datadir": "/var/lib/mysql", "pid": "/var/run/mariadb/mariadb.pid",
				"socket": "/var/lib/mysql/mysql.sock", "additional_parameters": "--bind-address=0.0.0.0",
			})
		default:
			t.Errorf("unexpected resource %s", p.ID)
		}
		if p.Class != "ocf" || p.Provider != "heartbeat" || len(p.Ops) == 0 {
			t.Errorf("resource %+v", p)
		}
	}
}

func wantConstraints(t *testing.T, c cib) {
	t.Helper()
	if len(c.Colocations) != 2 || len(c.Orders) != 2 {
		t.Fatalf("constraints: %+v %+v", c.Colocations, c.Orders)
	}
	for i, want := range []constraint{{RSC: "drbd_fs", With: "ms_drbd_ha"}, {RSC: "mysql_svc", With: "drbd_fs"}} {
		got := c.Colocations[i]
		if got.RSC != want.RSC || got.With != want.With || got.Score != "INFINITY" {
			t.Errorf("colocation %d: %+v", i+1, got)
		}
	}
	if role := c.Colocations[0].WithRole; role != "Master" && role != "Promoted" {
		t.Errorf("drbd_fs is with the role %q of ms_drbd_ha", role)
	}
	if o := c.Orders[0]; o.First != "ms_drbd_ha" || o.FirstAction != "promote" || o.Then != "drbd_fs" || o.ThenAction != "start" {
		t.Errorf("order 1: %+v", o)
	}
	if o := c.Orders[1]; o.First != "drbd_fs" || o.Then != "mysql_svc" {
		t.Errorf("order 2: %+v", o)
	}
}

// wantVolumeRecord checks that the log has both disks as they are in U.
func wantVolumeRecord(ctx context.Context, t *testing.T, s *stage) {
	t.Helper()
	st, err := demo.Status(ctx, s.lab.Host(tutorial.DB1))
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Volumes) != 1 || st.Volumes[0].Primary != tutorial.DB2 || len(st.Volumes[0].U) != 2 {
		t.Fatalf("the log's record: %+v", st.Volumes)
	}
	for _, r := range st.Volumes[0].U {
		v, err := demo.Volume(ctx, s.lab.Host(r.Node), tutorial.Volume)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.EqualFold(v.DeviceUUID, r.DeviceUUID) {
			t.Errorf("U names the disk %s on %s; it is %s", r.DeviceUUID, r.Node, v.DeviceUUID)
		}
	}
}

func leftByBalancers(ctx context.Context, t *testing.T, s *stage) {
	for _, name := range []string{tutorial.Web1, tutorial.Web2, tutorial.Client} {
		h := s.lab.Host(name)
		s.await(ctx, t, "10.0.1.10 is an address of "+name, func() bool {
			out, _, err := typed(ctx, h, "ip -o -4 address show dev lo", "")
			return err == nil && strings.Contains(out, "10.0.1.10/32")
		})
		s.await(ctx, t, "the database answers on "+name+" through 10.0.1.10", func() bool { return greets(ctx, h, tutorial.DatabaseAddr) })
	}
	s.await(ctx, t, "the public balancer passes on to a web host", func() bool {
		conn, err := s.lab.Host(tutorial.Client).DialContext(ctx, "tcp", tutorial.PublicAddr)
		if err != nil {
			return false
		}
		defer conn.Close()
		return strings.HasPrefix(exchange(conn, "HEAD / HTTP/1.0\r\n\r\n"), "HTTP/1.")
	})
}

// greets tells whether a MariaDB server says its first word.
func greets(ctx context.Context, from *lab.Host, addr string) bool {
	conn, err := from.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	return strings.Contains(exchange(conn, ""), "MariaDB")
}

// exchange writes and returns the beginning of what comes back, empty when nothing does.
func exchange(conn net.Conn, say string) string {
	if conn.SetDeadline(time.Now().Add(askLimit)) != nil {
		return ""
	}
	if _, err := conn.Write([]byte(say)); err != nil {
		return ""
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
