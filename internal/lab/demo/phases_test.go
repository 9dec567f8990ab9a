package demo

import (
	"math"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab/rows"
)

func at(ms int64) int64 { return ms * int64(time.Millisecond) }

func gap(from, to int64) rows.Gap {
	return rows.Gap{From: time.Unix(0, at(from)), To: time.Unix(0, at(to))}
}

func TestPhasesOfAFailover(t *testing.T) {
	events := []Event{
		{Name: "volume.promoted", At: at(900)}, // an older one, before the gap
		{Name: "balancer.open", At: at(4000)},
		{Name: "op.end", Action: "start", Resource: "drbd_fs", At: at(3300)},
		{Name: "op.end", Action: "start", Resource: "drbd_fs", Code: 1, At: at(3250)},
		{Name: "volume.promoted", At: at(3200)},
		{Name: "lease.expired", At: at(3000)},
		{Name: "node.suspect", At: at(2000)},
	}
	got := Phases(gap(1000, 4500), events)
	want := map[string]float64{Detect: 1, Fence: 1, Promote: 0.2, Mount: 0.1, Database: 0.7, Balancer: 0.5}
	for phase, s := range want {
		if math.Abs(got[phase]-s) > 1e-9 {
			t.Errorf("%s: %.3f s, want %.3f", phase, got[phase], s)
		}
	}
}

func TestPhasesAddUpToTheGap(t *testing.T) {
	for name, events := range map[string][]Event{
		"nothing logged": nil,
		"only a mount":   {{Name: "op.end", Action: "start", Resource: "drbd_fs", At: at(1500)}},
		"out of order":   {{Name: "lease.expired", At: at(1100)}, {Name: "node.suspect", At: at(1200)}},
		"after the gap":  {{Name: "node.suspect", At: at(9000)}},
	} {
		sum := 0.0
		for _, s := range Phases(gap(1000, 2000), events) {
			sum += s
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%s: phases add up to %.3f s of a gap of 1 s", name, sum)
		}
	}
}

func TestReadEventsForgivesATornLine(t *testing.T) {
	events, err := ReadEvents(strings.NewReader("{\"event\":\"a\",\"at\":1}\n{\"event\":\"b\",\"a\n{\"event\":\"c\",\"at\":3}\n"))
	if err != nil || len(events) != 2 || events[1].Name != "c" {
		t.Errorf("got %+v, %v", events, err)
	}
	if _, err := ReadEvents(strings.NewReader("nonsense\nmore\n")); err == nil {
		t.Error("a file that is no timeline was accepted")
	}
}

func TestReportProblems(t *testing.T) {
	good := Report{PostsExpected: 4, PostsSeen: 4, ReplicasIdentical: true}
	if p := good.Problems(); len(p) != 0 {
		t.Errorf("a good report has problems: %v", p)
	}
	for _, bad := range []Report{
		{ReplicasIdentical: true, RowsLost: 1},
		{ReplicasIdentical: true, PostsExpected: 2, PostsSeen: 1},
		{},
	} {
		if p := bad.Problems(); len(p) != 1 {
			t.Errorf("%+v: problems %v, want one", bad, p)
		}
	}
}
