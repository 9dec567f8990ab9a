package peer

import (
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
)

const branchY = 1 << 40

// The host gave its branch of the log up and is in another: whatever the process was Primary of is over, also where the
// numbers of the two branches coincide or go back, and it connects within the new branch only.
func TestAnotherBranchEndsATenure(t *testing.T) {
	both := []api.Replica{replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)}
	for name, next := range map[string]api.VolumeView{
		"the same numbers": {Bound: true, Adopted: true, Branch: branchY, Epoch: 7, Version: 2, Primary: "a", U: both[:1]},
		"lower numbers":    {Bound: true, Adopted: true, Branch: branchY, Epoch: 3, Version: 1, Primary: "b", U: both[1:]},
		"not in its log":   {Bound: true, Branch: branchY},
	} {
		t.Run(name, func(t *testing.T) {
			p := newSim(t, first(equal()), second(equal()))
			a := p.a
			a.m.View(a.env(), api.VolumeView{Bound: true, Adopted: true, Epoch: 7, Version: 2, Primary: "a", U: both[:1]})
			a.m.Connect(a.env(), false)
			a.run()
			if r := a.primary(false, 7); r.Code != 0 {
				t.Fatal(r.Error)
			}
			before := a.m.Link()
			a.m.View(a.env(), next)
			a.run()
			if a.m.IsPrimary() || !strings.Contains(a.broken, "another branch") {
				t.Errorf("%s, broken %q", a.state(), a.broken)
			}
			if now := a.m.Link(); now.Branch != branchY || now == before {
				t.Errorf("connects as %+v", now)
			}
			if w := a.m.Want(); w != nil && w.Branch != branchY {
				t.Errorf("wants %+v", w)
			}
		})
	}
}

// forkedPair are two disks that were both written to, each in a branch of the log of its own. a's was kept: b is back in its
// branch, whose U has a alone.
func forkedPair(t *testing.T) *simPair {
	t.Helper()
	mine := upToDate(generation.Set{Current: 0xaaaaaaaaaaaaaaa0, Bitmap: gen}, 0xa1, 0)
	other := upToDate(generation.Set{Current: 0xbbbbbbbbbbbbbbb0, Bitmap: gen}, 0xb1, metadata.CrashedPrimary)
	p := newSim(t, mine, other)
	p.a.bits, p.b.bits = 3, 4
	p.view(api.VolumeView{Bound: true, Adopted: true, Branch: branchY, Epoch: 3, Version: 2, Primary: "a", U: []api.Replica{replica("a", 0xa1, 0xaaaaaaaaaaaaaaa0, 0)}})
	for _, s := range []*side{p.a, p.b} {
		s.m.Connect(s.env(), false)
		s.run()
	}
	if r := p.a.primary(false, 3); r.Code != 0 {
		t.Fatal(r.Error)
	}
	return p
}

// S8: nothing of the losing side is overwritten before somebody has given it up.
func TestForkedSidesAreRefused(t *testing.T) {
	p := forkedPair(t)
	before := p.b.sb
	p.link(false)
	if st := p.a.state() + p.b.state(); !strings.Contains(st, "is not in U and its data is not known to be older") {
		t.Error("not refused:", st)
	}
	if !sameData(p.b.sb.UUIDs, before.UUIDs) || p.b.bits != 4 || p.b.saves != 0 {
		t.Errorf("the losing side was changed: %v, %d bits", p.b.sb.UUIDs, p.b.bits)
	}
	if r := p.a.m.MayHeal(); r.Code == 0 {
		t.Error("the side in U may be given up")
	}
}

// In a cluster, too, the losing side's blocks are saved before the resync, wherever the connection is lost; U has it again only
// after.
func TestForkedSideIsHealed(t *testing.T) {
	for n := 0; ; n++ {
		p := forkedPair(t)
		p.link(false)
		if r := p.b.m.Heal(p.b.env(), false); r.Code != 0 {
			t.Fatal(r.Error)
		}
		p.b.run()
		p.a.tick(2 * contradictionRetry)
		if w := p.a.m.Want(); w != nil {
			t.Errorf("before the heal the survivor wants %+v", w)
		}
		more := p.linkUpTo(n, false)
		if more {
			p.b.cut("cable")
			p.link(false)
		}
		if p.b.saves == 0 {
			t.Fatalf("cut after %d packets: nothing was saved", n)
		}
		p.a.expect("Connected Primary/Secondary UpToDate/Outdated")
		p.b.expect("Connected Secondary/Primary Outdated/UpToDate")
		if w := p.a.m.Want(); w == nil || w.Add == nil || w.Add.Node != "b" || w.Branch != branchY {
			t.Errorf("cut after %d packets: the survivor wants %+v", n, w)
		}
		if !more {
			return
		}
	}
}
