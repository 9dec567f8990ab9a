package scheduler_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// freshCIB is a cluster in which nothing has run yet: so many nodes online, so many primitives to be placed.
func freshCIB(nodes, primitives int) []byte {
	var b strings.Builder
	b.WriteString(`<cib validate-with="pacemaker-3.9" crm_feature_set="3.16.1" epoch="1" num_updates="1" admin_epoch="0" have-quorum="1" dc-uuid="1"><configuration>`)
	b.WriteString(`<crm_config><cluster_property_set id="o"><nvpair id="o-s" name="stonith-enabled" value="false"/></cluster_property_set></crm_config><nodes>`)
	for n := range nodes {
		fmt.Fprintf(&b, `<node id="%d" uname="n%02d"/>`, n+1, n+1)
	}
	b.WriteString(`</nodes><resources>`)
	for p := range primitives {
		fmt.Fprintf(&b, `<primitive id="r%04d" class="ocf" provider="pacemaker" type="Dummy"><operations><op id="r%04d-m" name="monitor" interval="10s"/></operations></primitive>`, p, p)
	}
	b.WriteString(`</resources><constraints/></configuration><status>`)
	for n := range nodes {
		fmt.Fprintf(&b, `<node_state id="%d" uname="n%02d" in_ccm="true" crmd="online" join="member" expected="member"/>`, n+1, n+1)
	}
	b.WriteString(`</status></cib>`)
	return []byte(b.String())
}

// BenchmarkSchedule reads a CIB and decides on it, beside Pacemaker's scheduler, where that is installed, doing the same.
func BenchmarkSchedule(b *testing.B) {
	for _, size := range []struct{ nodes, primitives int }{{2, 4}, {16, 1000}} {
		xml := freshCIB(size.nodes, size.primitives)
		name := fmt.Sprintf("nodes=%d/primitives=%d", size.nodes, size.primitives)
		b.Run(name+"/holdfast", func(b *testing.B) {
			for b.Loop() {
				doc, err := cib.Parse(xml)
				if err != nil {
					b.Fatal(err)
				}
				out := scheduler.Schedule(scheduler.Input{CIB: doc, Now: time.Unix(1700000000, 0), Quorate: true})
				if len(out.Graph.Actions) < size.primitives {
					b.Fatalf("only %d actions for %d primitives", len(out.Graph.Actions), size.primitives)
				}
			}
		})
		b.Run(name+"/crm_simulate", func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "cib.xml")
			if err := os.WriteFile(file, xml, 0o644); err != nil {
				b.Fatal(err)
			}
			if _, err := exec.LookPath("crm_simulate"); err != nil {
				b.Skip("Pacemaker's crm_simulate is not installed")
			}
			for b.Loop() {
				if out, err := exec.Command("crm_simulate", "-R", "-x", file).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}

// tutorialCIB is the tutorial's cluster: a promotable volume on two hosts, its filesystem and the database on it.
const tutorialCIB = `<cib validate-with="pacemaker-3.9" crm_feature_set="3.16.1" epoch="12" num_updates="1" admin_epoch="0" have-quorum="1" dc-uuid="1"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/><nvpair id="o2" name="no-quorum-policy" value="ignore"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="lqi1ecmy01"/><node id="2" uname="lqi1ecmy02"/></nodes>
<resources><clone id="ms_drbd_ha"><meta_attributes id="m"><nvpair id="m0" name="promotable" value="true"/><nvpair id="m1" name="promoted-max" value="1"/><nvpair id="m2" name="promoted-node-max" value="1"/>
<nvpair id="m3" name="clone-max" value="2"/><nvpair id="m4" name="clone-node-max" value="1"/><nvpair id="m5" name="notify" value="true"/></meta_attributes>
<primitive id="drbd_ha" class="ocf" provider="linbit" type="drbd"><instance_attributes id="da"><nvpair id="da1" name="drbd_resource" value="mysqlr0"/></instance_attributes>
<operations><op id="do1" name="monitor" interval="60s"/><op id="do2" name="start" interval="0s" timeout="240"/><op id="do3" name="promote" interval="0s" timeout="90"/></operations></primitive></clone>
<primitive id="drbd_fs" class="ocf" provider="heartbeat" type="Filesystem"><instance_attributes id="fa"><nvpair id="fa1" name="device" value="/dev/drbd1"/><nvpair id="fa2" name="directory" value="/var/lib/mysql"/><nvpair id="fa3" name="fstype" value="ext3"/></instance_attributes>
<operations><op id="fo1" name="monitor" interval="20s" timeout="40s"/></operations></primitive>
<primitive id="mysql_svc" class="ocf" provider="heartbeat" type="mysql"><operations><op id="mo1" name="monitor" interval="20s" timeout="30s"/><op id="mo2" name="start" interval="0s" timeout="60s"/></operations></primitive></resources>
<constraints><rsc_colocation id="c1" rsc="drbd_fs" with-rsc="ms_drbd_ha" score="INFINITY" with-rsc-role="Promoted"/><rsc_order id="o1" first="ms_drbd_ha" first-action="promote" then="drbd_fs" then-action="start"/>
<rsc_colocation id="c2" rsc="mysql_svc" with-rsc="drbd_fs" score="INFINITY"/><rsc_order id="o3" first="drbd_fs" then="mysql_svc"/></constraints></configuration>
<status><node_state id="1" uname="lqi1ecmy01" in_ccm="true" crmd="online" join="member" expected="member"><transient_attributes id="1"><instance_attributes id="s1"><nvpair id="s11" name="master-drbd_ha" value="10000"/></instance_attributes></transient_attributes></node_state>
<node_state id="2" uname="lqi1ecmy02" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>`

// BenchmarkTutorial decides on the tutorial's cluster: everything is to be started and promoted.
func BenchmarkTutorial(b *testing.B) {
	doc, err := cib.Parse([]byte(tutorialCIB))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	begin := processorTime(b)
	for b.Loop() {
		out := scheduler.Schedule(scheduler.Input{CIB: doc, Now: time.Unix(1700000000, 0), Quorate: true})
		if len(out.Summary) != 4 {
			b.Fatalf("%d changes instead of 4", len(out.Summary))
		}
	}
	b.ReportMetric(float64((processorTime(b)-begin).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processorTime is what this process has used of the processors, which other work on the machine changes less than the time
// that passes.
func processorTime(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkCost shows how the cost grows: the last metric, processor time over resources x nodes x log2(resources), stays about
// the same. docs/PERFORMANCE.md has its plot.
func BenchmarkCost(b *testing.B) {
	for _, size := range [][2]int{{2, 100}, {4, 250}, {8, 500}, {8, 1000}, {16, 1000}, {16, 2000}, {32, 2000}, {32, 5000}} {
		doc := large(size[0], size[1])
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			begin := processorTime(b)
			for b.Loop() {
				scheduler.Schedule(scheduler.Input{CIB: doc, Now: time.Unix(1700000000, 0), Quorate: true})
			}
			used := float64(processorTime(b)-begin) / float64(b.N)
			b.ReportMetric(used/1e6, "cpu-ms/op")
			b.ReportMetric(used/(float64(size[0]*size[1])*math.Log2(float64(size[1]))), "cpu-ns/unit")
		})
	}
}
