package scheduler_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// freshCIB is a cluster in which nothing has run yet: so many nodes online, so many primitives to be placed.
func freshCIB(nodes, primitives int) []byte {
	var b strings.Builder
	b.WriteString(`<cib validate-with="pacemaker-3.9" crm_feature_set="3.17.4" epoch="1" num_updates="1" admin_epoch="0" have-quorum="1" dc-uuid="1"><configuration>`)
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
