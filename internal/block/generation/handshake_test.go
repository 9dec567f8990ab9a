package generation

import (
	"fmt"
	"testing"
)

func host(uuids string, disk DiskState) Host { return Host{Side: Side{Set: set(uuids)}, Disk: disk} }

func primary(h Host) Host { h.Primary = true; return h }
func discard(h Host) Host { h.Discard = true; return h }

func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		name       string
		self, peer Host
		verdict    Verdict
		refuse     string
	}{
		{"fresh and fresh", host("4", Inconsistent), host("4", Inconsistent), InSync, ""},
		{"fresh and good", host("4", Inconsistent), host("A", UpToDate), TargetFull, ""},
		{"good and fresh", primary(host("A", UpToDate)), host("4", Inconsistent), SourceFull, ""},
		{"equal", host("A", UpToDate), host("A", UpToDate), InSync, ""},
		{"equal, but one was interrupted as target", host("A", UpToDate), host("A", Inconsistent), SourceBitmap, ""},
		{"behind", host("A", UpToDate), primary(host("B:A", UpToDate)), TargetBitmap, ""},
		{"behind, but Primary", primary(host("A", UpToDate)), host("B:A", UpToDate), TargetBitmap, "I shall become SyncTarget, but I am primary!"},
		{"ahead of a Primary", host("B:A", UpToDate), primary(host("A", UpToDate)), SourceBitmap, "The peer would become SyncTarget, but it is primary!"},
		{"ahead, but both Inconsistent", host("B:A", Inconsistent), host("A", Inconsistent), SourceBitmap, "I shall become SyncSource, but I am inconsistent!"},
		{"behind, both Inconsistent", host("A", Inconsistent), host("B:A", Inconsistent), TargetBitmap, "The peer would become SyncSource, but it is inconsistent!"},
		{"ahead, but only the peer's disk is good", host("B:A", Inconsistent), host("A", UpToDate), TargetBitmap, ""},
		{"far ahead, but only the peer's disk is good", host("B:-:A", Inconsistent), host("A", UpToDate), TargetFull, ""},
		{"split brain", host("A:C", UpToDate), host("B:C", UpToDate), SplitBrain, "Split-Brain detected but unresolved, dropping connection!"},
		{"split brain, both given up", discard(host("A:C", UpToDate)), discard(host("B:C", UpToDate)), SplitBrain, "Split-Brain detected but unresolved, dropping connection!"},
		{"split brain, I am given up", discard(host("A:C", UpToDate)), primary(host("B:C", UpToDate)), TargetBitmap, ""},
		{"split brain, I am given up and Primary", discard(primary(host("A:C", UpToDate))), host("B:C", UpToDate), TargetBitmap, "I shall become SyncTarget, but I am primary!"},
		{"split brain, the peer is given up", host("A:C", UpToDate), discard(host("B:C", UpToDate)), SourceBitmap, ""},
		{"old split brain, I am given up", discard(host("A:C:E", UpToDate)), host("B:D:E", UpToDate), TargetFull, ""},
		{"old split brain, the peer is given up", host("A:C:E", UpToDate), discard(host("B:D:E", UpToDate)), SourceFull, ""},
		{"giving up without a split brain", discard(host("B:A", UpToDate)), host("A", UpToDate), SourceBitmap, ""},
		{"unrelated", host("A", UpToDate), host("B", UpToDate), Unrelated, "Unrelated data, aborting!"},
		{"unrelated is never overruled by a bad disk", discard(host("A", Inconsistent)), host("B", UpToDate), Unrelated, "Unrelated data, aborting!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Handshake(c.self, c.peer, modern())
			if got.Verdict != c.verdict || got.Refuse != c.refuse {
				t.Errorf("%v %q, want %v %q", got.Verdict, got.Refuse, c.verdict, c.refuse)
			}
			back := Handshake(c.peer, c.self, modern())
			if back.Verdict != c.verdict.Mirror() || (back.Refuse == "") != (c.refuse == "") {
				t.Errorf("the peer: %v %q", back.Verdict, back.Refuse)
			}
		})
	}
}

// TestTransitions replays what the kernel module recorded (drbd84-crash-splitbrain): the numbers are its own.
func TestTransitions(t *testing.T) {
	before := Set{0xC95B7A1252BF82FF, 0, [2]uint64{0x6D187C2BFCC631DC, 0x484A94AEDDFB788B}}
	source := before.NewCurrent(0x105FB1FA946E597E, true)
	if want := "105FB1FA946E597F:C95B7A1252BF82FF:6D187C2BFCC631DC:484A94AEDDFB788B"; source.String() != want {
		t.Fatalf("the Primary lost its peer: %v, recorded %s", source, want)
	}
	if source.NeedsNewCurrent() || !before.NeedsNewCurrent() {
		t.Error("a new generation is needed once per absence")
	}
	target := Set{0xC95B7A1252BF82FE, 0, [2]uint64{0x6D187C2BFCC631DD, 0x484A94AEDDFB788B}}
	c := Compare(Side{Set: target}, Side{Set: source, Primary: true}, modern())
	if c.Verdict != TargetBitmap || c.Rule != 50 {
		t.Fatalf("%v by rule %d, recorded: target by rule 50", c.Verdict, c.Rule)
	}
	syncing, name := source.StartSource(1)
	target = target.StartTarget(name)
	if want := "C95C7A1252BF82FE:0000000000000000:6D187C2BFCC631DD:484A94AEDDFB788B"; target.String() != want {
		t.Errorf("updated sync uuid %v, recorded %s", target, want)
	}
	target = target.FinishTarget(source, false)
	if want := "105FB1FA946E597E:0000000000000000:C95C7A1252BF82FF:C95B7A1252BF82FF"; !equalBut(target, want) {
		t.Errorf("updated UUIDs %v, recorded %s", target, want)
	}
	done := syncing.FinishSource()
	if !sameSet(done, target) {
		t.Errorf("after the resync the source has %v, the target %v", done, target)
	}
	if c := Compare(Side{Set: done}, Side{Set: target}, modern()); c.Verdict != InSync {
		t.Errorf("after the resync: %v", c.Verdict)
	}
}

// equalBut compares with a text, Primary bits apart.
func equalBut(s Set, text string) bool {
	other, ok := parse(text)
	return ok && sameSet(s, other)
}

func parse(text string) (s Set, ok bool) {
	n, err := fmt.Sscanf(text, "%x:%x:%x:%x", &s.Current, &s.Bitmap, &s.History[0], &s.History[1])
	return s, n == 4 && err == nil
}

func sameSet(a, b Set) bool {
	return Same(a.Current, b.Current) && Same(a.Bitmap, b.Bitmap) && Same(a.History[0], b.History[0]) && Same(a.History[1], b.History[1])
}

// TestFirstSync follows the recorded first promotion: --force on a fresh disk, full sync, and the peer equal.
func TestFirstSync(t *testing.T) {
	fresh := Set{Current: JustCreated}
	source := fresh.NewCurrent(0x3D622C50628A5CFC, true)
	if want := "3D622C50628A5CFD:0000000000000004:0000000000000000:0000000000000000"; source.String() != want {
		t.Fatalf("%v, recorded %s", source, want)
	}
	if c := Compare(Side{Set: fresh}, Side{Set: source}, modern()); c.Verdict != TargetFull {
		t.Errorf("the fresh peer: %v", c.Verdict)
	}
	syncing, name := source.StartSource(0xB5DFAF01F1846E71)
	if want := "3D622C50628A5CFD:B5DFAF01F1846E70:0000000000000004:0000000000000000"; syncing.String() != want {
		t.Errorf("syncing: %v, want %s", syncing, want)
	}
	target := fresh.StartTarget(name)
	interrupted := Compare(Side{Set: target}, Side{Set: syncing}, modern())
	if interrupted.Verdict != TargetBitmap {
		t.Errorf("interrupted: %v by rule %d", interrupted.Verdict, interrupted.Rule)
	}
	if done := target.FinishTarget(source, false); done.String() != "3D622C50628A5CFC:0000000000000000:B5DFAF01F1846E70:0000000000000004" {
		t.Errorf("target after the sync: %v", done)
	}
}

// TestLostMessages: whichever message of a resync is lost, the next handshake goes on rightly.
func TestLostMessages(t *testing.T) {
	source := set("A:-:C:D").NewCurrent(idB, true)
	target := set("A:-:C:D")
	syncing, name := source.StartSource(1)
	cases := []struct {
		lost           string
		source, target Set
		want           Verdict // of the target
	}{
		{"the name of the resync", syncing, target, TargetBitmap},
		{"the connection, half way", syncing, target.StartTarget(name), TargetBitmap},
		{"the end of the resync", syncing, target.StartTarget(name).FinishTarget(source, false), TargetBitmap},
		{"nothing", syncing.FinishSource(), target.StartTarget(name).FinishTarget(source, false), InSync},
		{"the peer for long", syncing.FinishSource().NewCurrent(idE, true), target.StartTarget(name).FinishTarget(source, false), TargetBitmap},
		{"a whole resync with another", source, set("C"), TargetFull},
	}
	for _, c := range cases {
		if got := Compare(Side{Set: c.target}, Side{Set: c.source}, modern()); got.Verdict != c.want {
			t.Errorf("lost %s: target %v, source %v: %v by rule %d", c.lost, c.target, c.source, got.Verdict, got.Rule)
		}
		if got := Compare(Side{Set: c.source}, Side{Set: c.target}, modern()); got.Verdict != c.want.Mirror() {
			t.Errorf("lost %s, from the source: %v by rule %d", c.lost, got.Verdict, got.Rule)
		}
	}
}

// TestNewCurrentKeepsBase: a second new generation without a resync leaves the first base in the history, so that a peer of
// that base is not taken for one the bitmap covers.
func TestNewCurrentKeepsBase(t *testing.T) {
	s := set("A:-:C:D").NewCurrent(idB, true).NewCurrent(idE, true)
	if got := Compare(Side{Set: set("A")}, Side{Set: s}, modern()); got.Verdict != TargetFull {
		t.Errorf("%v: %v", s, got.Verdict)
	}
	if !Same(s.Bitmap, idB) {
		t.Errorf("base %x", s.Bitmap)
	}
}

func TestRole(t *testing.T) {
	s := set("A").WithRole(false)
	if s.Current&1 != 0 || s.WithRole(true).Current&1 != 1 || !Same(s.Current, idA) {
		t.Errorf("%v", s)
	}
	if c := set("A:B:C:D").Clear(); c != (Set{idA, 0, [2]uint64{idB, idC}}) {
		t.Errorf("cleared: %v", c)
	}
}

func TestNames(t *testing.T) {
	for v := InSync; v <= Unsupported; v++ {
		if v.String() == "" {
			t.Errorf("verdict %d has no name", v)
		}
	}
	if Verdict(99).String() != "unknown verdict" || DiskState(99).String() != "Unknown" || UpToDate.String() != "UpToDate" || DUnknown != 6 {
		t.Error("names")
	}
}
