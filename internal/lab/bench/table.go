package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one line of the table.
type row struct {
	Name   string    `json:"name"`
	Must   float64   `json:"must"`
	Goal   float64   `json:"goal"`
	Unit   string    `json:"unit,omitempty"` // of PerSecond; operations if empty
	Plain  []outcome `json:"plain"`
	Ours   []outcome `json:"ours"`
	CPU    []float64 `json:"cpu_us,omitempty"` // microseconds of both processes per operation
	Before []outcome `json:"before,omitempty"` // of Config.Before
	WasCPU []float64 `json:"before_cpu_us,omitempty"`
	Ratio  float64   `json:"ratio"` // median of the rounds'
}

func (r *row) add(plain, ours outcome, cpu time.Duration) {
	r.Plain, r.Ours = append(r.Plain, plain), append(r.Ours, ours)
	if ours.Total > 0 && cpu > 0 {
		r.CPU = append(r.CPU, float64(cpu.Microseconds())/ours.Total)
	}
	r.Ratio = median(r.ratios())
}

func (r *row) addBefore(o outcome, cpu time.Duration) {
	r.Before = append(r.Before, o)
	if o.Total > 0 {
		r.WasCPU = append(r.WasCPU, float64(cpu.Microseconds())/o.Total)
	}
}

// gain is how many times faster than before, the median of the rounds; empty if there is no before.
func (r *row) gain() string {
	var list []float64
	for i := range r.Before {
		list = append(list, r.Ours[i].PerSecond/r.Before[i].PerSecond)
	}
	if len(list) == 0 {
		return ""
	}
	text := fmt.Sprintf(" %.0f, gain %.2f", perSecond(r.Before), median(list))
	if len(r.WasCPU) > 0 {
		text += fmt.Sprintf(", CPU was %.0f", median(r.WasCPU))
	}
	return text
}

func (r *row) ratios() []float64 {
	var list []float64
	for i := range r.Ours {
		list = append(list, r.Ours[i].PerSecond/r.Plain[i].PerSecond)
	}
	return list
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func perSecond(list []outcome) float64 {
	var all []float64
	for _, o := range list {
		all = append(all, o.PerSecond)
	}
	return median(all)
}

const heading = "| work | plain /s | ours /s | ratio (of each round) | must | goal | CPU of both, µs each | mean, p99 µs | before |\n|---|---|---|---|---|---|---|---|---|"

// line is the row as Markdown.
func (r *row) line() string {
	var each []string
	for _, x := range r.ratios() {
		each = append(each, strconv.FormatFloat(x, 'f', 2, 64))
	}
	cpu, latency := "", ""
	if len(r.CPU) > 0 {
		last := r.Ours[len(r.Ours)-1]
		cpu, latency = fmt.Sprintf("%.0f", median(r.CPU)), fmt.Sprintf("%.0f, %.0f", last.Mean, last.P99)
	}
	must, goal := "", ""
	if r.Must > 0 {
		must, goal = fmt.Sprintf("%.2f", r.Must), fmt.Sprintf("%.2f", r.Goal)
	}
	return fmt.Sprintf("| %s | %.0f %s | %.0f %s | **%.2f** (%s) | %s | %s | %s | %s |%s |", r.Name, perSecond(r.Plain), r.Unit,
		perSecond(r.Ours), r.Unit, r.Ratio, strings.Join(each, " "), must, goal, cpu, latency, r.gain())
}

// report prints the table, and writes the file asked for.
func (r *run) report() error {
	r.say("\n%s", heading)
	for _, row := range r.rows {
		r.say("%s", row.line())
	}
	memory := map[string][2]int64{}
	for _, n := range r.pair.record.nodes {
		now, peak, err := n.memory()
		if err != nil {
			return fmt.Errorf("memory of %s: %w", n.name, err)
		}
		memory[n.name] = [2]int64{now, peak}
		r.say("%s: %d MiB resident, %d at most (allowed: 150)", n.name, now>>10, peak>>10)
	}
	if r.cfg.Report == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"rows": r.rows, "memory_kib": memory}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(r.cfg.Report, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
