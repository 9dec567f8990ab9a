package peer

import (
	"testing"

	"holdfast/internal/block/generation"
)

// splitPair is a pair in a split brain, a being Primary.
func splitPair(t *testing.T) *simPair {
	t.Helper()
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.cut("cable")
	p.b.primary(false, 0)
	p.a.bits, p.b.bits = 3, 4
	p.b.secondary()
	p.b.m.Disconnect(p.b.env(), 1)
	p.b.run()
	return p
}

// sameData tells whether two sets name the same generation, written to since the same base.
func sameData(a, b generation.Set) bool { return a.Current == b.Current && a.Bitmap == b.Bitmap }

// TestHealIsCutAnywhere: the connection is lost after any number of packets. Until the resync begins the losing side's metadata are
// what they were, whatever was stored meanwhile; the next connection goes on, and what differs is saved again before it.
func TestHealIsCutAnywhere(t *testing.T) {
	cuts, begun := 0, 0
	for n := 0; ; n++ {
		p := splitPair(t)
		before := p.b.sb
		if r := p.b.m.Heal(p.b.env(), false); r.Code != 0 {
			t.Fatal(r.Error)
		}
		if !p.linkUpTo(n, false) {
			p.b.expect("Connected Secondary/Primary UpToDate/UpToDate")
			break
		}
		cuts++
		p.b.cut("cable")
		if p.b.m.Healing() {
			if !sameData(p.b.sb.UUIDs, before.UUIDs) || p.b.sb.Disk() != before.Disk() || p.b.m.Disk() != generation.UpToDate {
				t.Fatalf("cut after %d packets: the losing side is %v %v, it was %v %v", n, p.b.sb.UUIDs, p.b.m.Disk(), before.UUIDs, before.Disk())
			}
			saves := p.b.saves
			p.link(false)
			if p.b.saves != saves+1 {
				t.Errorf("cut after %d packets: saved %d times more before the resync", n, p.b.saves-saves)
			}
		} else {
			begun++
			p.link(false)
		}
		p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
		p.b.expect("Connected Secondary/Primary UpToDate/UpToDate")
	}
	if cuts < 8 || begun == 0 || begun == cuts {
		t.Errorf("%d cuts, %d of them after the resync began", cuts, begun)
	}
}

// TestHealEnds: an operator ends a heal at any point before the resync, and the side is what it was, StandAlone.
func TestHealEnds(t *testing.T) {
	for n := 0; ; n++ {
		p := splitPair(t)
		before := p.b.sb
		p.b.m.Heal(p.b.env(), false)
		if !p.linkUpTo(n, false) || !p.b.m.Healing() {
			break
		}
		p.b.m.Disconnect(p.b.env(), 2)
		p.b.run()
		p.settle(false)
		if p.b.m.Healing() || p.b.m.Discarding() || !sameData(p.b.sb.UUIDs, before.UUIDs) || p.b.sb.Disk() != before.Disk() {
			t.Fatalf("after %d packets: %v %v, it was %v %v", n, p.b.sb.UUIDs, p.b.sb.Disk(), before.UUIDs, before.Disk())
		}
		p.b.expect("StandAlone Secondary/Unknown UpToDate/DUnknown")
	}
}

// TestHealLeavesOthersAlone: what is no split brain settled by giving this side up ends the heal, and nothing is resynced.
func TestHealLeavesOthersAlone(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.b.m.Disconnect(p.b.env(), 1)
	p.b.run()
	p.settle(false)
	p.b.primary(true, 0)
	p.b.bits = 4
	p.b.secondary()
	if r := p.b.m.Heal(p.b.env(), false); r.Code != 0 { // it is the one with newer data
		t.Fatal(r.Error)
	}
	p.link(false)
	if p.b.m.Healing() || p.b.saves != 0 || p.b.bits != 4 {
		t.Errorf("%s, saved %d times", p.b.state(), p.b.saves)
	}
	p.b.m.Connect(p.b.env(), false)
	p.link(false)
	p.b.expect("Connected Secondary/Secondary UpToDate/UpToDate")
}
