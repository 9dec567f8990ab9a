package show

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

func same(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, text, want)
	}
}

func TestVolumes(t *testing.T) {
	c := api.ClusterStatus{LocalNode: "db1", Volumes: []api.VolumeRecord{
		{Resource: "r1", Epoch: 7, Version: 3, U: []api.Replica{{Node: "db2"}}},
		{Resource: "r0", Epoch: 2, Primary: "db1", U: []api.Replica{{Node: "db2"}, {Node: "db1"}}}}}
	local := []api.VolumeStatus{
		{Resource: "r1", Conn: "SyncTarget", Role: "Secondary", PeerRole: "Primary", Disk: "Inconsistent", PeerDisk: "UpToDate", Epoch: 7,
			Counters: api.VolumeCounters{OOS: 2048}, Resync: &api.ResyncStatus{Percent: 43.25, LeftKiB: 2048, TotalKiB: 3609, SpeedKiB: 1536, ETASeconds: 3725}},
		{Resource: "r9", Conn: "WFConnection", Role: "Primary", PeerRole: "Unknown", Disk: "UpToDate", PeerDisk: "DUnknown",
			Frozen: "peer lost, waiting for the log to remove it"}}
	same(t, "volumes", Volumes(c, local), `  * r0: epoch 2, Primary on db1, UpToDate: [ db1 db2 ] (version 0)
  * r1: epoch 7, no Primary, UpToDate: [ db2 ] (version 3)
    * db1: SyncTarget Secondary/Primary Inconsistent/UpToDate, epoch 7, 2048 KiB out of sync
    * resync: 43.2% done, 2048 of 3609 KiB left, 1.5 MiB/s, 1:02:05 to go
  * r9: not yet in the cluster's log
    * db1: WFConnection Primary/Unknown UpToDate/DUnknown, epoch 0
    * writes are waiting: peer lost, waiting for the log to remove it`)
}

func TestSplitBrainIsOnTop(t *testing.T) {
	st := api.ClusterStatus{Apart: []api.ApartStatus{{Node: "db2", Branch: "5f"}}}
	same(t, "one apart", splitBrain(st), "SPLIT BRAIN: db2 goes on apart, with branch 5f of the cluster's log; see pcs status\n")
	same(t, "none", splitBrain(api.ClusterStatus{}), "")
}

func TestMembersCountVotes(t *testing.T) {
	member := func(name string, voter, online bool) api.MemberStatus {
		return api.MemberStatus{Node: name, Kind: "data", Voter: voter, Online: online, Lease: "none"}
	}
	cases := map[string][]api.MemberStatus{
		"Votes: 3 of 3 heard from, 2 needed; 1 more may be lost":   {member("a", true, true), member("b", true, true), member("c", true, true)},
		"Votes: 2 of 3 heard from, 2 needed; none may be lost now": {member("a", true, true), member("b", true, false), member("c", true, true)},
		"Votes: 1 of 2 heard from, 2 needed; no quorum":            {member("a", true, true), member("b", true, false)},
		"Votes: 1 of 1 heard from, 1 needed; none may be lost now": {member("a", true, true), member("b", false, true)},
		"Votes: 5 of 5 heard from, 3 needed; 2 more may be lost":   {member("a", true, true), member("b", true, true), member("c", true, true), member("d", true, true), member("e", true, true)},
		"Votes: 0 of 3 heard from, 2 needed; no quorum":            {member("a", true, false), member("b", true, false), member("c", true, false)},
		"Votes: 3 of 4 heard from, 3 needed; none may be lost now": {member("a", true, true), member("b", true, true), member("c", true, true), member("d", true, false)},
	}
	for want, list := range cases {
		lines := Members(api.ClusterStatus{Members: list})
		if got := lines[len(lines)-1]; got != "  * "+want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := Members(api.ClusterStatus{}); got != nil {
		t.Errorf("no members: %q", got)
	}
}

func TestReasonsAreSorted(t *testing.T) {
	list := []api.Reason{{Resource: "b", Text: "disabled"}, {Resource: "a", Node: "n2", Text: "replica not in U"}, {Resource: "a", Node: "n1", Text: "standby"}}
	same(t, "reasons", Reasons(list), "  * a on n1: standby\n  * a on n2: replica not in U\n  * b: disabled")
	if list[0].Resource != "b" {
		t.Error("the caller's list was sorted")
	}
}

func TestFailures(t *testing.T) {
	at := time.Unix(1600000000, 0)
	s := &scheduler.State{Failures: []scheduler.FailedOp{
		{Resource: "web", Node: "n1", Task: "monitor", RC: 5, At: at},
		{Resource: "web", Node: "n1", Task: "monitor", Interval: 20 * time.Second, RC: 7, Exec: 33 * time.Millisecond},
		{Resource: "web", Node: "n2", Task: "start", Status: 2, RC: 1},
		{Resource: "web", Node: "n2", Task: "stop", Status: 4, ExitReason: "umount: busy"},
		{Resource: "web", Node: "n2", Task: "promote", RC: 42}}}
	same(t, "failures", Failures(s, time.UTC), `  * web probe on n1 returned 'not installed' at Sun Sep 13 12:26:40 2020
  * web 20s-interval monitor on n1 returned 'not running' after 33ms
  * web start on n2 could not be executed (Timed Out)
  * web stop on n2 could not be executed (Error): umount: busy
  * web promote on n2 returned 'exit code 42'`)
}

func TestFailCountsAddUp(t *testing.T) {
	doc := cib.Empty("")
	doc.AddNode("1", "n1")
	doc.SetTransientAttribute("n1", "fail-count-web#monitor_20000", "3")
	doc.SetTransientAttribute("n1", "fail-count-web:1#start_0", "4")
	doc.SetTransientAttribute("n1", "fail-count-db#start_0", "INFINITY")
	doc.SetTransientAttribute("n1", "last-failure-db#start_0", "1600000000")
	same(t, "all", FailCounts(doc, "", ""), "Failcounts for resource 'db'\n  n1: INFINITY\nFailcounts for resource 'web'\n  n1: 7")
	same(t, "one", FailCounts(doc, "web", "n2"), "No failcounts for resource 'web' on node 'n2'")
}

func parse(t *testing.T, xml string) *cib.Document {
	t.Helper()
	doc, err := cib.Parse([]byte(xml))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// What other tools write, and pcs of other times: old roles, defaults left out, sets, dates, tickets.
func TestConstraintsOfOtherMakers(t *testing.T) {
	doc := parse(t, `<cib><configuration><constraints>
<rsc_colocation id="c1" rsc="a" with-rsc="b" rsc-role="Slave" with-rsc-role="Master" node-attribute="rack"/>
<rsc_order id="o1" first="a" first-action="stop" then="b"/>
<rsc_order id="o2" first="a" then="b" score="0" require-all="false"/>
<rsc_location id="l1" rsc-pattern="web.*" node="n1" score="7" role="Master"/>
<rsc_location id="l2" rsc="a"><rule id="r1" score-attribute="weight" boolean-op="or"><expression id="e1" attribute="x" operation="defined"/>
<date_expression id="d1" operation="in_range" start="2026-01-01" end="2026-02-01"/><rule id="r2" score="0"><expression id="e2" attribute="y" operation="gt" value="3"/></rule></rule></rsc_location>
<rsc_ticket id="t1" rsc="a" rsc-role="Master" ticket="T" loss-policy="fence"/>
</constraints></configuration></cib>`)
	same(t, "constraints", Constraints(doc, true), `Location Constraints:
  Resource: a
    Constraint: l2
      Rule: (score-attribute:weight) (id:r1)
        Expression: defined x or date in_range 2026-01-01 2026-02-01 or (y gt 3)
  Resource: pattern web.*
    Enabled on:
      Node: n1 (score:7) (role:Promoted) (id:l1)
Ordering Constraints:
  stop a then stop b (kind:Mandatory) (id:o1)
  start a then start b (kind:Mandatory) (Options: require-all=false score=0) (id:o2)
Colocation Constraints:
  a with b (score:INFINITY) (rsc-role:Unpromoted) (with-rsc-role:Promoted) (node-attribute:rack) (id:c1)
Ticket Constraints:
  (rsc-role:Promoted) a (loss-policy:fence) (ticket:T) (id:t1)`)
}

func TestQuorumOfAMinority(t *testing.T) {
	c := api.ClusterStatus{LocalNode: "b", Members: []api.MemberStatus{{Node: "c", Voter: true, Kind: "witness"}, {Node: "b", Voter: true, Kind: "data", Online: true},
		{Node: "a", Voter: true, Kind: "data"}, {Node: "d", Kind: "follower", Online: true}}}
	got := strings.Join(Quorum(c, time.Unix(0, 0).UTC()), "\n")
	for _, want := range []string{"Quorate:          No", "Quorum:           2 Activity blocked", "Total votes:      1", "Expected votes:   3",
		"Ring ID:          none", "Node ID:          2", "         2          1 b (local)"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

func TestNameValue(t *testing.T) {
	for value, want := range map[string]string{"x": "n=x", "": `n=""`, "a b": `n="a b"`, `say "x"`: `n="say \"x\""`, "a=b": `n="a=b"`, "it's": `n="it's"`} {
		if got := NameValue("n", value); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
