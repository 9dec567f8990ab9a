package simulate_test

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
)

func TestParseOpSpec(t *testing.T) {
	for in, want := range map[string]simulate.OpSpec{
		"web_monitor_10000@db1=7":                {Resource: "web", Task: "monitor", Interval: 10 * time.Second, Node: "db1", RC: 7},
		"my_db:0_stop_0@fred.example.com=1":      {Resource: "my_db:0", Task: "stop", Node: "fred.example.com", RC: 1},
		"vm_migrate_to_0@a=1":                    {Resource: "vm", Task: "migrate_to", Node: "a", RC: 1},
		"foo":                                    {},
		"web_monitor_10000@db1":                  {},
		"web_monitor_x@db1=7":                    {},
		"web_monitor_10000@db1=256":              {},
		"monitor_10000@db1=0":                    {},
		"web_monitor_-5@db1=0":                   {},
		"web_monitor_99999999999999999999@db1=0": {},
		"web_monitor_0@=0":                       {},
	} {
		got, err := simulate.ParseOpSpec(in)
		if (err == nil) != (want != simulate.OpSpec{}) || err == nil && got != want {
			t.Errorf("ParseOpSpec(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func FuzzParseOpSpec(f *testing.F) {
	for _, s := range []string{"web_monitor_10000@db1=7", "a_b_c_0@n=0", "vm_migrate_from_0@a=1", "@=", "_0@n=0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		op, err := simulate.ParseOpSpec(s)
		if err != nil {
			return
		}
		again, err := simulate.ParseOpSpec(op.String())
		if err != nil || again != op {
			t.Fatalf("%q became %+v, and that %+v (%v)", s, op, again, err)
		}
	})
}

const small = `<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1">
  <configuration>
    <crm_config><cluster_property_set id="p"><nvpair id="p1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
    <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
    <resources><primitive id="web" class="ocf" provider="pacemaker" type="Dummy"/></resources>
    <constraints><rsc_ticket id="t" rsc="web" ticket="site"/></constraints>
  </configuration>
  <status/>
</cib>`

// TestEvents pretends that nodes come up and a ticket is granted, then lets the start fail.
func TestEvents(t *testing.T) {
	doc, err := cib.Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1700000000, 0).UTC()
	lines, _, err := simulate.Events{Up: []string{"n1", "n2"}, Grant: []string{"site"}}.Apply(doc, now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(lines, "; "), "Bringing node n1 online; Bringing node n2 online; Granting ticket site"; got != want {
		t.Errorf("events are told as %q, want %q", got, want)
	}
	in := scheduler.Input{CIB: doc, Now: now, Quorate: true}
	if r := simulate.Run(in); !strings.Contains(r.Text(), "web\t(ocf:pacemaker:Dummy):\t Started n1") {
		t.Errorf("with the ticket, web does not start:\n%s", r.Text())
	}
	r := simulate.RunFailing(in, []simulate.OpSpec{{Resource: "web", Task: "start", Node: "n1", RC: 1}})
	text := r.Text()
	for _, want := range []string{"failed with rc=1", "Injecting attribute fail-count-web#start_0=value++ into /node_state '1'", "FAILED n1"} {
		if !strings.Contains(text, want) {
			t.Errorf("a failed start does not show %q:\n%s", want, text)
		}
	}
	if got := r.After.TransientAttribute("n1", "fail-count-web#start_0"); got != "1" {
		t.Errorf("the fail count is %q, want 1", got)
	}
	bad := simulate.Events{Inject: []simulate.OpSpec{{Resource: "nowhere", Task: "stop", Node: "n1"}}}
	if _, _, err := bad.Apply(doc, now); err == nil {
		t.Error("an operation of a resource that does not exist was injected")
	}
}
