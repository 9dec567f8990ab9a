package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/api"
)

// S1: what may be the first U.
func TestAdoptRefusals(t *testing.T) {
	two := func(a, b api.Replica) []api.Replica { return []api.Replica{a, b} }
	same := replica("b", "G0")
	same.DeviceUUID = "dev-a"
	bare := replica("b", "G0")
	bare.DeviceUUID = ""
	tests := []struct {
		name string
		cmd  VolumeAdopt
		want string
	}{
		{"one replica", VolumeAdopt{Name: "v", U: []api.Replica{replica("a", "G0")}}, "two replicas, not 1"},
		{"three replicas", VolumeAdopt{Name: "v", U: []api.Replica{replica("a", "G0"), replica("b", "G0"), replica("w", "G0")}}, "two replicas, not 3"},
		{"same node", VolumeAdopt{Name: "v", U: two(replica("a", "G0"), replica("a", "G0"))}, "same disk"},
		{"same disk", VolumeAdopt{Name: "v", U: two(replica("a", "G0"), same)}, "same disk"},
		{"other data", VolumeAdopt{Name: "v", U: two(replica("a", "G0"), replica("b", "G9"))}, "differ"},
		{"no device", VolumeAdopt{Name: "v", U: two(replica("a", "G0"), bare)}, "no device UUID"},
		{"no generation", VolumeAdopt{Name: "v", U: two(replica("a", ""), replica("b", ""))}, "no generation"},
		{"on a witness", VolumeAdopt{Name: "v", U: two(replica("a", "G0"), replica("w", "G0"))}, "witness"},
		{"on a stranger", VolumeAdopt{Name: "v", U: two(replica("a", "G0"), replica("x", "G0"))}, "no member"},
		{"Primary elsewhere", VolumeAdopt{Name: "v", Primary: "w", PrimarySession: 1, U: two(replica("a", "G0"), replica("b", "G0"))}, "none of its replicas"},
		{"Primary without lease", VolumeAdopt{Name: "v", Primary: "a", PrimarySession: 2, U: two(replica("a", "G0"), replica("b", "G0"))}, "without a lease"},
		{"bad name", VolumeAdopt{Name: "../x", U: two(replica("a", "G0"), replica("b", "G0"))}, "no volume name"},
		{"already there", VolumeAdopt{Name: "r", U: two(replica("a", "G0"), replica("b", "G0"))}, "already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { adopted(t).refuses(&tt.cmd, tt.want) })
	}
}

// S3: who may be promoted, and when.
func TestPromoteRefusals(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(f *fixture)
		change  func(c *VolumePromote)
		want    string
	}{
		{"old epoch", nil, func(c *VolumePromote) { c.Epoch-- }, "is at epoch"},
		{"old version", nil, func(c *VolumePromote) { c.Version-- }, "is at epoch"},
		{"unknown volume", nil, func(c *VolumePromote) { c.Name = "x" }, "not in the log"},
		{"another device", nil, func(c *VolumePromote) { c.DeviceUUID = "dev-new" }, "full resync"},
		{"another generation", nil, func(c *VolumePromote) { c.Generation = "G9" }, "full resync"},
		{"empty generation", nil, func(c *VolumePromote) { c.Generation = "" }, "full resync"},
		{"an older session", nil, func(c *VolumePromote) { c.Session = 0 }, "no lease"},
		{"lease expired", func(f *fixture) { f.must(f.expire("b")) }, nil, "no lease"},
		{"not in U", nil, func(c *VolumePromote) { c.Node = "w"; c.Session = 1 }, "no up-to-date replica"},
		{"a live Primary", func(f *fixture) { f.must(f.promote("a", "G0", "G1")) }, nil, "has a Primary, a"},
		{"itself Primary already", func(f *fixture) { f.must(f.promote("b", "G0", "G1")) }, nil, "has a Primary, b"},
		{"unclean, no new generation", func(f *fixture) { f.must(f.promote("a", "G0", "G1")); f.must(f.expire("a")) },
			func(c *VolumePromote) { c.NewGeneration = "" }, "needs a new generation"},
		{"unclean, the old generation again", func(f *fixture) { f.must(f.promote("a", "G0", "G1")); f.must(f.expire("a")) },
			func(c *VolumePromote) { c.NewGeneration = "G0" }, "needs a new generation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := adopted(t)
			if tt.prepare != nil {
				tt.prepare(f)
			}
			c := f.promote("b", "G0", "G2")
			if tt.change != nil {
				tt.change(c)
			}
			f.refuses(c, tt.want)
		})
	}
}

func TestCleanHandover(t *testing.T) {
	f := promoted(t)
	if r := f.must(&VolumeDemote{Name: "r", Node: "a", Session: 1, Epoch: 2}); r.Epoch != 2 {
		t.Errorf("demotion answers epoch %d", r.Epoch)
	}
	f.must(f.promote("b", "G0", "G2"))
	want := Volume{Name: "r", Adopted: true, Epoch: 3, Version: 1, Primary: "b", PrimarySession: 1, LastPrimary: "b",
		U: []api.Replica{replica("a", "G0"), replica("b", "G0")}}
	if diff := cmp.Diff(want, f.volume()); diff != "" {
		t.Errorf("after a clean handover both replicas stay in U (-want +got):\n%s", diff)
	}
}

// S5: after an unclean end the promoted side alone remains, whichever it is.
func TestUncleanEnd(t *testing.T) {
	ends := map[string]func(f *fixture){
		"expired": func(f *fixture) { f.must(f.expire("a")) },
		"ended":   func(f *fixture) { f.must(&LeaseEnd{Node: "a", Session: 1}) },
	}
	for name, end := range ends {
		for _, next := range []string{"a", "b"} {
			t.Run(name+", then "+next, func(t *testing.T) {
				f := promoted(t)
				end(f)
				if v := f.volume(); v.Primary != "" || !v.Unclean || len(v.U) != 2 || v.Version != 1 {
					t.Fatalf("after the end: %+v", v)
				}
				if next == "a" {
					f.restart("a")
				}
				f.must(f.promote(next, "G0", "G1"))
				kept := replica(next, "G1")
				kept.PrevGeneration = "G0"
				v := f.volume()
				if diff := cmp.Diff([]api.Replica{kept}, v.U); diff != "" || v.Unclean || v.Version != 2 || v.Epoch != 3 {
					t.Errorf("%+v; U (-want +got):\n%s", v, diff)
				}
			})
		}
	}
}

// A crash between the log's new generation and its write to disk must not cost the only good disk.
func TestPreviousGenerationCountsUntilConfirmed(t *testing.T) {
	f := promoted(t)
	f.must(f.expire("a"))
	f.must(f.promote("b", "G0", "G1"))
	f.must(f.expire("b"))
	f.restart("b")
	before := f.volume().U[0]
	f.must(f.promote("b", "G0", "G5"))
	if got := f.volume().U[0]; got != before {
		t.Errorf("the only replica changed from %+v to %+v", before, got)
	}
	f.must(&VolumeConfirm{Name: "r", Node: "b", DeviceUUID: "dev-b", Generation: "G1"})
	f.must(&VolumeDemote{Name: "r", Node: "b", Session: 2, Epoch: f.volume().Epoch})
	f.refuses(f.promote("b", "G0", "G6"), "full resync")
	f.must(f.promote("b", "G1", "G6"))
}

// S4: losing a replica.
func TestRemoveRefusals(t *testing.T) {
	base := VolumeRemove{Name: "r", Node: "a", Epoch: 2, Version: 1, Remove: "b", NewGeneration: "G1"}
	tests := []struct {
		name    string
		prepare func(f *fixture)
		change  func(c *VolumeRemove)
		want    string
	}{
		{"not the Primary", nil, func(c *VolumeRemove) { c.Node = "b" }, "not Primary"},
		{"no one", nil, func(c *VolumeRemove) { c.Node = "" }, "not Primary"},
		{"old epoch", nil, func(c *VolumeRemove) { c.Epoch = 1 }, "is at epoch"},
		{"old version", nil, func(c *VolumeRemove) { c.Version = 0 }, "is at epoch"},
		{"not in U", nil, func(c *VolumeRemove) { c.Remove = "w" }, "not in U"},
		{"no new generation", nil, func(c *VolumeRemove) { c.NewGeneration = "" }, "new generation"},
		{"the old generation", nil, func(c *VolumeRemove) { c.NewGeneration = "G0" }, "new generation"},
		{"after the lease expired", func(f *fixture) { f.must(f.expire("a")) }, nil, "not Primary"},
		{"after demotion", func(f *fixture) { f.must(&VolumeDemote{Name: "r", Node: "a", Session: 1, Epoch: 2}) }, nil, "not Primary"},
		{"after another was promoted", func(f *fixture) { f.must(f.expire("a")); f.must(f.promote("b", "G0", "G7")) }, nil, "is at epoch"},
		{"the last replica", func(f *fixture) {
			f.must(&VolumeRemove{Name: "r", Node: "a", Epoch: 2, Version: 1, Remove: "b", NewGeneration: "G1"})
			f.must(&VolumeConfirm{Name: "r", Node: "a", DeviceUUID: "dev-a", Generation: "G1"})
		}, func(c *VolumeRemove) { c.Version, c.Remove, c.NewGeneration = 2, "a", "G2" }, "no up-to-date replica left"},
		{"the same proposal again", func(f *fixture) { c := base; f.must(&c) }, nil, "is at epoch 2, version 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := promoted(t)
			if tt.prepare != nil {
				tt.prepare(f)
			}
			c := base
			if tt.change != nil {
				tt.change(&c)
			}
			f.refuses(&c, tt.want)
		})
	}
}

// S5: a replica's return.
func TestLossAndReturn(t *testing.T) {
	f := promoted(t)
	f.must(&VolumeRemove{Name: "r", Node: "a", Epoch: 2, Version: 1, Remove: "b", NewGeneration: "G1"})
	add := func() *VolumeAdd {
		return &VolumeAdd{Name: "r", Node: "a", Epoch: 2, Version: f.volume().Version, Add: replica("b", "G1")}
	}
	f.refuses(add(), "not confirmed generation G1")
	f.refuses(&VolumeConfirm{Name: "r", Node: "a", DeviceUUID: "dev-a", Generation: "G0"}, "not in U")
	f.refuses(&VolumeConfirm{Name: "r", Node: "b", DeviceUUID: "dev-b", Generation: "G1"}, "not in U")
	f.must(&VolumeConfirm{Name: "r", Node: "a", DeviceUUID: "dev-a", Generation: "G1"})
	tests := []struct {
		name   string
		change func(c *VolumeAdd)
		want   string
	}{
		{"not by the Primary", func(c *VolumeAdd) { c.Node = "b" }, "not Primary"},
		{"old version", func(c *VolumeAdd) { c.Version-- }, "is at epoch"},
		{"old epoch", func(c *VolumeAdd) { c.Epoch-- }, "is at epoch"},
		{"old generation", func(c *VolumeAdd) { c.Add.Generation = "G0" }, "which is at G1"},
		{"the Primary's own disk", func(c *VolumeAdd) { c.Add.DeviceUUID = "dev-a" }, "already"},
		{"the Primary's own node", func(c *VolumeAdd) { c.Add.Node = "a" }, "already"},
		{"on a witness", func(c *VolumeAdd) { c.Add.Node = "w" }, "witness"},
		{"no device", func(c *VolumeAdd) { c.Add.DeviceUUID = "" }, "no device UUID"},
	}
	for _, tt := range tests {
		c := add()
		tt.change(c)
		f.refuses(c, tt.want)
	}
	f.must(add())
	want := []api.Replica{replica("a", "G1"), replica("b", "G1")}
	if diff := cmp.Diff(want, f.volume().U); diff != "" || f.volume().Version != 3 {
		t.Errorf("version %d; U (-want +got):\n%s", f.volume().Version, diff)
	}
	f.refuses(add(), "already")
}

func TestDemoteRefusals(t *testing.T) {
	f := promoted(t)
	f.refuses(&VolumeDemote{Name: "r", Node: "b", Session: 1, Epoch: 2}, "not Primary")
	f.refuses(&VolumeDemote{Name: "r", Node: "a", Session: 1, Epoch: 1}, "not Primary")
	f.refuses(&VolumeDemote{Name: "r", Node: "a", Session: 2, Epoch: 2}, "promoted in session 1")
	f.must(f.expire("a"))
	// Too late: whether the demotion was clean no longer counts, the tenure has been declared unclean.
	f.refuses(&VolumeDemote{Name: "r", Node: "a", Session: 1, Epoch: 2}, "not Primary")
}

func TestForget(t *testing.T) {
	f := promoted(t)
	f.refuses(&VolumeForget{Name: "r", By: "root"}, "demote it first")
	f.must(&VolumeDemote{Name: "r", Node: "a", Session: 1, Epoch: 2})
	f.refuses(&VolumeForget{Name: "r", Node: "w", NewGeneration: "G1", By: "root"}, "not in U")
	f.refuses(&VolumeForget{Name: "r", Node: "b", By: "root"}, "new generation")
	f.must(&VolumeForget{Name: "r", Node: "b", NewGeneration: "G1", By: "root"})
	f.must(&VolumeConfirm{Name: "r", Node: "a", DeviceUUID: "dev-a", Generation: "G1"})
	f.refuses(&VolumeForget{Name: "r", Node: "a", NewGeneration: "G2", By: "root"}, "no up-to-date replica left")
	f.must(&VolumeForget{Name: "r", By: "root"})
	if names := f.m.View().VolumeNames(); len(names) != 0 {
		t.Errorf("forgotten volume is listed: %v", names)
	}
	old := f.volume()
	f.refuses(f.promote("a", "G1", "G2"), "not in the log")
	f.refuses(&VolumeAdopt{Name: "r", U: []api.Replica{replica("a", "H"), replica("b", "H")}}, "gone on alone since")
	f.must(&VolumeAdopt{Name: "r", Version: old.Version, U: []api.Replica{replica("a", "H"), replica("b", "H")}})
	if v := f.volume(); v.Epoch <= old.Epoch || v.Version <= old.Version {
		t.Errorf("epoch and version went from %d, %d to %d, %d", old.Epoch, old.Version, v.Epoch, v.Version)
	}
	if n := len(f.m.View().Operator); n != 2 {
		t.Errorf("%d operator records, want 2", n)
	}
}

func TestSurvivor(t *testing.T) {
	survivor := func(node, generation string) *VolumeSurvivor {
		return &VolumeSurvivor{Name: "r", Node: node, DeviceUUID: "dev-" + node, Generation: generation, NewGeneration: "S1", By: "root"}
	}
	t.Run("first U", func(t *testing.T) {
		f := founded(t)
		f.refuses(survivor("w", "G0"), "witness")
		f.must(survivor("a", "G0"))
		if diff := cmp.Diff([]api.Replica{replica("a", "G0")}, f.volume().U); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("of an adopted volume", func(t *testing.T) {
		f := promoted(t)
		c := survivor("b", "old")
		c.AcceptLoss = true
		f.refuses(c, "not lost")
		f.must(f.expire("a"))
		f.refuses(survivor("b", "old"), "--accept-loss")
		f.must(c)
		want := replica("b", "S1")
		want.PrevGeneration = "old"
		v := f.volume()
		if diff := cmp.Diff([]api.Replica{want}, v.U); diff != "" || v.Epoch != 3 || v.Unclean {
			t.Errorf("%+v\n%s", v, diff)
		}
		f.restart("a")
		f.refuses(f.promote("a", "G0", "G9"), "no up-to-date replica")
	})
	t.Run("without loss", func(t *testing.T) {
		f := promoted(t)
		f.must(f.expire("a"))
		f.must(survivor("b", "G0"))
		f.must(f.promote("b", "G0", "G9"))
	})
}

// S5: a Primary that failed and then reports the end of its tenure does not make it a clean one.
func TestUncleanDemotion(t *testing.T) {
	f := promoted(t)
	f.must(&VolumeDemote{Name: "r", Node: "a", Session: 1, Epoch: 2, Unclean: true})
	if v := f.volume(); v.Primary != "" || !v.Unclean || len(v.U) != 2 {
		t.Fatalf("after the demotion: %+v", v)
	}
	f.must(f.promote("a", "G0", "G1"))
	if v := f.volume(); len(v.U) != 1 || v.U[0].Node != "a" || v.U[0].Generation != "G1" {
		t.Errorf("U after the next promotion: %v", v.U)
	}
}

// S1: a replica that goes on alone before the volume is in the log voids what was proposed of both.
func TestAloneVoidsAnAdoption(t *testing.T) {
	f := founded(t)
	f.must(&VolumeAlone{Name: "v", Node: "a"})
	both := []api.Replica{replica("a", "G0"), replica("b", "G0")}
	f.refuses(&VolumeAdopt{Name: "v", U: both}, "gone on alone since")
	f.refuses(&VolumeAlone{Name: "v", Node: "a"}, "at version 1, not 0")
	f.refuses(&VolumeAlone{Name: "v", Node: "x", Version: 1}, "x")
	f.must(&VolumeAdopt{Name: "v", Version: 1, U: both})
	f.refuses(&VolumeAlone{Name: "v", Node: "a", Version: 2}, "in the log already")
}
