package bench

import (
	"bytes"
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
)

func TestDecodeFio(t *testing.T) {
	const stats = `{"iops": 1234.5, "total_ios": 2469, "clat_ns": {"mean": 800000.0, "percentile": {"50.000000": 1, "99.000000": 2000000}}}`
	const none = `{"iops": 0, "total_ios": 0, "clat_ns": {"mean": 0}}`
	report := func(read, write string) []byte {
		return []byte(`{"fio version": "fio-3.33", "jobs": [{"jobname": "bench", "error": 0, "read": ` + read + `, "write": ` + write + `}]}`)
	}
	want := outcome{PerSecond: 1234.5, Total: 2469, Mean: 800, P99: 2000}
	for _, reads := range []bool{false, true} {
		text := report(none, stats)
		if reads {
			text = report(stats, none)
		}
		if got, err := decodeFio(text, reads); err != nil || got != want {
			t.Errorf("reads %v: %+v, %v", reads, got, err)
		}
		if _, err := decodeFio(text, !reads); err == nil {
			t.Errorf("reads %v: nothing done was accepted", !reads)
		}
	}
	for _, bad := range []string{"", "fio: oops", `{"jobs": []}`, `{"jobs": [{"error": 5, "write": ` + stats + `}]}`} {
		if _, err := decodeFio([]byte(bad), false); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestDecodeSysbench(t *testing.T) {
	const report = `SQL statistics:
    transactions:                        1234   (411.20 per sec.)
    queries:                             7404   (2467.20 per sec.)
Latency (ms):
         min:                                    1.10
         avg:                                    2.43
         max:                                   40.10
         99th percentile:                        7.70
         sum:                                 2999.00
`
	want := outcome{PerSecond: 411.2, Total: 1234, Mean: 2430, P99: 7700}
	if got, err := decodeSysbench(report); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, line := range []string{"transactions:", "avg:", "99th percentile:"} {
		if _, err := decodeSysbench(strings.Replace(report, line, "x", 1)); err == nil {
			t.Errorf("a report without %q was accepted", line)
		}
	}
	if _, err := decodeSysbench(strings.Replace(report, "411.20", "0.00", 1)); err == nil {
		t.Error("nothing done was accepted")
	}
}

func TestDecodeStat(t *testing.T) {
	const line = "4711 (a b) S 1 4711 4711 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 9 0 100 1000 10 18446744073709551615"
	for text, want := range map[string]time.Duration{line: 4 * time.Second, "": 0, "1 (x) S 1": 0, strings.Replace(line, "250", "x", 1): 0} {
		if got := decodeStat(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := processorTime([2]int{os.Getpid(), 0}); got < 0 || got > 24*time.Hour {
		t.Errorf("our own processor time is %v", got)
	}
}

func TestRow(t *testing.T) {
	r := &row{Name: "x", Must: 0.3, Goal: 0.5}
	for _, p := range [][2]float64{{100, 40}, {100, 90}, {200, 100}} {
		r.add(outcome{PerSecond: p[0]}, outcome{PerSecond: p[1], Total: 1000, Mean: 1, P99: 2}, 50*time.Millisecond)
	}
	for range 3 {
		r.addBefore(outcome{PerSecond: 50, Total: 100}, 10*time.Millisecond)
	}
	if math.Abs(r.Ratio-0.5) > 1e-9 {
		t.Errorf("ratio %v", r.Ratio)
	}
	const want = "| x | 100  | 90  | **0.50** (0.40 0.90 0.50) | 0.30 | 0.50 | 50 | 1, 2 | 50, gain 1.80, CPU was 100 |"
	if got := r.line(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("median %v", m)
	}
}

// TestRecord plays a loss and a return through the record.
func TestRecord(t *testing.T) {
	a, b := &node{name: "a"}, &node{name: "b"}
	r := &record{nodes: []*node{a, b}, adopted: true, epoch: 1, version: 1, primary: "a",
		u: []api.Replica{{Node: "a", Generation: "1"}, {Node: "b", Generation: "1"}}}
	r.want(b, api.VolumeWant{Epoch: 1, Version: 1, Remove: "a", Generation: "9"}) // not the Primary
	r.want(a, api.VolumeWant{Epoch: 2, Version: 1, Remove: "b", Generation: "9"}) // of another epoch
	r.want(a, api.VolumeWant{Epoch: 1, Version: 7, Remove: "b", Generation: "9"}) // of another U
	if !r.whole() || r.version != 1 {
		t.Fatalf("a want that must not be granted was: %+v", r.u)
	}
	r.want(a, api.VolumeWant{Epoch: 1, Version: 1, Remove: "b", Generation: "2"})
	if r.whole() || r.u[0].Generation != "2" || r.u[0].PrevGeneration != "1" || r.version != 2 {
		t.Fatalf("after the removal: %+v", r.u)
	}
	r.want(a, api.VolumeWant{Epoch: 1, Version: 2, Confirm: "2"})
	if r.u[0].PrevGeneration != "" {
		t.Errorf("after the confirmation: %+v", r.u)
	}
	r.want(a, api.VolumeWant{Epoch: 1, Version: 2, Add: &api.Replica{Node: "b", Generation: "2"}})
	r.want(a, api.VolumeWant{Epoch: 1, Version: 3, Add: &api.Replica{Node: "b", Generation: "2"}})
	if !r.whole() || r.version != 3 {
		t.Errorf("after the return: %+v, version %d", r.u, r.version)
	}
}

func TestRefusals(t *testing.T) {
	for want, cfg := range map[string]Config{
		"at least 64 MiB":       {SizeMiB: 1},
		"a database needs 512":  {SizeMiB: 64, Only: []string{"sysbench-1"}},
		"there is no work":      {Only: []string{"sleep"}},
		"1 s and one round are": {Seconds: -1},
	} {
		cfg.Out = &bytes.Buffer{}
		if err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

// TestShortRun measures one work with real processes, where the machine has what that needs.
func TestShortRun(t *testing.T) {
	program := os.Getenv("HOLDFAST_PROGRAM")
	if program == "" || os.Getuid() != 0 {
		t.Skip("set HOLDFAST_PROGRAM to a built holdfast, and be root")
	}
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("fio is not installed")
	}
	var out bytes.Buffer
	report := filepath.Join(t.TempDir(), "report.json")
	cfg := Config{Program: program, Dir: t.TempDir(), SizeMiB: 64, Seconds: 1, Rounds: 1, Only: []string{"randwrite-qd32", "degraded-qd32"}, Out: &out, Report: report}
	if err := Run(t.Context(), cfg); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if text, err := os.ReadFile(report); err != nil || !bytes.Contains(text, []byte(`"degraded-qd32"`)) {
		t.Errorf("report: %s, %v", text, err)
	}
	if left, err := filepath.Glob(filepath.Join(cfg.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
