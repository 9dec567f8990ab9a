package generation

import (
	"fmt"
	"strings"
	"testing"
)

// The UUIDs of the tests, by letter; their lowest bit is that of a former Primary.
const (
	idA = 0xa000000000000011
	idB = 0xb000000000000020
	idC = 0xc000000000000031
	idD = 0xd000000000000040
	idE = 0xe000000000000051
)

// set reads "A:B:C:D": a letter is a UUID, A+ is A with a resync's step, 4 is just created, - or nothing is none.
func set(text string) Set {
	var u [4]uint64
	for i, f := range strings.Split(text, ":") {
		letter, next := strings.CutSuffix(f, "+")
		switch letter {
		case "A":
			u[i] = idA
		case "B":
			u[i] = idB
		case "C":
			u[i] = idC
		case "D":
			u[i] = idD
		case "E":
			u[i] = idE
		case "4":
			u[i] = JustCreated
		}
		if next {
			u[i] += bitmapStep
		}
	}
	return Set{u[0], u[1], [2]uint64{u[2], u[3]}}
}

func modern() Link { return Link{Protocol: 101, NewPeer: true} }

// TestRules has a line for each of DRBD's rules, seen from one side; the other side must come to the mirrored verdict.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		self, peer string
		verdict    Verdict
		rule       int // for self
		mirror     int // for peer
	}{
		{"4", "4", InSync, 10, 10},
		{"4", "A", TargetFull, 20, 30},
		{"4", "A:B:C:D", TargetFull, 20, 30},
		{"-", "A", TargetFull, 20, 30},
		{"A", "4:A", SourceFull, 30, 20},
		{"A", "A", InSync, 40, 40},
		{"A:-:B:C", "A:-:C:B", InSync, 40, 40}, // history does not matter when all is equal
		{"A:B", "A:B", InSync, 40, 40},         // both still have the bitmap's base: nothing says otherwise
		// the target finished, the source did not hear of it
		{"A:B+:B:C", "A:-:B+:B", SourceBitmap, 34, 35},
		{"A:B+:B:C", "A:-:B:C", SourceBitmap, 36, 37},
		// one is a generation ahead, and its bitmap knows since when
		{"A:-:C:D", "B:A:C:D", TargetBitmap, 50, 70},
		// it began a resync whose name did not reach the target
		{"A:-:C:D", "B:A+:A:C", TargetBitmap, 51, 71},
		// the same, but the names do not fit: an older generation
		{"A:-:C:D", "B:C:A:D", TargetFull, 60, 80},
		{"A:-:C:D", "B:-:C:A", TargetFull, 60, 80},
		// both wrote since the same base
		{"A:C", "B:C", SplitBrain, 90, 90},
		{"A:C:E:D", "B:C", SplitBrain, 90, 90},
		// both wrote, the base is in the histories only
		{"A:C:E", "B:D:E", SplitBrainOld, 100, 100},
		{"A:-:E", "B:-:D:E", SplitBrainOld, 100, 100},
		{"A:C", "B:D", Unrelated, 0, 0},
		{"A", "B", Unrelated, 0, 0},
		{"A:B", "B:A", Unrelated, 0, 0},         // each is older than the other
		{"A:-:B", "B:-:A", Unrelated, 0, 0},     // the same
		{"A:-:-:-", "B:-:-:-", Unrelated, 0, 0}, // no UUID is no common base
	} {
		t.Run(c.self+" "+c.peer, func(t *testing.T) {
			self, peer := Side{Set: set(c.self)}, Side{Set: set(c.peer)}
			if got := Compare(self, peer, modern()); got.Verdict != c.verdict || got.Rule != c.rule {
				t.Errorf("%v by rule %d, want %v by rule %d", got.Verdict, got.Rule, c.verdict, c.rule)
			}
			if got := Compare(peer, self, modern()); got.Verdict != c.verdict.Mirror() || got.Rule != c.mirror {
				t.Errorf("the peer: %v by rule %d, want %v by rule %d", got.Verdict, got.Rule, c.verdict.Mirror(), c.mirror)
			}
		})
	}
}

// TestCorrections: where a message of an earlier resync was lost, the set to go on with is what it should have made.
func TestCorrections(t *testing.T) {
	for _, c := range []struct{ self, peer, selfAfter, peerAfter string }{
		{"A:B+:B:C", "A:-:B+:B", "A:-:B+:B", "A:-:B+:B"},
		{"A:-:C:D", "B:A+:A:C", "A:-:C:D", "B:A:C:C"},
	} {
		got := Compare(Side{Set: set(c.self)}, Side{Set: set(c.peer)}, modern())
		if got.Self != set(c.selfAfter) || got.Peer != set(c.peerAfter) {
			t.Errorf("%s, %s:\n got %v %v\nwant %v %v", c.self, c.peer, got.Self, got.Peer, set(c.selfAfter), set(c.peerAfter))
		}
		got = Compare(Side{Set: set(c.peer)}, Side{Set: set(c.self)}, modern())
		if got.Self != set(c.peerAfter) || got.Peer != set(c.selfAfter) {
			t.Errorf("%s, %s seen from the peer: %v %v", c.self, c.peer, got.Self, got.Peer)
		}
	}
}

// TestCrash goes through who crashed as Primary, who is Primary now, and the tie breaker.
func TestCrash(t *testing.T) {
	for _, c := range []struct {
		selfCrashed, peerCrashed, selfPrimary, peerPrimary, tie bool
		want                                                    Verdict
	}{
		{false, false, true, true, false, InSync},
		{true, false, false, false, false, SourceBitmap},
		{false, true, false, false, false, TargetBitmap},
		{true, true, false, false, false, SourceBitmap},
		{true, true, false, false, true, TargetBitmap},
		{true, false, true, false, false, SourceBitmap},
		{true, false, false, true, false, TargetBitmap}, // who is Primary now may have written since
		{false, true, true, false, false, SourceBitmap},
		{true, true, true, false, true, SourceBitmap},
		{true, false, true, true, false, SplitBrainOld},
	} {
		self := Side{Set: set("A"), CrashedPrimary: c.selfCrashed, Primary: c.selfPrimary}
		peer := Side{Set: set("A"), CrashedPrimary: c.peerCrashed, Primary: c.peerPrimary}
		link := modern()
		link.ResolveConflicts = c.tie
		if got := Compare(self, peer, link); got.Verdict != c.want {
			t.Errorf("%+v: %v", c, got.Verdict)
		}
		link.ResolveConflicts = !c.tie
		if got := Compare(peer, self, link); got.Verdict != c.want.Mirror() {
			t.Errorf("%+v seen from the peer: %v", c, got.Verdict)
		}
		if c.selfPrimary != c.peerPrimary {
			link.NewPeer = false
			if got := Compare(self, peer, link); got.Verdict != Unsupported {
				t.Errorf("%+v with an old peer: %v", c, got.Verdict)
			}
		}
	}
}

// TestOldProtocols: what older peers do not store cannot be repaired.
func TestOldProtocols(t *testing.T) {
	for _, c := range []struct {
		protocol   int
		self, peer string
		want       Verdict
	}{
		{90, "A:B:C", "A:-:B:C", Unsupported},
		{91, "A:B:C", "A:-:B:C", SourceBitmap},
		{90, "A:-:C:D", "B:E:A:C", Unsupported},
		{95, "A:-:C:D", "B:E:A:C", TargetBitmap}, // before 96 the histories tell, not the step
		{96, "A:-:C:D", "B:E:A:C", TargetFull},
	} {
		link := Link{Protocol: c.protocol, NewPeer: true}
		got := Compare(Side{Set: set(c.self)}, Side{Set: set(c.peer)}, link)
		if got.Verdict != c.want {
			t.Errorf("version %d, %s, %s: %v by rule %d, want %v", c.protocol, c.self, c.peer, got.Verdict, got.Rule, c.want)
		}
		if back := Compare(Side{Set: set(c.peer)}, Side{Set: set(c.self)}, link); back.Verdict != c.want.Mirror() {
			t.Errorf("version %d, %s, %s from the peer: %v", c.protocol, c.self, c.peer, back.Verdict)
		}
	}
}

// TestEveryPair compares all sets of five UUIDs with all others: both sides always agree, the Primary bits never matter, a
// set is in sync with itself, and a verdict without a resync in it never hides a difference.
func TestEveryPair(t *testing.T) {
	words := []string{"4", "A", "B", "A+", "-"}
	var sets []Set
	for _, a := range words {
		for _, b := range words {
			for _, c := range words {
				for _, d := range words {
					sets = append(sets, set(strings.Join([]string{a, b, c, d}, ":")))
				}
			}
		}
	}
	seen := map[string]int{}
	for _, a := range sets {
		for _, b := range sets {
			checkPair(t, a, b, seen)
		}
	}
	if len(seen) < 14 {
		t.Errorf("only these rules decided anything: %v", seen)
	}
}

func checkPair(t *testing.T, a, b Set, seen map[string]int) {
	t.Helper()
	there := Compare(Side{Set: a}, Side{Set: b}, modern())
	back := Compare(Side{Set: b}, Side{Set: a}, modern())
	seen[fmt.Sprint(there.Rule)]++
	if back.Verdict != there.Verdict.Mirror() {
		t.Fatalf("%v and %v: %v by rule %d, but from the peer %v by rule %d", a, b, there.Verdict, there.Rule, back.Verdict, back.Rule)
	}
	if flipped := Compare(Side{Set: flip(a)}, Side{Set: b}, modern()); flipped.Verdict != there.Verdict {
		t.Fatalf("%v and %v: %v, with other Primary bits %v", a, b, there.Verdict, flipped.Verdict)
	}
	if a == b && there.Verdict != InSync {
		t.Fatalf("%v with itself: %v", a, there.Verdict)
	}
	if there.Verdict == InSync && !Same(a.Current, b.Current) && !(empty(a) && empty(b)) {
		t.Fatalf("%v and %v in sync", a, b)
	}
}

// flip changes the lowest bits; of none and of just created they mean nothing.
func flip(s Set) Set {
	for _, u := range []*uint64{&s.Current, &s.Bitmap, &s.History[0], &s.History[1]} {
		if *u > JustCreated {
			*u ^= 1
		}
	}
	return s
}

// TestKeepBase: a source that began a resync of which its target never heard has the target's base in its history; with the base in
// the target's history too, the two still know that they have parted.
func TestKeepBase(t *testing.T) {
	link := Link{Protocol: 101, NewPeer: true}
	source, name := Set{Current: 0xa0, Bitmap: 0x10}.StartSource(0xf0)
	if name != 0x10+bitmapStep || source.History[0] != 0x10 {
		t.Fatalf("%v, name %X", source, name)
	}
	target := Set{Current: 0xb0, Bitmap: 0x10, History: [2]uint64{0x8, 0x6}}
	if c := Compare(Side{Set: target}, Side{Set: source}, link); c.Verdict != Unrelated {
		t.Errorf("without the base: %v", c.Verdict)
	}
	kept := target.KeepBase()
	if want := (Set{Current: 0xb0, Bitmap: 0x10, History: [2]uint64{0x10, 0x8}}); kept != want || kept.KeepBase() != want {
		t.Errorf("%v", kept)
	}
	if c := Compare(Side{Set: kept}, Side{Set: source}, link); c.Verdict != SplitBrainOld {
		t.Errorf("with the base: %v", c.Verdict)
	}
	if none := (Set{Current: 0xb0, History: [2]uint64{1, 2}}); none.KeepBase() != none {
		t.Error("a set without a base was changed")
	}
}
