package controller

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/state"
)

const properties = `<crm_config><cluster_property_set id="cib-bootstrap-options">
<nvpair id="p1" name="stonith-enabled" value="false"/><nvpair id="p2" name="no-quorum-policy" value="ignore"/></cluster_property_set></crm_config>
<nodes/>`

// The configuration the tutorial's nine pcs lines make.
const tutorial = properties + `<resources>
<clone id="ms_drbd_ha"><meta_attributes id="ms-m"><nvpair id="m0" name="promotable" value="true"/><nvpair id="m1" name="promoted-max" value="1"/>
<nvpair id="m2" name="promoted-node-max" value="1"/><nvpair id="m3" name="clone-max" value="2"/><nvpair id="m4" name="clone-node-max" value="1"/><nvpair id="m5" name="notify" value="true"/></meta_attributes>
<primitive id="drbd_ha" class="ocf" provider="linbit" type="drbd"><instance_attributes id="da"><nvpair id="da1" name="drbd_resource" value="mysqlr0"/></instance_attributes>
<operations><op id="do1" name="monitor" interval="60s"/><op id="do2" name="start" interval="0s" timeout="240"/><op id="do3" name="promote" interval="0s" timeout="90"/></operations></primitive></clone>
<primitive id="drbd_fs" class="ocf" provider="heartbeat" type="Filesystem"><instance_attributes id="fa"><nvpair id="fa1" name="device" value="/dev/drbd1"/></instance_attributes>
<operations><op id="fo1" name="monitor" interval="20s" timeout="40s"/></operations></primitive>
<primitive id="mysql_svc" class="ocf" provider="heartbeat" type="mysql">
<operations><op id="mo1" name="monitor" interval="20ms" timeout="30s"/><op id="mo2" name="start" interval="0s" timeout="60s"/></operations></primitive>
</resources><constraints>
<rsc_colocation id="c1" rsc="drbd_fs" with-rsc="ms_drbd_ha" score="INFINITY" with-rsc-role="Promoted"/>
<rsc_order id="o1" first="ms_drbd_ha" first-action="promote" then="drbd_fs" then-action="start"/>
<rsc_colocation id="c2" rsc="mysql_svc" with-rsc="drbd_fs" score="INFINITY"/>
<rsc_order id="o2" first="drbd_fs" then="mysql_svc"/></constraints>`

// startTutorial brings the tutorial's system up on the leader web1 and returns the active and the standby node.
func startTutorial(t *testing.T) (c *testCluster, active, standby string) {
	t.Helper()
	c = newCluster(t, tutorial)
	c.adopt("mysqlr0")
	c.elect("web1")
	c.until("a promoted volume", func() bool { return c.view().Volumes["mysqlr0"].Primary != "" })
	active = c.view().Volumes["mysqlr0"].Primary
	standby = map[string]string{"db1": "db2", "db2": "db1"}[active]
	c.serves(active)
	c.runs(standby, "drbd_ha=Unpromoted")
	c.settled()
	return c, active, standby
}

func (c *testCluster) serves(node string) {
	c.t.Helper()
	c.runs(node, "drbd_fs=Started", "drbd_ha=Promoted", "mysql_svc=Started")
}

func TestTutorialStarts(t *testing.T) {
	c, active, standby := startTutorial(t)
	for _, n := range []string{active, standby} {
		h := c.hosts[n]
		for _, probe := range []string{"drbd_ha monitor", "drbd_fs monitor", "mysql_svc monitor"} {
			if h.called(probe) != 1 {
				t.Errorf("%s: %s called %d times", n, probe, h.called(probe))
			}
		}
		if h.called("drbd_ha notify") == 0 {
			t.Errorf("%s was not notified", n)
		}
	}
	xml := string(c.view().CIB.Status().Bytes())
	for _, want := range []string{`operation="promote"`, `id="mysql_svc_monitor_20"`, `exec-time=`, `op-digest=`} {
		if !strings.Contains(xml, want) {
			t.Errorf("the status lacks %s", want)
		}
	}
	if strings.Contains(xml, `op-status="-1"`) || strings.Contains(xml, "fail-count") {
		t.Errorf("pending operations or failures in the status:\n%s", xml)
	}
	if d := c.hosts["web1"].ctl.Decision(); d == nil || d.Actions != 0 || d.Output.Status == nil {
		t.Errorf("decision %+v", d)
	}
	if c.hosts["db1"].ctl.Decision() != nil {
		t.Error("a member that does not lead has a decision")
	}
}

func TestNothingIsPromotedBeforeTheVolumeIsInTheLog(t *testing.T) {
	c := newCluster(t, tutorial)
	c.elect("web1")
	c.runs("db1", "drbd_ha=Unpromoted")
	c.runs("db2", "drbd_ha=Unpromoted")
	c.settled()
	c.adopt("mysqlr0")
	c.until("a promotion", func() bool { return c.view().Volumes["mysqlr0"].Primary != "" })
	c.serves(c.view().Volumes["mysqlr0"].Primary)
}

func TestTheActiveNodeDies(t *testing.T) {
	c, active, standby := startTutorial(t)
	c.kill(active)
	// While its lease may still hold, nothing is started elsewhere.
	c.hosts["web1"].ctl.cfg.Logs.Info("killed")
	time.Sleep(50 * time.Millisecond)
	c.runs(standby, "drbd_ha=Unpromoted")
	c.expire(active)
	c.serves(standby)
	c.settled()
	// The node returns: Unpromoted, and nothing moves back.
	calls := c.hosts[standby].called("mysql_svc stop")
	c.revive(active)
	c.runs(active, "drbd_ha=Unpromoted")
	c.settled()
	c.serves(standby)
	if n := c.hosts[standby].called("mysql_svc stop"); n != calls {
		t.Error("the database was stopped for the returning node")
	}
}

func TestTheStandbyDies(t *testing.T) {
	c, active, standby := startTutorial(t)
	before := c.hosts[active].called("mysql_svc start")
	c.kill(standby)
	c.expire(standby)
	c.settled()
	c.serves(active)
	c.revive(standby)
	c.runs(standby, "drbd_ha=Unpromoted")
	c.settled()
	if n := c.hosts[active].called("mysql_svc start"); n != before {
		t.Error("the database was started again")
	}
}

func TestAReplicaOutsideUIsNotPromoted(t *testing.T) {
	c, active, standby := startTutorial(t)
	v := c.view().Volumes["mysqlr0"]
	c.must(&state.VolumeRemove{Name: "mysqlr0", Node: active, Epoch: v.Epoch, Version: v.Version, Remove: standby, NewGeneration: "g1"})
	c.settled()
	c.kill(active)
	c.expire(active)
	c.settled()
	c.runs(standby, "drbd_ha=Unpromoted")
	found := false
	for _, r := range c.hosts["web1"].ctl.Reasons() {
		found = found || strings.Contains(r.Text, "not up to date")
	}
	if !found {
		t.Errorf("the reasons do not say why: %+v", c.hosts["web1"].ctl.Reasons())
	}
	if n := c.hosts[standby].called("drbd_ha promote"); n != 0 {
		t.Errorf("promotion tried %d times", n)
	}
}

// The service dies: the monitor fails, it is recovered in place, the failure is counted.
func TestAServiceFails(t *testing.T) {
	c, active, _ := startTutorial(t)
	c.hosts[active].set("mysql_svc", "")
	c.until("a failure count", func() bool { return c.view().CIB.TransientAttribute(active, "fail-count-mysql_svc#monitor_20") == "1" })
	c.serves(active)
	c.settled()
	if n := c.hosts[active].called("mysql_svc stop"); n != 1 {
		t.Errorf("stopped %d times before the new start", n)
	}
	// Cleanup forgets it, and what is forgotten is probed again.
	probes := c.hosts[active].called("mysql_svc monitor")
	edits, err := CleanupEdits(c.view(), "mysql_svc", "")
	if err != nil {
		t.Fatal(err)
	}
	c.must(&state.CIBStatus{Edits: edits})
	c.until("a probe", func() bool { return c.hosts[active].called("mysql_svc monitor") > probes })
	c.settled()
	c.serves(active)
	if v := c.view().CIB.TransientAttribute(active, "fail-count-mysql_svc#monitor_20"); v != "" {
		t.Errorf("fail count %q after cleanup", v)
	}
	if n := c.hosts[active].called("mysql_svc start"); n != 2 {
		t.Errorf("%d starts: cleanup disturbed what runs", n)
	}
}

// A start that fails rules the node out (start-failure-is-fatal): everything moves to the other node.
func TestAStartThatFailsMovesEverything(t *testing.T) {
	c := newCluster(t, tutorial)
	c.adopt("mysqlr0")
	for _, n := range []string{"db1", "db2"} {
		c.hosts[n].failing("mysql_svc start", agent.ErrGeneric)
	}
	c.elect("web1")
	c.until("a failed start on both", func() bool {
		return c.view().CIB.TransientAttribute("db1", "fail-count-mysql_svc#start_0") == "INFINITY" &&
			c.view().CIB.TransientAttribute("db2", "fail-count-mysql_svc#start_0") == "INFINITY"
	})
	c.settled()
	c.hosts["db1"].failing("mysql_svc start", agent.OK)
	c.hosts["db2"].failing("mysql_svc start", agent.OK)
	edits, err := CleanupEdits(c.view(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	c.must(&state.CIBStatus{Edits: edits})
	c.until("service", func() bool {
		p := c.view().Volumes["mysqlr0"].Primary
		return p != "" && c.hosts[p].get("mysql_svc") != ""
	})
	c.settled()
}

// A stop that fails blocks the resource when there is no fencing: nothing is started elsewhere.
func TestAStopThatFailsBlocks(t *testing.T) {
	c, active, standby := startTutorial(t)
	c.hosts[active].failing("drbd_fs stop", agent.ErrGeneric)
	c.push(strings.Replace(tutorial, `<nodes/>`, `<nodes><node id="`+nodeID(c, active)+`" uname="`+active+`"><instance_attributes id="ia"><nvpair id="ia1" name="standby" value="on"/></instance_attributes></node></nodes>`, 1))
	c.until("the failed stop", func() bool { return c.view().CIB.TransientAttribute(active, "fail-count-drbd_fs#stop_0") == "INFINITY" })
	c.settled()
	stops := c.hosts[active].called("drbd_fs stop")
	if c.hosts[standby].get("drbd_fs") != "" || c.hosts[active].get("drbd_ha") != "Promoted" || c.hosts[standby].get("drbd_ha") == "Promoted" {
		t.Errorf("something was moved although the stop failed\n%s", c.describe())
	}
	if stops != 1 {
		t.Errorf("the failed stop was tried %d times", stops)
	}
}

func nodeID(c *testCluster, name string) string {
	return c.view().CIB.NodeID(name)
}

func TestStandbyAndBack(t *testing.T) {
	c, active, standby := startTutorial(t)
	c.push(strings.Replace(tutorial, `<nodes/>`, `<nodes><node id="`+nodeID(c, active)+`" uname="`+active+`"><instance_attributes id="ia"><nvpair id="ia1" name="standby" value="on"/></instance_attributes></node></nodes>`, 1))
	c.runs(active)
	c.serves(standby)
	c.settled()
	c.push(tutorial)
	c.runs(active, "drbd_ha=Unpromoted")
	c.serves(standby)
	c.settled()
}

// `pcs cluster stop NODE`: everything is handed over, then the node is told that it may leave.
func TestACleanLeave(t *testing.T) {
	c, active, standby := startTutorial(t)
	c.must(&state.CIBStatus{Edits: []state.StatusEdit{{Transient: &state.AttributeEdit{Node: active, Name: "shutdown", Value: "1700000000"}}}})
	c.serves(standby)
	c.until("the lease to end", func() bool { return c.view().Leases[active].State == state.LeaseEnded })
	c.settled()
	h := c.hosts[active]
	if !h.left || len(h.running) != 0 {
		t.Errorf("left %v, still runs %v", h.left, h.running)
	}
	v := c.view().Volumes["mysqlr0"]
	if v.Unclean || v.Primary != standby {
		t.Errorf("volume %+v", v)
	}
}

// The leader dies in the middle of a transition: the next one lets the operation that is under way come to its end,
// and runs nothing twice.
func TestTheLeaderChangesInTheMiddle(t *testing.T) {
	c, active, standby := startTutorial(t)
	release := c.hosts[standby].holding("mysql_svc start")
	c.kill(active)
	c.expire(active)
	c.until("the start to be under way", func() bool { return c.hosts[standby].called("mysql_svc start") == 1 })
	if xml := string(c.view().CIB.Status().Bytes()); !strings.Contains(xml, `op-status="-1"`) {
		t.Error("the start is not recorded as pending")
	}
	c.elect(standby) // web1 leads no more
	c.until("the new leader to have asked", func() bool {
		h := c.hosts[standby]
		h.ctl.mu.Lock()
		defer h.ctl.mu.Unlock()
		return h.ctl.lead != nil
	})
	time.Sleep(50 * time.Millisecond)
	if d := c.hosts[standby].ctl.Decision(); d != nil {
		t.Errorf("the new leader decided while an operation was under way: %+v", d)
	}
	release()
	c.serves(standby)
	c.settled()
	if n := c.hosts[standby].called("mysql_svc start"); n != 1 {
		t.Errorf("started %d times", n)
	}
	if xml := string(c.view().CIB.Status().Bytes()); strings.Contains(xml, `op-status="-1"`) {
		t.Error("something is still recorded as pending")
	}
}

// Leadership goes round at every step of a start: the outcome is the same, nothing runs twice at once.
func TestLeadershipGoesRound(t *testing.T) {
	c := newCluster(t, tutorial)
	c.adopt("mysqlr0")
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			c.elect(c.names[i%len(c.names)])
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(5+3*i) * time.Millisecond): // longer terms each time, so that it ends
			}
		}
	}()
	c.until("service", func() bool {
		p := c.view().Volumes["mysqlr0"].Primary
		return p != "" && c.hosts[p].get("mysql_svc") != ""
	})
	close(stop)
	<-done
	c.settled()
	c.serves(c.view().Volumes["mysqlr0"].Primary)
}

// A node that cannot be reached for a while, but keeps its lease, gets its operations late and once.
func TestAnUnreachableNodeGetsItsOperationsLater(t *testing.T) {
	c := newCluster(t, tutorial)
	c.adopt("mysqlr0")
	h := c.hosts["db1"]
	h.mu.Lock()
	h.down = true
	h.mu.Unlock()
	c.elect("web1")
	time.Sleep(50 * time.Millisecond)
	h.mu.Lock()
	h.down = false
	h.mu.Unlock()
	c.until("service", func() bool { return c.view().Volumes["mysqlr0"].Primary != "" })
	c.serves(c.view().Volumes["mysqlr0"].Primary)
	c.settled()
	if n := h.called("drbd_ha start"); n != 1 {
		t.Errorf("%d starts on db1", n)
	}
}

func TestReportsOfAnOldSessionAreDropped(t *testing.T) {
	c, active, _ := startTutorial(t)
	before := c.view().Index
	r := executor.Report{Seq: 1 << 40, Node: active, Session: 0, Resource: "mysql_svc", Task: "monitor", Interval: time.Second, Code: 1, Changed: time.Now()}
	if err := c.hosts["web1"].ctl.Report(t.Context(), r); err != nil {
		t.Errorf("not dropped: %v", err)
	}
	if c.view().Index != before {
		t.Error("something was recorded")
	}
	if err := c.hosts["db1"].ctl.Report(t.Context(), r); err == nil {
		t.Error("a member that does not lead took a report")
	}
}

// The leader dies after it has recorded a failure and before it could say so: the next one gets the same report, and
// counts it no second time.
func TestAFailureCountsOnce(t *testing.T) {
	c, active, standby := startTutorial(t)
	h := c.hosts[active]
	h.mu.Lock()
	h.lost = func() { c.elect(standby) }
	h.mu.Unlock()
	h.set("mysql_svc", "")
	c.until("the second leader", func() bool { return c.hosts[standby].ctl.Decision() != nil })
	c.settled()
	c.serves(active)
	if v := c.view().CIB.TransientAttribute(active, "fail-count-mysql_svc#monitor_20"); v != "1" {
		t.Errorf("fail count %q", v)
	}
	if n := h.called("mysql_svc start"); n != 2 {
		t.Errorf("started %d times", n)
	}
}

// As before, but the leader has begun to act on the failure and dies before the node has heard of it. What was recorded as
// pending is not believed and its history deleted, the failure's record too: the report must be known by more than that.
func TestAFailureCountsOnceThoughItsHistoryIsGone(t *testing.T) {
	c, active, standby := startTutorial(t)
	h := c.hosts[active]
	h.mu.Lock()
	h.deaf = true
	h.lost = func() {
		c.until("the stop to be recorded as pending", func() bool {
			return strings.Contains(string(c.view().CIB.Status().Bytes()), `op-status="-1"`)
		})
		c.elect(standby)
		c.until("the second leader's decision", func() bool { return c.hosts[standby].ctl.Decision() != nil })
		h.mu.Lock()
		h.deaf = false
		h.mu.Unlock()
	}
	h.mu.Unlock()
	h.set("mysql_svc", "")
	c.until("the node to hear again", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return !h.deaf
	})
	c.until("the second start", func() bool { return h.called("mysql_svc start") >= 2 })
	c.settled()
	c.serves(active)
	if v := c.view().CIB.TransientAttribute(active, "fail-count-mysql_svc#monitor_20"); v != "1" {
		t.Errorf("fail count %q", v)
	}
}

func TestDisableDeletesAndCancels(t *testing.T) {
	c, active, _ := startTutorial(t)
	c.push(strings.Replace(tutorial, `type="mysql">`, `type="mysql"><meta_attributes id="mm"><nvpair id="mm1" name="target-role" value="Stopped"/></meta_attributes>`, 1))
	c.runs(active, "drbd_fs=Started", "drbd_ha=Promoted")
	c.settled()
	if a := c.hosts[active].ex.Active(0); len(a.Recurring) == 0 {
		t.Error("the monitor of the volume's mount is gone too")
	} else {
		for _, r := range a.Recurring {
			if r.Resource == "mysql_svc" {
				t.Errorf("still monitored: %+v", r)
			}
		}
	}
}

// What is taken out of the configuration is stopped, and its history deleted.
func TestARemovedResourceIsForgotten(t *testing.T) {
	c, active, _ := startTutorial(t)
	without := tutorial[:strings.Index(tutorial, `<primitive id="mysql_svc"`)] + `</resources><constraints>` +
		tutorial[strings.Index(tutorial, `<rsc_colocation id="c1"`):strings.Index(tutorial, `<rsc_colocation id="c2"`)] + `</constraints>`
	c.push(without)
	c.runs(active, "drbd_fs=Started", "drbd_ha=Promoted")
	c.until("its history to be deleted", func() bool { return !strings.Contains(string(c.view().CIB.Status().Bytes()), `id="mysql_svc"`) })
	c.settled()
}

func TestCleanupEdits(t *testing.T) {
	c, _, _ := startTutorial(t)
	v := c.view()
	for _, x := range []struct {
		resource, node string
		want           int
		fails          string
	}{
		{"mysql_svc", "db1", 2, ""}, {"mysql_svc", "", 4, ""}, {"ms_drbd_ha", "", 4, ""}, {"", "", 12, ""}, {"", "db2", 6, ""},
		{"nosuch", "", 0, "no resource"}, {"", "nosuch", 0, "not in the cluster"}, {"mysql_svc", "web1", 0, "not in the cluster"},
	} {
		edits, err := CleanupEdits(v, x.resource, x.node)
		if x.fails == "" && (err != nil || len(edits) != x.want) {
			t.Errorf("%q on %q: %d edits, %v, want %d", x.resource, x.node, len(edits), err, x.want)
		}
		if x.fails != "" && (err == nil || !strings.Contains(err.Error(), x.fails)) {
			t.Errorf("%q on %q: %v", x.resource, x.node, err)
		}
	}
}

// A leader dies after it has recorded a promotion as pending and before the node has heard of it. The record has taken
// the place of what was known: the next leader must not believe it, but look.
func TestAPendingRecordOfNothingIsForgotten(t *testing.T) {
	c := newCluster(t, tutorial)
	c.adopt("mysqlr0")
	for _, n := range []string{"db1", "db2"} {
		c.must(&state.CIBStatus{Edits: []state.StatusEdit{{Op: &state.OpEdit{Record: cib.OpRecord{Node: n, Resource: "drbd_ha", Class: "ocf",
			Provider: "linbit", Type: "drbd", Task: "promote", RC: 193, Status: -1, CallID: -1, ActionID: 3, TransitionID: 7, Origin: "dead"}}}}})
	}
	c.elect("web1")
	c.until("a promoted volume", func() bool { return c.view().Volumes["mysqlr0"].Primary != "" })
	c.serves(c.view().Volumes["mysqlr0"].Primary)
	c.settled()
	for _, n := range []string{"db1", "db2"} {
		if got := c.hosts[n].called("drbd_ha monitor"); got != 1 {
			t.Errorf("%s was probed %d times", n, got)
		}
	}
}
