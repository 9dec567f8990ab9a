package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// large makes a fresh cluster: every fifth primitive is ordered after and colocated with the one before it.
func large(nodes, primitives int) *cib.Document {
	d := cib.Empty("large")
	d.SetProperty("stonith-enabled", "false")
	for i := 1; i <= nodes; i++ {
		id, name := fmt.Sprint(i), fmt.Sprintf("node%d", i)
		d.AddNode(id, name)
		d.SetNodeState(cib.OnlineState(id, name))
	}
	for i := range primitives {
		id := fmt.Sprintf("r%d", i)
		p := d.Resources().Append(cib.NewElement("primitive", "id", id, "class", "ocf", "provider", "heartbeat", "type", "Dummy"))
		p.Append(cib.NewElement("operations")).Append(cib.NewElement("op", "id", id+"-m", "name", "monitor", "interval", "10s"))
		if i%5 == 4 {
			prev := fmt.Sprintf("r%d", i-1)
			d.Constraints().Append(cib.NewElement("rsc_order", "id", "o"+id, "first", prev, "then", id))
			d.Constraints().Append(cib.NewElement("rsc_colocation", "id", "c"+id, "rsc", id, "with-rsc", prev, "score", "INFINITY"))
		}
	}
	return d
}

func BenchmarkLarge(b *testing.B) {
	for _, size := range [][2]int{{4, 100}, {16, 1000}, {16, 2000}, {32, 5000}} {
		doc := large(size[0], size[1])
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				scheduler.Schedule(scheduler.Input{CIB: doc, Now: time.Unix(1700000000, 0), Quorate: true})
			}
		})
	}
}
