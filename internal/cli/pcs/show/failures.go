package show

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
)

// Failures prints the failed operations in the nodes' histories, as crm_mon's "Failed Resource Actions".
func Failures(doc *cib.Document) []string {
	var out []string
	for _, state := range doc.Status().ChildrenNamed("node_state") {
		for _, rsc := range state.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource") {
			for _, op := range rsc.ChildrenNamed("lrm_rsc_op") {
				if !strings.HasSuffix(op.ID(), "_last_failure_0") {
					continue
				}
				out = append(out, "  * "+failure(op, rsc.ID(), state.Get("uname")))
			}
		}
	}
	sort.Strings(out)
	return out
}

func failure(op *cib.Element, rsc, node string) string {
	when := ""
	if sec, err := strconv.ParseInt(op.Get("last-rc-change"), 10, 64); err == nil {
		when = " at " + time.Unix(sec, 0).Format(time.ANSIC)
	}
	text := fmt.Sprintf("%s %s on %s %s", rsc, taskText(op), node, outcome(op)) + when
	if ms, err := strconv.Atoi(op.Get("exec-time")); err == nil && ms > 0 {
		text += " after " + (time.Duration(ms) * time.Millisecond).String()
	}
	if why := op.Get("exit-reason"); why != "" {
		text += ": " + why
	}
	return text
}

// taskText names an operation for people: probe, 60s-interval monitor, start.
func taskText(op *cib.Element) string {
	task, ms := op.Get("operation"), op.Get("interval")
	n, _ := strconv.Atoi(ms)
	switch {
	case task == "monitor" && n == 0:
		return "probe"
	case n > 0:
		return (time.Duration(n) * time.Millisecond).String() + "-interval " + task
	}
	return task
}

func outcome(op *cib.Element) string {
	switch op.Get("op-status") {
	case "2":
		return "could not be executed (Timed Out)"
	case "3":
		return "could not be executed (Not Supported)"
	case "4":
		return "could not be executed (Error)"
	case "7":
		return "could not be executed (Not installed)"
	}
	return "returned '" + RCText(op.Get("rc-code")) + "'"
}

// RCText gives Pacemaker's words for an OCF exit code.
func RCText(code string) string {
	words := map[string]string{"0": "ok", "1": "error", "2": "invalid parameter", "3": "unimplemented feature",
		"4": "insufficient privileges", "5": "not installed", "6": "not configured", "7": "not running", "8": "promoted",
		"9": "promoted (failed)", "190": "ok (degraded)", "191": "promoted (degraded)"}
	if w, ok := words[code]; ok {
		return w
	}
	return "exit code " + code
}

// FailCounts prints the fail counts as `pcs resource failcount show`: of one resource and node, or all.
func FailCounts(doc *cib.Document, rsc, node string) []string {
	totals := map[string]map[string]string{}
	for _, n := range Nodes(doc) {
		for name, value := range doc.TransientAttributes(n.Name) {
			who, ok := strings.CutPrefix(name, "fail-count-")
			if !ok || node != "" && n.Name != node {
				continue
			}
			who, _, _ = strings.Cut(who, "#")
			if who = base(who); rsc != "" && who != rsc {
				continue
			}
			if totals[who] == nil {
				totals[who] = map[string]string{}
			}
			totals[who][n.Name] = addScores(totals[who][n.Name], value)
		}
	}
	return failCountLines(totals, rsc, node)
}

func failCountLines(totals map[string]map[string]string, rsc, node string) []string {
	var names, out []string
	for n := range totals {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		out = append(out, "Failcounts for resource '"+n+"'")
		var nodes []string
		for node := range totals[n] {
			nodes = append(nodes, node)
		}
		sort.Strings(nodes)
		for _, node := range nodes {
			out = append(out, "  "+node+": "+totals[n][node])
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

func addScores(a, b string) string {
	x, _ := cib.ParseScore(a)
	y, _ := cib.ParseScore(b)
	return cib.FormatScore(x + y)
}
