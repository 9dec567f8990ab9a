package balancer

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/loopback"
)

// mysqlRule follows a volume that db1 or db2 may be Primary of.
func mysqlRule(frontend string, db1, db2 *server) api.BalancerRule {
	return api.BalancerRule{Name: "mysql", Frontend: frontend, Follow: "mysqlr0", Distribution: "SourceIP",
		Probe:    api.BalancerProbe{Kind: "tcp", IntervalMS: 100},
		Backends: []api.BalancerBackend{{Node: "db1", Addr: db1.addr}, {Node: "db2", Addr: db2.addr}}}
}

// webRule serves whoever answers.
func webRule(frontend string, list ...*server) api.BalancerRule {
	r := api.BalancerRule{Name: "web", Frontend: frontend, Probe: api.BalancerProbe{Kind: "tcp", IntervalMS: 100, Fall: 1}}
	for _, s := range list {
		r.Backends = append(r.Backends, api.BalancerBackend{Node: s.name, Addr: s.addr})
	}
	return r
}

func primary(node string, epoch uint64) (map[string]string, map[string]uint64) {
	if node == "" {
		return map[string]string{}, map[string]uint64{}
	}
	return map[string]string{"mysqlr0": node}, map[string]uint64{"mysqlr0": epoch}
}

func TestFailoverHoldsAndResets(t *testing.T) {
	h := start(t)
	db1, db2 := newServer(t, "db1"), newServer(t, "db2")
	front := loopback.Address(t)
	h.update.Rules = []api.BalancerRule{mysqlRule(front, db1, db2)}
	h.update.Primary, h.update.Epoch = primary("db1", 1)
	h.untilOpen(db1.addr, true)
	if b := h.backend(db2.addr); b.Open || b.Reason != "not Primary" {
		t.Errorf("the Secondary: %+v", b)
	}
	old := h.client(front)
	h.expect(old, "db1")

	h.update.Primary, h.update.Epoch = primary("", 0)
	h.update.Lost = []string{"db1"}
	h.push()
	h.expectReset(old)
	held := h.client(front)
	h.until("the connection to be held", func() bool { h.push(); return h.rule("mysql").Held == 1 })

	h.update.Primary, h.update.Epoch = primary("db2", 2)
	h.push()
	h.expect(held, "db2")
	h.push()
	if r := h.rule("mysql"); r.Resets != 1 || r.Held != 0 || r.Accepted != 2 {
		t.Errorf("status after the failover: %+v", r)
	}
	checkTimeline(t, h.events(), []string{"balancer.open db1", "balancer.close db1", "balancer.open db2"})
}

func checkTimeline(t *testing.T, lines, want []string) {
	t.Helper()
	var got []string
	for _, l := range lines {
		var e struct{ Event, Backend, Node string }
		var at struct{ At, Boot int64 }
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal([]byte(l), &at); at.At == 0 || at.Boot == 0 || e.Node != "web1" {
			t.Errorf("incomplete event: %s", l)
		}
		got = append(got, e.Event+" "+e.Backend)
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("timeline: %q, want %q", got, want)
	}
}

// A host that has just become Primary is not trusted on an old probe: its database may not run yet.
func TestNewPrimaryIsProbedFirst(t *testing.T) {
	h := start(t)
	db1, db2 := newServer(t, "db1"), newServer(t, "db2")
	db2.closeListener()
	rule := mysqlRule(loopback.Address(t), db1, db2)
	rule.Probe.IntervalMS = 60000 // only the hurried probes count
	h.update.Rules = []api.BalancerRule{rule}
	h.update.Primary, h.update.Epoch = primary("db1", 1)
	h.untilOpen(db1.addr, true)
	h.update.Primary, h.update.Epoch = primary("db2", 2)
	h.until("the probe of db2 to fail", func() bool {
		h.push()
		return h.backend(db2.addr).Reason == "probe failed: connection refused"
	})
	held := h.client(rule.Frontend)
	db2.open(t)
	h.expect(held, "db2")

	db2.kill() // and back again: db1's last good probe is of another epoch
	db1.closeListener()
	h.update.Primary, h.update.Epoch = primary("db1", 3)
	h.push()
	if h.backend(db1.addr).Open {
		t.Error("db1 opened on a probe of before it was Primary")
	}
}

func TestOldViewStopsFollowingRules(t *testing.T) {
	h := start(t)
	db1, db2, web := newServer(t, "db1"), newServer(t, "db2"), newServer(t, "web")
	my, www := mysqlRule(loopback.Address(t), db1, db2), webRule(loopback.Address(t), web)
	my.HoldSeconds = 1
	h.update.Rules = []api.BalancerRule{my, www}
	h.update.Primary, h.update.Epoch = primary("db1", 1)
	h.untilOpen(db1.addr, true)
	h.untilOpen(web.addr, true)
	sql, page := h.client(my.Frontend), h.client(www.Frontend)
	h.expect(sql, "db1")
	h.expect(page, "web")
	h.pushUntil(200 * time.Millisecond) // the daemon's last word
	h.expectReset(sql)
	h.expectReset(h.client(my.Frontend)) // held, then refused
	if _, err := page.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(page, make([]byte, 1)); err != nil {
		t.Errorf("a rule that follows nothing stopped: %v", err)
	}
	h.expect(h.client(www.Frontend), "web")
	h.push()
	h.untilOpen(db1.addr, true) // a fresh view opens it again
	if r := h.rule("mysql"); r.Refused != 1 {
		t.Errorf("%d connections refused, want 1", r.Refused)
	}
}

func TestForwardsWithoutADaemon(t *testing.T) {
	h := start(t)
	a, b := newServer(t, "a"), newServer(t, "b")
	rule := webRule(loopback.Address(t), a, b)
	h.update.Rules = []api.BalancerRule{rule}
	h.untilOpen(a.addr, true)
	h.untilOpen(b.addr, true)
	h.daemon.Close()
	a.kill()
	for range 10 {
		h.expect(h.client(rule.Frontend), "b")
	}
	h.connect()
	h.untilOpen(a.addr, false)
	a.open(t)
	h.untilOpen(a.addr, true)
}

// Nothing has been sent when a connect fails, so another backend is tried and the client sees no error.
func TestConnectIsRetriedElsewhere(t *testing.T) {
	h := start(t)
	a, b := newServer(t, "a"), newServer(t, "b")
	rule := webRule(loopback.Address(t), a, b)
	rule.Probe = api.BalancerProbe{IntervalMS: 60000, Fall: 5} // probes will not notice
	h.update.Rules = []api.BalancerRule{rule}
	h.untilOpen(a.addr, true)
	h.untilOpen(b.addr, true)
	a.kill()
	for range 20 {
		h.expect(h.client(rule.Frontend), "b")
	}
	b.kill()
	held := h.client(rule.Frontend)
	a.open(t)
	h.expect(held, "a")
}

func TestDeadBackendResetsItsConnections(t *testing.T) {
	h := start(t)
	a, b := newServer(t, "a"), newServer(t, "b")
	rule := webRule(loopback.Address(t), a, b)
	h.update.Rules = []api.BalancerRule{rule}
	h.untilOpen(a.addr, true)
	h.untilOpen(b.addr, true)
	conns := map[string]net.Conn{}
	h.until("a connection on each", func() bool {
		c := h.client(rule.Frontend)
		name, err := hello(c)
		if err != nil {
			t.Fatal(err)
		}
		conns[name] = c
		return len(conns) == 2
	})
	a.closeListener() // frozen, say: its connections are still there
	h.expectReset(conns["a"])
	if _, err := conns["b"].Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conns["b"], make([]byte, 1)); err != nil {
		t.Errorf("the connection to the good backend ended: %v", err)
	}
}

func TestHoldIsBounded(t *testing.T) {
	h := start(t)
	a := newServer(t, "a")
	a.closeListener()
	rule := webRule(loopback.Address(t), a)
	rule.HoldMax, rule.HoldSeconds = 2, 600
	h.update.Rules = []api.BalancerRule{rule}
	h.push()
	first, second := h.client(rule.Frontend), h.client(rule.Frontend)
	h.until("two to be held", func() bool { h.push(); return h.rule("web").Held == 2 })
	h.expectReset(h.client(rule.Frontend))
	first.Close() // a client that gives up frees its place
	h.until("one to be held", func() bool { h.push(); return h.rule("web").Held == 1 })
	third := h.client(rule.Frontend)
	io.WriteString(third, "GET / HTTP/1.0\n") // one that speaks first is held as well
	h.until("two to be held", func() bool { h.push(); return h.rule("web").Held == 2 })
	a.open(t)
	h.expect(second, "a")
	h.expect(third, "a")
	if line, err := hello(third); err != nil || line != "GET / HTTP/1.0" {
		t.Errorf("what was sent while held came back as %q, %v", line, err)
	}
	h.push()
	// A reset that comes before connect() has returned makes the test's client try again: one refusal or more.
	if r := h.rule("web"); r.Refused == 0 || r.Held != 0 {
		t.Errorf("status: %+v", r)
	}
}

func TestOperatorsWords(t *testing.T) {
	h := start(t)
	a, b := newServer(t, "a"), newServer(t, "b")
	rule := webRule(loopback.Address(t), a, b)
	rule.Backends[1].Backup = true
	h.update.Rules = []api.BalancerRule{rule}
	h.untilOpen(a.addr, true)
	onA := h.client(rule.Frontend)
	h.expect(onA, "a")
	if got := h.backend(b.addr).Reason; !strings.Contains(got, "backup") {
		t.Errorf("the backup is closed because: %q", got)
	}
	set := func(admin string, seconds int) {
		rule.Backends = append([]api.BalancerBackend{}, rule.Backends...)
		rule.Backends[0].Admin, rule.Backends[0].DrainSeconds = admin, seconds
		h.update.Rules = []api.BalancerRule{rule}
	}
	set("drain", 600)
	h.untilOpen(b.addr, true)
	h.expect(h.client(rule.Frontend), "b")
	if _, err := onA.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(onA, make([]byte, 1)); err != nil {
		t.Errorf("a draining backend lost its connection: %v", err)
	}
	set("down", 0)
	h.push()
	h.expectReset(onA)
	set("up", 0)
	h.untilOpen(a.addr, true)
	onA = h.client(rule.Frontend)
	h.expect(onA, "a")
	set("drain", 1)
	h.push()
	h.expectReset(onA) // the deadline
}

func TestRulesComeAndGo(t *testing.T) {
	h := start(t)
	a, b := newServer(t, "a"), newServer(t, "b")
	rule := webRule(loopback.Address(t), a)
	h.update.Rules = []api.BalancerRule{rule}
	h.untilOpen(a.addr, true)
	conn := h.client(rule.Frontend)
	h.expect(conn, "a")

	rule.Backends = append(rule.Backends, api.BalancerBackend{Node: "b", Addr: b.addr})
	h.update.Rules = []api.BalancerRule{rule}
	h.untilOpen(b.addr, true)
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("adding a backend ended a connection: %v", err)
	}

	rule.Backends = rule.Backends[1:]
	h.update.Rules = []api.BalancerRule{rule}
	h.push()
	h.expectReset(conn)
	h.expect(h.client(rule.Frontend), "b")

	h.update.Rules = nil
	h.push()
	h.until("the frontend to close", func() bool {
		c, err := net.Dial("tcp", rule.Frontend)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

func TestFrontendInUseIsTriedAgain(t *testing.T) {
	h := start(t)
	a := newServer(t, "a")
	l, err := net.Listen("tcp", loopback.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	rule := webRule(l.Addr().String(), a)
	h.update.Rules = []api.BalancerRule{rule, {Name: "bad", Frontend: "nowhere"}}
	h.until("the error", func() bool { h.push(); return strings.Contains(h.rule("web").Error, "address already in use") })
	if got := h.rule("bad").Error; !strings.Contains(got, `frontend "nowhere" is not ADDRESS:PORT`) {
		t.Errorf("the bad rule's error is %q", got)
	}
	l.Close()
	h.until("the frontend", func() bool { h.push(); return h.rule("web").Error == "" })
	h.expect(h.client(rule.Frontend), "a")
}

func TestOnlyOneBalancer(t *testing.T) {
	h := start(t)
	err := Run(t.Context(), Config{Root: h.root, Clock: clock.System{}, Node: "web1"})
	if err == nil || !strings.Contains(err.Error(), "another balancer already listens") {
		t.Errorf("a second balancer ended with: %v", err)
	}
}

func TestNewerDaemonReplacesTheOlder(t *testing.T) {
	h := start(t)
	old := h.daemon
	h.connect()
	old.SetReadDeadline(time.Now().Add(patient))
	if _, err := old.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the old connection: %v", err)
	}
	h.push()
	h.update.Version = 2
	if err := api.WriteFrame(h.daemon, api.BalancerUpdate{Version: 2}); err != nil {
		t.Fatal(err)
	}
	h.daemon.SetReadDeadline(time.Now().Add(patient))
	if err := api.ReadFrame(h.daemon, &api.BalancerStatus{}); err == nil || os.IsTimeout(err) {
		t.Errorf("another version was answered: %v", err)
	}
}

func TestStopResetsConnections(t *testing.T) {
	h := start(t)
	a := newServer(t, "a")
	rule := webRule(loopback.Address(t), a)
	h.update.Rules = []api.BalancerRule{rule}
	h.untilOpen(a.addr, true)
	conn := h.client(rule.Frontend)
	h.expect(conn, "a")
	h.stop()
	h.expectReset(conn)
}
