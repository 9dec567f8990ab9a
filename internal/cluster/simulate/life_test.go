package simulate_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/simulate"
	"holdfast/internal/cluster/transition"
)

// stage is one event in the life of the tutorial's cluster, and what the cluster must do about it.
type stage struct {
	name string
	edit func(l *life)
	// does are the operations that must be carried out, in this order (others may come between).
	does []string
	// idle: nothing may be done.
	idle bool
	// stuck: a resource that will not stop keeps the transition from ending, each time anew.
	stuck bool
	// ends are lines the status must hold afterwards.
	ends []string
}

// life is the cluster as it goes through the stages.
type life struct {
	t   *testing.T
	doc *cib.Document
	now time.Time
}

func (l *life) score(node, value string) {
	l.doc.SetTransientAttribute(node, cib.PromotionScoreName("drbd_ha"), value)
}

func (l *life) standby(node, value string) { l.doc.SetNodeAttribute(node, "standby", value) }

func (l *life) meta(id, name, value string) { cib.SetMeta(l.doc.Resource(id), name, value) }

// lost is a node that vanished and is known to be gone.
func (l *life) lost(node string) {
	id := l.doc.NodeID(node)
	l.doc.ForgetNode(node)
	l.doc.SetNodeState(cib.OfflineState(id, node))
}

// back is a node that came up with nothing running.
func (l *life) back(node string) {
	id := l.doc.NodeID(node)
	l.doc.ForgetNode(node)
	l.doc.SetNodeState(cib.OnlineState(id, node))
}

// fail records a failed operation, and counts it.
func (l *life) fail(node, rsc, task string, interval time.Duration, rc int) {
	e := l.doc.Resource(rsc)
	timeout := map[string]string{}
	if interval > 0 {
		timeout["CRM_meta_timeout"] = "30000"
	}
	for _, set := range e.ChildrenNamed("instance_attributes") {
		for _, nv := range set.Children {
			timeout[nv.Get("name")] = nv.Get("value")
		}
	}
	cib.RecordOp(l.doc, cib.OpRecord{Node: node, Resource: rsc, Class: "ocf", Provider: e.Get("provider"), Type: e.Get("type"),
		Task: task, Interval: interval, RC: rc, TargetRC: 0, CallID: l.doc.LastCallID(node) + 1, ActionID: 1, TransitionID: 1,
		Origin: "test", Digest: cib.OpDigest(timeout), LastChange: l.now})
	l.doc.RecordFailure(node, rsc, task, interval, task == "start" || task == "stop", l.now)
}

// cleanup forgets a resource's history and failures.
func (l *life) cleanup(rsc string) {
	for _, n := range []string{"n1", "n2"} {
		l.doc.ClearFailures(n, rsc, "", 0)
	}
	l.doc.DeleteHistory("", rsc)
}

// found records what a probe found running.
func (l *life) found(node, rsc string, rc int) {
	e := l.doc.Resource(rsc)
	cib.RecordOp(l.doc, cib.OpRecord{Node: node, Resource: rsc, Class: "ocf", Provider: e.Get("provider"), Type: e.Get("type"),
		Task: "monitor", RC: rc, TargetRC: 7, CallID: l.doc.LastCallID(node) + 1, ActionID: 1, TransitionID: 1, Origin: "test",
		Digest: digestOf(e), LastChange: l.now})
}

func digestOf(e *cib.Element) string {
	p := map[string]string{}
	for _, set := range e.ChildrenNamed("instance_attributes") {
		for _, nv := range set.Children {
			p[nv.Get("name")] = nv.Get("value")
		}
	}
	return cib.OpDigest(p)
}

const (
	allOnN1 = "Promoted: [ n1 ]|Unpromoted: [ n2 ]|drbd_fs (ocf:heartbeat:Filesystem): Started n1|mysql_svc (ocf:heartbeat:mysql): Started n1"
	allOnN2 = "Promoted: [ n2 ]|Unpromoted: [ n1 ]|drbd_fs (ocf:heartbeat:Filesystem): Started n2|mysql_svc (ocf:heartbeat:mysql): Started n2"
)

func stages() []stage {
	return slices.Concat(membershipStages(), configurationStages(), failureStages())
}

// membershipStages: nodes come and go.
func membershipStages() []stage {
	return []stage{
		{name: "an empty cluster is probed and the replicas start", edit: func(*life) {},
			does: []string{"drbd_ha:0 monitor on n1", "drbd_ha:0 start on n1", "drbd_ha:0 notify on n1", "drbd_ha:0 monitor=60000 on n1"},
			ends: []string{"Unpromoted: [ n1 n2 ]", "drbd_fs (ocf:heartbeat:Filesystem): Stopped"}},
		{name: "with promotion scores one is promoted, then mounted, then the database starts",
			edit: func(l *life) { l.score("n1", "10000"); l.score("n2", "10000") },
			does: []string{"drbd_ha promote on n1", "drbd_fs start on n1", "mysql_svc start on n1", "mysql_svc monitor=20000 on n1"},
			ends: strings.Split(allOnN1, "|")},
		{name: "a settled cluster is left alone", edit: func(*life) {}, idle: true, ends: strings.Split(allOnN1, "|")},
		{name: "standby of the active node moves everything", edit: func(l *life) { l.standby("n1", "on") },
			does: []string{"mysql_svc stop on n1", "drbd_fs stop on n1", "drbd_ha demote on n1", "drbd_ha stop on n1",
				"drbd_ha promote on n2", "drbd_fs start on n2", "mysql_svc start on n2"},
			ends: []string{"Promoted: [ n2 ]", "Stopped: [ n1 ]", "mysql_svc (ocf:heartbeat:mysql): Started n2"}},
		{name: "unstandby brings the replica back and moves nothing", edit: func(l *life) { l.standby("n1", "") },
			does: []string{"drbd_ha:1 start on n1"}, ends: strings.Split(allOnN2, "|")},
		{name: "the active node is lost", edit: func(l *life) { l.score("n1", "10000"); l.lost("n2") },
			does: []string{"drbd_ha promote on n1", "drbd_fs start on n1", "mysql_svc start on n1"},
			ends: []string{"OFFLINE: [ n2 ]", "Promoted: [ n1 ]", "Stopped: [ n2 ]", "mysql_svc (ocf:heartbeat:mysql): Started n1"}},
		{name: "the lost node returns as a replica", edit: func(l *life) { l.back("n2") },
			does: []string{"drbd_ha:1 monitor on n2", "drbd_ha:1 start on n2"}, ends: strings.Split(allOnN1, "|")},
		{name: "a failed monitor of the database restarts it in place",
			edit: func(l *life) { l.score("n2", "10000"); l.fail("n1", "mysql_svc", "monitor", 20*time.Second, 7) },
			does: []string{"mysql_svc stop on n1", "mysql_svc start on n1", "mysql_svc monitor=20000 on n1"}, ends: strings.Split(allOnN1, "|")},
		{name: "migration-threshold reached: all that belongs together moves", edit: func(l *life) { l.meta("mysql_svc", "migration-threshold", "1") },
			does: []string{"mysql_svc stop on n1", "drbd_fs stop on n1", "drbd_ha demote on n1", "drbd_ha promote on n2",
				"drbd_fs start on n2", "mysql_svc start on n2"}, ends: strings.Split(allOnN2, "|")},
		{name: "cleanup forgets and probes again", edit: func(l *life) { l.cleanup("mysql_svc") },
			does: []string{"mysql_svc monitor on n1", "mysql_svc monitor on n2"}},
		{name: "what the probe found is taken over where it is", edit: func(l *life) { l.cleanup("mysql_svc"); l.found("n1", "mysql_svc", 7); l.found("n2", "mysql_svc", 0) },
			does: []string{"mysql_svc monitor=20000 on n2"}, ends: strings.Split(allOnN2, "|")},
		{name: "a clean shutdown hands over first", edit: func(l *life) { l.doc.SetTransientAttribute("n2", "shutdown", "1700000000") },
			does: []string{"mysql_svc stop on n2", "drbd_fs stop on n2", "drbd_ha demote on n2", "drbd_ha promote on n1",
				"drbd_fs start on n1", "mysql_svc start on n1"},
			ends: []string{"Promoted: [ n1 ]", "Stopped: [ n2 ]", "mysql_svc (ocf:heartbeat:mysql): Started n1"}},
		{name: "the node that shut down comes back", edit: func(l *life) { l.back("n2") },
			does: []string{"drbd_fs monitor on n2", "drbd_ha:1 start on n2"}, ends: strings.Split(allOnN1, "|")},
	}
}

// configurationStages: an operator changes something.
func configurationStages() []stage {
	return []stage{
		{name: "a changed parameter restarts what depends on it",
			edit: func(l *life) {
				l.score("n2", "10000")
				cib.SetInstance(l.doc.Resource("drbd_fs"), "options", "noatime")
			},
			does: []string{"mysql_svc stop on n1", "drbd_fs stop on n1", "drbd_fs start on n1", "mysql_svc start on n1"},
			ends: strings.Split(allOnN1, "|")},
		{name: "a changed timeout only renews the monitor",
			edit: func(l *life) { l.doc.Root.ByID("my-mon").Set("timeout", "45s") },
			does: []string{"mysql_svc monitor=20000 on n1"}, ends: strings.Split(allOnN1, "|")},
		{name: "disabling the database stops it alone", edit: func(l *life) { l.meta("mysql_svc", "target-role", "Stopped") },
			does: []string{"mysql_svc stop on n1"}, ends: []string{"mysql_svc (ocf:heartbeat:mysql): Stopped (disabled)", "Promoted: [ n1 ]"}},
		{name: "enabling starts it", edit: func(l *life) { l.meta("mysql_svc", "target-role", "") },
			does: []string{"mysql_svc start on n1"}, ends: strings.Split(allOnN1, "|")},
		{name: "an unmanaged file system stays through a standby", edit: func(l *life) { l.meta("drbd_fs", "is-managed", "false"); l.standby("n1", "on") },
			does: []string{"mysql_svc stop on n1"}, ends: []string{"drbd_fs (ocf:heartbeat:Filesystem): Started n1 (unmanaged)"}},
		{name: "managed again, it follows", edit: func(l *life) { l.meta("drbd_fs", "is-managed", ""); l.standby("n1", "") },
			does: []string{"drbd_fs stop on n1", "drbd_fs start on n2", "mysql_svc start on n2"}, ends: strings.Split(allOnN2, "|")},
		{name: "a better promotion score draws everything over", edit: func(l *life) { l.score("n1", "20000") },
			does: []string{"mysql_svc stop on n2", "drbd_ha demote on n2", "drbd_ha promote on n1", "mysql_svc start on n1"},
			ends: strings.Split(allOnN1, "|")},
		{name: "maintenance mode stops the monitors and nothing else", edit: func(l *life) { l.doc.SetProperty("maintenance-mode", "true") },
			does: []string{"mysql_svc cancel=20000 on n1"}, ends: []string{"mysql_svc (ocf:heartbeat:mysql): Started n1 (unmanaged)"}},
		{name: "after maintenance the monitors return", edit: func(l *life) { l.doc.SetProperty("maintenance-mode", "") },
			does: []string{"mysql_svc monitor=20000 on n1"}, ends: strings.Split(allOnN1, "|")},
	}
}

// failureStages: quorum, operations and nodes fail.
func failureStages() []stage {
	return []stage{
		{name: "without quorum everything stops", edit: func(l *life) { l.doc.SetProperty("no-quorum-policy", "stop"); l.doc.Root.Set("have-quorum", "0") },
			does: []string{"mysql_svc stop on n1", "drbd_fs stop on n1", "drbd_ha demote on n1", "drbd_ha stop on n1"},
			ends: []string{"Stopped: [ n1 n2 ]", "mysql_svc (ocf:heartbeat:mysql): Stopped"}},
		{name: "with quorum everything starts, and is promoted at once", edit: func(l *life) { l.doc.Root.Set("have-quorum", "1") },
			does: []string{"drbd_ha start on n1", "drbd_ha promote on n1", "drbd_fs start on n1", "mysql_svc start on n1"},
			ends: strings.Split(allOnN1, "|")},
		{name: "a failed promotion goes to the other node", edit: func(l *life) { l.fail("n1", "drbd_ha", "promote", 0, 1); l.score("n1", "5") },
			does: []string{"drbd_ha demote on n1", "drbd_ha stop on n1", "drbd_ha promote on n2", "mysql_svc start on n2"},
			ends: []string{"Promoted: [ n2 ]", "mysql_svc (ocf:heartbeat:mysql): Started n2"}},
		{name: "a failed start rules the node out", edit: func(l *life) {
			l.cleanup("drbd_ha")
			l.found("n1", "drbd_ha", 0)
			l.found("n2", "drbd_ha", 8)
			l.fail("n2", "mysql_svc", "start", 0, 1)
		},
			does: []string{"mysql_svc stop on n2", "drbd_ha promote on n1", "mysql_svc start on n1"},
			ends: []string{"Promoted: [ n1 ]", "mysql_svc (ocf:heartbeat:mysql): Started n1"}},
		{name: "a failed stop blocks, and nothing starts elsewhere", edit: func(l *life) {
			l.cleanup("mysql_svc")
			l.found("n1", "mysql_svc", 0)
			l.fail("n1", "mysql_svc", "stop", 0, 1)
			l.standby("n1", "on")
		},
			stuck: true, ends: []string{"mysql_svc (ocf:heartbeat:mysql): FAILED n1 (blocked)", "drbd_fs (ocf:heartbeat:Filesystem): Started n1", "Promoted: [ n1 ]"}},
		{name: "both nodes are lost", edit: func(l *life) { l.standby("n1", ""); l.lost("n1"); l.lost("n2") }, idle: true,
			ends: []string{"OFFLINE: [ n1 n2 ]", "mysql_svc (ocf:heartbeat:mysql): Stopped"}},
		{name: "a cold start of one node without a score promotes nothing", edit: func(l *life) { l.back("n2") },
			does: []string{"drbd_ha:0 start on n2"}, ends: []string{"Unpromoted: [ n2 ]", "mysql_svc (ocf:heartbeat:mysql): Stopped"}},
		{name: "everything found running by the probes is kept",
			edit: func(l *life) {
				l.cleanup("mysql_svc")
				l.cleanup("drbd_fs")
				l.cleanup("drbd_ha")
				l.back("n1")
				l.back("n2")
				l.found("n1", "drbd_ha", 0)
				l.found("n2", "drbd_ha", 8)
				l.found("n1", "drbd_fs", 7)
				l.found("n2", "drbd_fs", 0)
				l.found("n1", "mysql_svc", 7)
				l.found("n2", "mysql_svc", 0)
				l.score("n1", "10000")
				l.score("n2", "10000")
			},
			does: []string{"drbd_fs monitor=20000 on n2", "mysql_svc monitor=20000 on n2"}, ends: strings.Split(allOnN2, "|")},
		{name: "a resource that is no longer configured is stopped",
			edit: func(l *life) {
				res, cons := l.doc.Resources(), l.doc.Constraints()
				res.Remove(l.doc.Resource("mysql_svc"))
				cons.Remove(cons.ByID("c2"))
				cons.Remove(cons.ByID("o2"))
			},
			does: []string{"mysql_svc stop on n2", "mysql_svc delete on n2"}, ends: []string{"Promoted: [ n2 ]"}},
	}
}

// TestLife takes the tutorial's cluster through its life. Each stage is checked against what it must do, against the real
// crm_simulate where that is installed, and for coming to rest.
func TestLife(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "tutorial.xml"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := cib.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	l := &life{t: t, doc: doc, now: time.Unix(1700000000, 0).UTC()}
	real := haveOracle(t)
	if !real {
		t.Log("the real crm_simulate 2.1.5 is not installed: not compared with it")
	}
	for _, s := range stages() {
		t.Run(s.name, func(t *testing.T) {
			l.t = t
			s.edit(l)
			r := simulate.Run(input(l.doc, l.now))
			if real {
				compare(t, l.doc, l.now, r)
			}
			check(t, s, r)
			l.doc = settle(t, s, r, l.now)
			checkEnd(t, s, l.doc, l.now)
		})
	}
}

func check(t *testing.T, s stage, r simulate.Result) {
	t.Helper()
	if s.idle != r.Decision.Graph.Empty() && s.idle {
		t.Errorf("this should be left alone, but: %q", r.Executed)
	}
	at := 0
	for _, x := range r.Executed {
		if at < len(s.does) && strings.HasPrefix(x, "Resource action: ") &&
			strings.Join(strings.Fields(strings.TrimPrefix(x, "Resource action: ")), " ") == s.does[at] {
			at++
		}
	}
	if at < len(s.does) {
		t.Errorf("%q was not done, or not in its place, in\n%s", s.does[at], strings.Join(r.Executed, "\n"))
	}
}

// settle goes on until there is nothing left to do, which must be soon, and checks the end.
func settle(t *testing.T, s stage, r simulate.Result, now time.Time) *cib.Document {
	t.Helper()
	for range 3 {
		if atRest(r.Final.Graph) {
			return r.After
		}
		r = simulate.Run(input(r.After, now))
	}
	if !s.stuck {
		t.Errorf("the cluster does not come to rest: %q", r.Executed)
	}
	return r.After
}

func checkEnd(t *testing.T, s stage, doc *cib.Document, now time.Time) {
	t.Helper()
	lines := section(simulate.Run(input(doc, now)).Text(), "Current cluster status:")
	for _, want := range s.ends {
		found := false
		for _, l := range lines {
			found = found || strings.TrimPrefix(l, "* ") == want
		}
		if !found {
			t.Errorf("%q is not in the final status:\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// atRest tells whether a graph has nothing to do but to let nodes go that want to.
func atRest(g *transition.Graph) bool {
	for _, a := range g.Actions {
		if a.Task != transition.TaskShutdown {
			return false
		}
	}
	return true
}
