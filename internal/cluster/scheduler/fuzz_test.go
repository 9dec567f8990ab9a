package scheduler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
	"holdfast/internal/cluster/transition"
)

// FuzzSchedule decides on whatever can be read as a CIB: without a panic, twice the same, and with a graph whose actions'
// inputs are in it or were left out as unrunnable.
func FuzzSchedule(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(data), "-- cib --\n")
		xml, _, _ := strings.Cut(rest, "-- scores --\n")
		f.Add([]byte(xml))
	}
	for seed := range uint64(30) {
		f.Add(randomCIB(f, seed).Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := cib.Parse(data)
		if err != nil || len(data) > 1<<16 {
			return
		}
		in := scheduler.Input{CIB: doc, Now: time.Unix(1700000000, 0), Quorate: doc.Root.Get("have-quorum") == "1"}
		r := simulate.Run(in)
		if a, b := string(r.Decision.Graph.XML()), string(scheduler.Schedule(in).Graph.XML()); a != b {
			t.Errorf("two decisions:\n%s\n%s", a, b)
		}
		inputsExist(t, r.Decision.Graph)
	})
}

func inputsExist(t *testing.T, g *transition.Graph) {
	t.Helper()
	known := map[int]bool{}
	for _, list := range [][]*transition.Action{g.Actions, g.Unrunnable} {
		for _, a := range list {
			known[a.ID] = true
		}
	}
	for _, a := range g.Actions {
		for _, in := range a.Inputs {
			if !known[in] {
				t.Errorf("%s waits for %d, which is nowhere", a.Key, in)
			}
		}
	}
}

// FuzzRules decides on a location by a rule with any words in it, at any time: without a panic, and twice the same.
func FuzzRules(f *testing.F) {
	f.Add("in_range", "2020-01-01", "2030-01-01", "", "hours", "9-16", "#uname", "eq", "n1", "string", int64(1700000000))
	f.Add("date_spec", "", "", "months=99999999999", "weekdays", "1-7", "master-x", "lt", "1.10.2", "version", int64(0))
	f.Add("gt", "20200101T120000", "", "years=-5", "weekyears", "-2020", "a", "not_defined", "", "number", int64(-62135596801))
	f.Add("lt", "", "2020-366", "seconds=1", "yeardays", "3-", "a", "gte", "INFINITY", "integer", int64(253402300800))
	f.Fuzz(func(t *testing.T, op, start, end, duration, field, spec, attribute, test, value, kind string, now int64) {
		doc, err := cib.Parse([]byte(tutorialCIB))
		if err != nil {
			t.Fatal(err)
		}
		rule := cib.NewElement("rule", "id", "r", "score", value, "boolean-op", test)
		date := rule.Append(cib.NewElement("date_expression", "id", "d", "operation", op, "start", start, "end", end))
		unit, count, _ := strings.Cut(duration, "=")
		date.Append(cib.NewElement("duration", "id", "u", unit, count))
		date.Append(cib.NewElement("date_spec", "id", "s", field, spec))
		rule.Append(cib.NewElement("expression", "id", "e", "attribute", attribute, "operation", test, "value", value, "type", kind))
		doc.Constraints().Append(cib.NewElement("rsc_location", "id", "l", "rsc", "mysql_svc")).Append(rule)
		in := scheduler.Input{CIB: doc, Now: time.Unix(now, 0), Quorate: true}
		a, b := scheduler.Schedule(in), scheduler.Schedule(in)
		if string(a.Graph.XML()) != string(b.Graph.XML()) || !a.Recheck.Equal(b.Recheck) {
			t.Errorf("two decisions: %v, %v", a.Recheck, b.Recheck)
		}
		for _, p := range cib.Validate(doc) {
			_ = p.String()
		}
	})
}
