package cib

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVersion(t *testing.T) {
	d := Empty("c1")
	if got := d.Property("cluster-name"); got != "c1" {
		t.Errorf("cluster-name is %q", got)
	}
	d.SetVersion(Version{1, 4, 7})
	d.BumpNumUpdates()
	if got := d.Version().String(); got != "1.4.8" {
		t.Errorf("after a status change: %s", got)
	}
	d.BumpEpoch()
	if got := d.Version().String(); got != "1.5.0" {
		t.Errorf("after a change of configuration: %s", got)
	}
	v, err := ParseVersion("1.5.0")
	if err != nil || v.Compare(d.Version()) != 0 || v.Compare(Version{1, 4, 99}) != 1 || v.Compare(Version{2, 0, 0}) != -1 {
		t.Errorf("ParseVersion: %v, %v", v, err)
	}
	for _, bad := range []string{"", "1.2", "1.2.x", "1.-2.3"} {
		if _, err := ParseVersion(bad); err == nil {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}

func TestProperties(t *testing.T) {
	d := Empty("")
	d.SetProperty("stonith-enabled", "false")
	d.SetProperty("stonith-enabled", "true")
	d.SetProperty("maintenance-mode", "true")
	d.SetProperty("maintenance-mode", "")
	want := `<crm_config>
  <cluster_property_set id="cib-bootstrap-options">
    <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="true"/>
  </cluster_property_set>
</crm_config>
`
	if diff := cmp.Diff(want, d.CRMConfig().String()); diff != "" {
		t.Error(diff)
	}
}

func TestMetaGoesBeforeOperations(t *testing.T) {
	r := NewElement("primitive", "id", "db", "class", "ocf", "provider", "heartbeat", "type", "mysql")
	r.Append(NewElement("operations"))
	SetInstance(r, "pid", "/run/db.pid")
	SetMeta(r, "target-role", "Stopped")
	if Meta(r, "target-role") != "Stopped" || Instance(r, "pid") != "/run/db.pid" {
		t.Errorf("not read back:\n%s", r)
	}
	if last := r.Children[len(r.Children)-1].Name; last != "operations" {
		t.Errorf("the sets must come before <operations>:\n%s", r)
	}
	SetMeta(r, "target-role", "")
	if r.Child("meta_attributes") != nil {
		t.Error("the empty set is still there")
	}
}

func TestNodeAttributes(t *testing.T) {
	d := Empty("")
	d.AddNode("1", "n1")
	if !d.SetNodeAttribute("n1", "standby", "on") || d.SetNodeAttribute("n9", "standby", "on") {
		t.Error("SetNodeAttribute tells the wrong nodes apart")
	}
	if got := d.NodeAttribute("n1", "standby"); got != "on" {
		t.Errorf("standby is %q", got)
	}
	d.SetTransientAttribute("n1", "master-drbd_ha", "100")
	d.SetTransientAttribute("n1", "shutdown", "1")
	d.SetTransientAttribute("n1", "shutdown", "")
	if diff := cmp.Diff(map[string]string{"master-drbd_ha": "100"}, d.TransientAttributes("n1")); diff != "" {
		t.Error(diff)
	}
	if id := d.Status().Find(func(e *Element) bool { return e.Get("name") == "master-drbd_ha" }).ID(); id != "status-1-master-drbd_ha" {
		t.Errorf("id is %s", id)
	}
}

func TestNodeState(t *testing.T) {
	d := Empty("")
	d.AddNode("1", "n1")
	d.SetTransientAttribute("n1", "a", "b")
	d.SetNodeState(OnlineState("1", "n1"))
	got, ok := d.NodeState("n1")
	if diff := cmp.Diff(OnlineState("1", "n1"), got); diff != "" || !ok {
		t.Error(diff)
	}
	if len(d.Status().Children) != 1 || d.TransientAttribute("n1", "a") != "b" {
		t.Errorf("state and attributes are not in one element:\n%s", d.Status())
	}
	d.SetNodeState(OfflineState("1", "n1"))
	if got, _ := d.NodeState("n1"); got.Online || got.Expected != "down" {
		t.Errorf("offline: %+v", got)
	}
	if !d.ClearTransient("n1") || d.TransientAttribute("n1", "a") != "" || !d.ForgetNode("n1") || d.ForgetNode("n1") {
		t.Error("forgetting does not forget")
	}
}

func record(task string, interval time.Duration, rc, target, call int) OpRecord {
	return OpRecord{Node: "n1", Resource: "db", Class: "ocf", Provider: "heartbeat", Type: "mysql", Task: task, Interval: interval,
		RC: rc, TargetRC: target, CallID: call, ActionID: 5, TransitionID: 2, Origin: "uuid", Digest: OpDigest(nil),
		LastChange: time.Unix(1700000000, 0), Exec: 1500 * time.Millisecond}
}

func ids(d *Document) []string {
	var out []string
	r := d.Status().Find(func(e *Element) bool { return e.Name == "lrm_resource" })
	for _, op := range r.ChildrenNamed("lrm_rsc_op") {
		out = append(out, op.ID()+" "+op.Get("call-id"))
	}
	return out
}

func TestRecordOp(t *testing.T) {
	d := Empty("")
	d.AddNode("1", "n1")
	for _, s := range []struct {
		rec  OpRecord
		want []string
	}{
		{record("monitor", 0, 7, 7, 1), []string{"db_last_0 1"}},
		{record("start", 0, 0, 0, 2), []string{"db_last_0 2"}},
		{record("monitor", 20*time.Second, 0, 0, 3), []string{"db_last_0 2", "db_monitor_20000 3"}},
		{record("monitor", 20*time.Second, 7, 0, 4), []string{"db_last_0 2", "db_monitor_20000 3", "db_last_failure_0 4"}},
		{record("stop", 0, 0, 0, 5), []string{"db_last_0 5", "db_last_failure_0 4"}},
		{record("start", 0, 1, 0, 6), []string{"db_last_0 6", "db_last_failure_0 6"}},
	} {
		RecordOp(d, s.rec)
		if diff := cmp.Diff(s.want, ids(d)); diff != "" {
			t.Fatalf("after %s: %s", s.rec.Task, diff)
		}
	}
	op := d.Root.ByID("db_last_failure_0")
	want := `<lrm_rsc_op id="db_last_failure_0" operation_key="db_start_0" operation="start" crm-debug-origin="holdfast" crm_feature_set="3.16.1" transition-key="5:2:0:uuid" transition-magic="0:1;5:2:0:uuid" exit-reason="" on_node="n1" call-id="6" rc-code="1" op-status="0" interval="0" last-rc-change="1700000000" exec-time="1500" queue-time="0" op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8"/>` + "\n"
	if diff := cmp.Diff(want, op.String()); diff != "" {
		t.Error(diff)
	}
	if d.LastCallID("n1") != 6 {
		t.Errorf("LastCallID is %d", d.LastCallID("n1"))
	}
	if !d.DeleteHistory("n1", "db") || d.DeleteHistory("", "db") {
		t.Error("DeleteHistory does not tell what it deleted")
	}
}

func TestPendingIsNoFailure(t *testing.T) {
	r := record("start", 0, 193, 0, -1)
	r.Status = -1
	if r.Failed() {
		t.Error("a pending operation counts as failed")
	}
}

func TestFailures(t *testing.T) {
	d := Empty("")
	d.AddNode("1", "n1")
	now := time.Unix(1700000000, 0)
	d.RecordFailure("n1", "db", "monitor", 20*time.Second, false, now)
	d.RecordFailure("n1", "db", "monitor", 20*time.Second, false, now)
	d.RecordFailure("n1", "db", "start", 0, true, now)
	d.RecordFailure("n1", "db", "start", 0, false, now)
	d.RecordFailure("n1", "dbx", "start", 0, false, now)
	want := map[string]string{"fail-count-db#monitor_20000": "2", "last-failure-db#monitor_20000": "1700000000",
		"fail-count-db#start_0": "INFINITY", "last-failure-db#start_0": "1700000000",
		"fail-count-dbx#start_0": "1", "last-failure-dbx#start_0": "1700000000"}
	if diff := cmp.Diff(want, d.TransientAttributes("n1")); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(d.Status().String(), `id="status-1-fail-count-db.monitor_20000"`) {
		t.Error("ids may not contain '#'")
	}
	if !d.ClearFailures("n1", "db", "start", 0) || d.TransientAttribute("n1", "fail-count-db#monitor_20000") != "2" {
		t.Error("clearing one operation clears the wrong ones")
	}
	d.ClearFailures("n1", "db", "", 0)
	if len(d.TransientAttributes("n1")) != 2 {
		t.Errorf("left: %v", d.TransientAttributes("n1"))
	}
}

// TestDigests compares with digests Pacemaker 2.1.5 computed (seen in CIBs written by crm_simulate).
func TestDigests(t *testing.T) {
	for _, c := range []struct {
		params map[string]string
		want   string
	}{
		{nil, "f2317cad3d54cec5d7d7aa7d0bf35cf8"},
		{map[string]string{"CRM_meta_timeout": "20000"}, "4811cef7f7f94e3a35a70be7916cb2fd"},
		{map[string]string{"drbd_resource": "mysqlr0"}, "f7c07bce2aa6447d8aa0c1364948919c"},
		{map[string]string{"fstype": "ext3", "device": "/dev/drbd1", "directory": "/var/lib/mysql"}, "d01cbee47d015745f4ef57d22db03c07"},
	} {
		if got := OpDigest(c.params); got != c.want {
			t.Errorf("OpDigest(%v) is %s, want %s", c.params, got, c.want)
		}
	}
	attrs := map[string]string{"CRM_meta_timeout": "1", "CRM_meta_name": "x", "crm_feature_set": "3", "p": "q"}
	if diff := cmp.Diff(map[string]string{"p": "q"}, DigestParams(attrs, false)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"p": "q", "CRM_meta_timeout": "1"}, DigestParams(attrs, true)); diff != "" {
		t.Error(diff)
	}
}
