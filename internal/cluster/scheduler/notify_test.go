package scheduler_test

import (
	"path/filepath"
	"testing"

	"holdfast/internal/cluster/scheduler"
)

// The goldens do not show attributes: what the survivor of notify-lost is told must name the stops that cannot be done.
func TestNotificationsTellOfStopsThatCannotBeDone(t *testing.T) {
	g := readGolden(t, filepath.Join("testdata", "notify-lost.txt"))
	told := 0
	for _, a := range scheduler.Schedule(g.in).Graph.Actions {
		if a.Task != "notify" || a.Node != "n3" {
			continue
		}
		told++
		if r, n := a.Attrs["CRM_meta_notify_stop_resource"], a.Attrs["CRM_meta_notify_stop_uname"]; r != "x:0 x:1" || n != "n1 n2" {
			t.Errorf("%s: stopping are %q on %q, want x:0 x:1 on n1 n2", a.Key, r, n)
		}
	}
	if told != 2 {
		t.Errorf("%d notifications for n3, want 2", told)
	}
}
