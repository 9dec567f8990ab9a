package interop

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// BenchmarkFront measures each front end and a plain loop device on the same disk with fio, inside the emulated machine: what
// matters is the ratio of one to the other, and even that says little about real processors.
func BenchmarkFront(b *testing.B) {
	for _, front := range []string{"plain", api.FrontFUSE, api.FrontNBD, api.FrontUBLK} {
		for _, w := range []struct{ name, options string }{
			{"randwrite-4k-qd1", "--rw=randwrite --bs=4k --iodepth=1"},
			{"randwrite-4k-qd32", "--rw=randwrite --bs=4k --iodepth=32"},
			{"randread-4k-qd32", "--rw=randread --bs=4k --iodepth=32"},
			{"write-fsync-4k", "--rw=randwrite --bs=4k --iodepth=1 --fsync=1"},
			{"write-128k-qd8", "--rw=write --bs=128k --iodepth=8"},
		} {
			b.Run(w.name+"/"+front, func(b *testing.B) {
				g := benchGuest(b)
				device := g.prepareBench(front)
				for b.Loop() {
					b.ReportMetric(g.fioRate(device, w.options), "iops")
				}
			})
		}
	}
}

// benchGuest is the machine as the last measurement left it.
func benchGuest(b *testing.B) *guest {
	b.Helper()
	g := &guest{machine: frontMachine, t: b}
	if frontMachine == nil {
		g = needFront(b, "")
		g.needFio()
	}
	return g
}

// prepareBench gives the device to measure.
func (g *guest) prepareBench(front string) string {
	g.t.Helper()
	if front != "plain" {
		if out, _ := g.try(g.t, "timeout 30 holdfast drbd status --output-format json r0"); !strings.Contains(out, `"front": "`+front+`"`) {
			g.sh("/sbin/losetup -d /dev/loop7 2>/dev/null || true")
			g.use(front)
		}
		return "$(device)"
	}
	g.sh("timeout 60 holdfast drbd down r0 >/dev/null 2>&1 || true; /sbin/losetup -d /dev/loop7 2>/dev/null || true; /sbin/losetup --direct-io=on /dev/loop7 /dev/vdb")
	return "/dev/loop7"
}

// fioRate runs fio for a few seconds and gives its operations per second.
func (g *guest) fioRate(device, options string) float64 {
	g.t.Helper()
	out := g.sh(fmt.Sprintf(`fio --name=b --filename=%s --direct=1 --ioengine=libaio --size=64m --runtime=3 --time_based %s --output-format=json --output=/tmp/bench.json; cat /tmp/bench.json`,
		device, options))
	var report struct {
		Jobs []struct {
			Read, Write struct {
				IOPS float64 `json:"iops"`
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Jobs) != 1 {
		g.t.Fatalf("fio: %v: %s", err, out)
	}
	return report.Jobs[0].Read.IOPS + report.Jobs[0].Write.IOPS
}
