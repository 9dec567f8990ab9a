package state

import (
	"testing"

	"holdfast/internal/api"
)

func TestAdoptionIsProposedOnce(t *testing.T) {
	whole := api.VolumeStatus{Bound: true, Conn: "Connected", Disk: "UpToDate", PeerDisk: "UpToDate", Role: "Secondary", PeerRole: "Secondary",
		DeviceUUID: "D1", PeerDeviceUUID: "D2", CurrentUUID: "C", PeerUUID: "C", Version: 4}
	with := func(f func(*api.VolumeStatus)) *api.VolumeStatus { st := whole; f(&st); return &st }
	for _, c := range []struct {
		name       string
		node, peer string
		session    uint64
		st         *api.VolumeStatus
		want       bool
		primary    string
	}{
		{"the lower name proposes", "a", "b", 7, &whole, true, ""},
		{"the higher does not", "b", "a", 7, &whole, false, ""},
		{"the Primary does, whatever its name", "b", "a", 7, with(func(s *api.VolumeStatus) { s.Role = "Primary" }), true, "b"},
		{"its peer does not", "a", "b", 7, with(func(s *api.VolumeStatus) { s.PeerRole = "Primary" }), false, ""},
		{"not without a lease", "a", "b", 0, &whole, false, ""},
		{"not with a dirty bit", "a", "b", 7, with(func(s *api.VolumeStatus) { s.Counters.OOS = 4 }), false, ""},
		{"not with two generations", "a", "b", 7, with(func(s *api.VolumeStatus) { s.PeerUUID = "E" }), false, ""},
		{"not with an unknown peer's disk", "a", "b", 7, with(func(s *api.VolumeStatus) { s.PeerDeviceUUID = "" }), false, ""},
		{"not in another branch of the log", "a", "b", 7, with(func(s *api.VolumeStatus) { s.Branch = 5 }), false, ""},
		{"not outside a cluster", "a", "b", 7, with(func(s *api.VolumeStatus) { s.Bound = false }), false, ""},
	} {
		got := (&View{}).Adoption("r0", c.node, c.peer, c.session, c.st)
		if (got != nil) != c.want {
			t.Errorf("%s: got %+v", c.name, got)
			continue
		}
		if got != nil && (got.Primary != c.primary || got.Version != 4 || len(got.U) != 2 || got.U[0] != (api.Replica{Node: c.node, DeviceUUID: "D1", Generation: "C"})) {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

func TestConfirmationNeedsAStatus(t *testing.T) {
	w := api.VolumeWant{Confirm: "G"}
	if c := (&View{}).Wanted("r0", "a", w, nil); c != nil {
		t.Errorf("without a status: %+v", c)
	}
	if c := (&View{}).Wanted("r0", "a", api.VolumeWant{Branch: 5, Add: &api.Replica{}}, nil); c != nil {
		t.Errorf("of another branch: %+v", c)
	}
	c, ok := (&View{}).Wanted("r0", "a", w, &api.VolumeStatus{DeviceUUID: "D"}).(*VolumeConfirm)
	if !ok || c.DeviceUUID != "D" || c.Generation != "G" || c.Node != "a" || c.Name != "r0" {
		t.Errorf("with one: %+v", c)
	}
}

func TestDemotionIsCleanOnlyByAnAttachedDisk(t *testing.T) {
	for _, c := range []struct {
		name    string
		st      *api.VolumeStatus
		unclean bool
	}{
		{"demoted", &api.VolumeStatus{Disk: "UpToDate"}, false},
		{"out of date meanwhile", &api.VolumeStatus{Disk: "Outdated"}, false},
		{"failed as Primary", &api.VolumeStatus{Disk: "UpToDate", CrashedPrimary: true}, true},
		{"its disk failed", &api.VolumeStatus{Disk: "Failed"}, true},
		{"another process, without a disk", &api.VolumeStatus{Disk: "Diskless"}, true},
		{"no process", nil, true},
	} {
		if got := DemotedUncleanly(c.st); got != c.unclean {
			t.Errorf("%s: unclean %v", c.name, got)
		}
	}
}
