package state

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
)

func configured(f *fixture, change func(*cib.Document)) string {
	doc := f.m.View().CIB.Clone()
	change(doc)
	return string(doc.Bytes())
}

func TestCIBReplace(t *testing.T) {
	f := founded(t)
	base := f.m.View().CIB.Version().String()
	xml := configured(f, func(d *cib.Document) { d.SetProperty("stonith-enabled", "false") })
	r := f.must(&CIBReplace{Base: base, XML: xml, By: "root", Client: "cibadmin", Origin: "a", UnixSeconds: 1700000000})
	doc := f.m.View().CIB
	if doc.Property("stonith-enabled") != "false" || doc.Version().String() != r.CIB {
		t.Errorf("version %s, answer %s", doc.Version(), r.CIB)
	}
	if got := doc.Root.Get("cib-last-written"); got != "Tue Nov 14 22:13:20 2023" {
		t.Errorf("cib-last-written %q", got)
	}
	if s, ok := doc.NodeState("a"); !ok || !s.Online {
		t.Error("the status section was lost")
	}
	f.refuses(&CIBReplace{Base: base, XML: xml}, "has changed since version")
	f.refuses(&CIBReplace{Base: "x", XML: xml}, "CIB version")
	f.refuses(&CIBReplace{XML: "<cib>"}, "cannot be read")
	f.refuses(&CIBReplace{XML: "<pacemaker/>"}, "cannot be read")
	v := doc.Version()
	f.must(&CIBReplace{XML: configured(f, func(*cib.Document) {})})
	if got := f.m.View().CIB.Version(); got != v {
		t.Errorf("a push without a change raised the version from %s to %s", v, got)
	}
	f.must(&CIBReplace{XML: configured(f, func(d *cib.Document) {
		d.Nodes().Children = nil
		d.SetVersion(cib.Version{AdminEpoch: 5, Epoch: 7})
	})})
	if got := f.m.View().CIB; got.Version().String() != "5.7.0" || got.Node("a") == nil || got.Node("w") != nil {
		t.Errorf("version %s, nodes %s", got.Version(), got.Nodes())
	}
	f.refuses(&CIBReplace{XML: configured(f, func(d *cib.Document) { d.Node("a").Set("id", "9") })}, "calls node a id 9")
	f.refuses(&CIBReplace{XML: configured(f, func(d *cib.Document) { d.Node("a").Set("uname", "z") })}, "gives id 1 to node z")
}

func op(task string, rc int) cib.OpRecord {
	return cib.OpRecord{Node: "a", Resource: "fs", Class: "ocf", Provider: "heartbeat", Type: "Filesystem", Task: task, RC: rc, CallID: 4, LastChange: time.Unix(5, 0)}
}

func TestCIBStatus(t *testing.T) {
	f := founded(t)
	before := f.m.View().CIB
	text := string(before.Bytes())
	status := func(edits ...StatusEdit) *CIBStatus { return &CIBStatus{Edits: edits} }
	r := f.must(status(
		StatusEdit{Op: &OpEdit{Session: 1, Record: op("start", 0)}},
		StatusEdit{Transient: &AttributeEdit{Node: "b", Name: "master-drbd", Value: "10000"}},
		StatusEdit{Failure: &FailureEdit{Node: "a", Resource: "fs", Task: "monitor", Interval: time.Second, UnixSeconds: 9}},
		StatusEdit{Header: &AttributeEdit{Name: "have-quorum", Value: "1"}}))
	doc := f.m.View().CIB
	if doc.LastCallID("a") != 4 || doc.TransientAttribute("b", "master-drbd") != "10000" || doc.Root.Get("have-quorum") != "1" {
		t.Errorf("edits are missing: %s", doc.Bytes())
	}
	if doc.Version().NumUpdates != before.Version().NumUpdates+1 || r.CIB != doc.Version().String() {
		t.Errorf("version %s after %s", doc.Version(), before.Version())
	}
	if string(before.Bytes()) != text {
		t.Error("a view handed out before was changed")
	}
	f.must(status(StatusEdit{ClearFailures: &HistoryEdit{Node: "a", Resource: "fs"}}, StatusEdit{DeleteHistory: &HistoryEdit{Resource: "fs"}}))
	if got := f.m.View().CIB; got.LastCallID("a") != 0 || len(got.TransientAttributes("a")) != 0 {
		t.Errorf("history is left: %s", got.Bytes())
	}
}

func TestCIBStatusRefusals(t *testing.T) {
	online, offline := cib.OnlineState("1", "a"), cib.OfflineState("1", "a")
	good := StatusEdit{Transient: &AttributeEdit{Node: "a", Name: "x", Value: "y"}}
	tests := []struct {
		name string
		cmd  CIBStatus
		want string
	}{
		{"nothing", CIBStatus{}, "0 status edits"},
		{"an empty edit", CIBStatus{Edits: []StatusEdit{good, {}}}, "status edit 2: it has 0 parts"},
		{"two in one", CIBStatus{Edits: []StatusEdit{{NodeState: &online, Header: &AttributeEdit{Name: "dc-uuid"}}}}, "2 parts"},
		{"of a stranger", CIBStatus{Edits: []StatusEdit{good, {Transient: &AttributeEdit{Node: "z", Name: "x"}}}}, "no member"},
		{"of a witness", CIBStatus{Edits: []StatusEdit{{Transient: &AttributeEdit{Node: "w", Name: "x"}}}}, "no node of the CIB"},
		{"a nameless attribute", CIBStatus{Edits: []StatusEdit{{Transient: &AttributeEdit{Node: "a"}}}}, "attribute name"},
		{"another header", CIBStatus{Edits: []StatusEdit{{Header: &AttributeEdit{Name: "epoch", Value: "9"}}}}, "no attribute of <cib>"},
		{"a leader of the past", CIBStatus{Term: 9, Edits: []StatusEdit{good}}, "leader of term 9"},
		{"lost while it holds its lease", CIBStatus{Edits: []StatusEdit{{NodeState: &offline}}}, "still has its lease"},
		{"op without resource", CIBStatus{Edits: []StatusEdit{{Op: &OpEdit{Record: cib.OpRecord{Node: "a", Task: "start"}}}}}, "no resource"},
		{"a notification", CIBStatus{Edits: []StatusEdit{{Op: &OpEdit{Record: op("notify", 0)}}}}, "not kept in the history"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { founded(t).refuses(&tt.cmd, tt.want) })
	}
	f := founded(t)
	f.must(f.expire("a"))
	f.refuses(&CIBStatus{Edits: []StatusEdit{{NodeState: &online}}}, "without a lease")
}

// What a fenced node ran is gone, and what it still reports does not count.
func TestFencedNodeInTheCIB(t *testing.T) {
	f := founded(t)
	f.must(&CIBStatus{Edits: []StatusEdit{{Op: &OpEdit{Session: 1, Record: op("start", 0)}}, {Transient: &AttributeEdit{Node: "a", Name: "x", Value: "y"}}}})
	f.must(f.expire("a"))
	f.must(&CIBStatus{Edits: []StatusEdit{{Op: &OpEdit{Session: 1, Record: op("start", 0)}}, {Transient: &AttributeEdit{Node: "a", Name: "x", Value: "y", Session: 1}}}})
	doc := f.m.View().CIB
	if s, ok := doc.NodeState("a"); !ok || s.Member || s.Online || s.Expected != "down" {
		t.Errorf("%+v", s)
	}
	if doc.LastCallID("a") != 0 || len(doc.TransientAttributes("a")) != 0 {
		t.Errorf("history is left: %s", doc.Status())
	}
	f.restart("a")
	if s, _ := f.m.View().CIB.NodeState("a"); !s.Online {
		t.Errorf("after its return: %+v", s)
	}
}

// Whatever an agent prints, the document can be read back.
func TestAnyTextSurvives(t *testing.T) {
	f := founded(t)
	r := op("start", 1)
	r.ExitReason = "bell \x07, nul \x00, broken \xff, \uFFFE, <tag> & \"quotes\"\n"
	f.must(&CIBStatus{Edits: []StatusEdit{{Op: &OpEdit{Record: r}}, {Transient: &AttributeEdit{Node: "a", Name: "n\x01", Value: "\x02<"}}}})
	m := New()
	if err := m.Restore(f.m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if got := string(m.View().CIB.Bytes()); !strings.Contains(got, "bell ?, nul ?") {
		t.Errorf("%s", got)
	}
}

// What a node reports counts once, whatever has become of its record, and only while its session lasts.
func TestAReportCountsOnce(t *testing.T) {
	f := founded(t)
	report := func(session, seq uint64) *CIBStatus {
		return &CIBStatus{Reports: []ReportEdits{{Node: "a", Session: session, Seq: seq, Edits: []StatusEdit{
			{Op: &OpEdit{Session: session, Record: op("monitor", 7)}},
			{Failure: &FailureEdit{Node: "a", Resource: "fs", Task: "monitor", UnixSeconds: 9}}}}}}
	}
	count := func(want string) {
		t.Helper()
		if got := f.m.View().CIB.TransientAttribute("a", "fail-count-fs#monitor_0"); got != want {
			t.Errorf("fail count %q, want %q", got, want)
		}
	}
	f.must(report(1, 5))
	count("1")
	f.must(&CIBStatus{Edits: []StatusEdit{{DeleteHistory: &HistoryEdit{Node: "a", Resource: "fs"}}}})
	version := f.m.View().CIB.Version()
	f.must(report(1, 5))
	f.must(report(1, 4))
	if got := f.m.View().CIB.Version(); got != version {
		t.Errorf("a repeated report made version %s of %s", got, version)
	}
	if err := f.m.Restore(f.m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	f.must(report(1, 5))
	count("1")
	two := report(1, 6)
	two.Reports = append(two.Reports, report(1, 6).Reports[0], report(1, 7).Reports[0])
	f.must(two)
	count("3")
	bad := report(1, 8)
	bad.Reports[0].Edits[0].Op.Record.Task = "notify"
	f.refuses(bad, "not kept in the history")
	f.refuses(&CIBStatus{Reports: []ReportEdits{{Node: "a", Session: 1, Seq: 9}}}, "status edits")
	f.must(report(1, 8))
	count("4")
	f.must(&LeaseEnd{Node: "a", Session: 1})
	f.must(report(1, 9))
	count("")
	f.restart("a")
	f.must(report(1, 10))
	count("")
	f.must(report(2, 1))
	count("1")
}
