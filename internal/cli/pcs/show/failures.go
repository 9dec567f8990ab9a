package show

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// Failures prints the failed operations in the nodes' histories, as crm_mon's "Failed Resource Actions", with times in zone.
func Failures(s *scheduler.State, zone *time.Location) []string {
	var out []string
	for _, f := range s.Failures {
		out = append(out, "  * "+failure(f, zone))
	}
	return out
}

func failure(f scheduler.FailedOp, zone *time.Location) string {
	text := f.Resource + " " + taskText(f) + " on " + f.Node + " " + outcome(f)
	if !f.At.IsZero() {
		text += " at " + f.At.In(zone).Format(time.ANSIC)
	}
	if f.Exec > 0 {
		text += " after " + f.Exec.String()
	}
	if f.ExitReason != "" {
		text += ": " + f.ExitReason
	}
	return text
}

// taskText names an operation for people: probe, 1m-interval monitor, start.
func taskText(f scheduler.FailedOp) string {
	switch {
	case f.Task == "monitor" && f.Interval == 0:
		return "probe"
	case f.Interval > 0:
		return f.Interval.String() + "-interval " + f.Task
	}
	return f.Task
}

// outcome tells how an operation ended; the numbers are the CIB's op-status.
func outcome(f scheduler.FailedOp) string {
	switch f.Status {
	case 2:
		return "could not be executed (Timed Out)"
	case 3:
		return "could not be executed (Not Supported)"
	case 4:
		return "could not be executed (Error)"
	case 7:
		return "could not be executed (Not installed)"
	}
	return "returned '" + RCText(f.RC) + "'"
}

// RCText gives Pacemaker's words for an OCF exit code.
func RCText(code int) string {
	words := map[int]string{0: "ok", 1: "error", 2: "invalid parameter", 3: "unimplemented feature", 4: "insufficient privileges",
		5: "not installed", 6: "not configured", 7: "not running", 8: "promoted", 9: "promoted (failed)", 190: "ok (degraded)",
		191: "promoted (degraded)"}
	if w, ok := words[code]; ok {
		return w
	}
	return fmt.Sprint("exit code ", code)
}

// FailCounts prints the fail counts as `pcs resource failcount show`: of one resource and node, or all.
func FailCounts(doc *cib.Document, rsc, node string) []string {
	totals := map[string]map[string]string{}
	for _, e := range doc.Nodes().ChildrenNamed("node") {
		n := e.Get("uname")
		for name, value := range doc.TransientAttributes(n) {
			who, ok := strings.CutPrefix(name, "fail-count-")
			if !ok || node != "" && n != node {
				continue
			}
			who, _, _ = strings.Cut(who, "#")
			if who = base(who); rsc != "" && who != rsc {
				continue
			}
			if totals[who] == nil {
				totals[who] = map[string]string{}
			}
			totals[who][n] = addScores(totals[who][n], value)
		}
	}
	return failCountLines(totals, rsc, node)
}

func failCountLines(totals map[string]map[string]string, rsc, node string) []string {
	var out []string
	for _, n := range sortedKeys(totals) {
		out = append(out, "Failcounts for resource '"+n+"'")
		for _, where := range sortedKeys(totals[n]) {
			out = append(out, "  "+where+": "+totals[n][where])
		}
	}
	if len(out) > 0 {
		return out
	}
	text := "No failcounts"
	if rsc != "" {
		text += " for resource '" + rsc + "'"
	}
	if node != "" {
		text += " on node '" + node + "'"
	}
	return []string{text}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func addScores(a, b string) string {
	x, _ := cib.ParseScore(a)
	y, _ := cib.ParseScore(b)
	return cib.FormatScore(x + y)
}
