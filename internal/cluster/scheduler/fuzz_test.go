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
