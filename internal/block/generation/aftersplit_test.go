package generation

import "testing"

// The policies as drbd.conf(5) describes them. Each case also holds seen from the other side.
func TestAfterSplitBrain(t *testing.T) {
	const older, younger = 0x100 | primaryBit, 0x100 // base of who was Primary at the split, of who became it later
	type sb struct {
		zero, one        Policy
		selfBase         uint64
		peerBase         uint64
		self, peer       uint64 // changes
		selfPri, peerPri bool
		want             Verdict
	}
	for name, c := range map[string]sb{
		"disconnect":                              {zero: Disconnect, self: 1, peer: 1, want: SplitBrain},
		"younger, self is older":                  {zero: DiscardYoungerPrimary, selfBase: older, peerBase: younger, want: SourceBitmap},
		"older, self is older":                    {zero: DiscardOlderPrimary, selfBase: older, peerBase: younger, want: TargetBitmap},
		"younger undecided: least changes":        {zero: DiscardYoungerPrimary, self: 3, peer: 9, want: TargetBitmap},
		"zero changes, self wrote":                {zero: DiscardZeroChanges, self: 3, want: SourceBitmap},
		"zero changes, peer wrote":                {zero: DiscardZeroChanges, peer: 3, want: TargetBitmap},
		"zero changes, both wrote":                {zero: DiscardZeroChanges, self: 1, peer: 3, want: SplitBrain},
		"zero changes, none wrote":                {zero: DiscardZeroChanges, want: TargetBitmap},
		"least changes":                           {zero: DiscardLeastChanges, self: 9, peer: 3, want: SourceBitmap},
		"discard-remote":                          {zero: DiscardRemote, want: SourceBitmap},
		"one Primary, disconnect":                 {zero: DiscardLeastChanges, self: 9, selfPri: true, want: SplitBrain},
		"discard-secondary, self is Primary":      {one: DiscardSecondary, peer: 9, selfPri: true, want: SourceBitmap},
		"discard-secondary, peer is Primary":      {one: DiscardSecondary, self: 9, peerPri: true, want: TargetBitmap},
		"consensus, both agree":                   {zero: DiscardLeastChanges, one: Consensus, self: 9, selfPri: true, want: SourceBitmap},
		"consensus, Primary would lose":           {zero: DiscardLeastChanges, one: Consensus, peer: 9, selfPri: true, want: SplitBrain},
		"violently, Secondary wins":               {zero: DiscardLeastChanges, one: ViolentlyAs0Pri, self: 9, peerPri: true, want: SourceBitmap},
		"violently, Primary wins":                 {zero: DiscardLeastChanges, one: ViolentlyAs0Pri, peer: 9, peerPri: true, want: TargetBitmap},
		"two Primaries are never interfered with": {zero: DiscardLeastChanges, one: DiscardSecondary, self: 9, selfPri: true, peerPri: true, want: SplitBrain},
	} {
		t.Run(name, func(t *testing.T) {
			base := func(b uint64) uint64 {
				if b == 0 {
					return younger
				}
				return b
			}
			self := Host{Side: Side{Set: Set{Current: 0xa0, Bitmap: base(c.selfBase)}, Primary: c.selfPri}, Disk: UpToDate, Changes: c.self}
			peer := Host{Side: Side{Set: Set{Current: 0xb0, Bitmap: base(c.peerBase)}, Primary: c.peerPri}, Disk: UpToDate, Changes: c.peer}
			link := modern()
			link.Policies = Policies{ZeroPri: c.zero, OnePri: c.one}
			link.ResolveConflicts = true
			got := Handshake(self, peer, link)
			if got.Verdict != c.want || !got.Split {
				t.Errorf("%v (split %v), want %v", got.Verdict, got.Split, c.want)
			}
			other := link
			other.ResolveConflicts = false
			switch other.Policies.ZeroPri {
			case DiscardRemote:
				other.Policies.ZeroPri = DiscardLocal
			case DiscardLocal:
				other.Policies.ZeroPri = DiscardRemote
			}
			if !other.Policies.ZeroPri.Agrees(link.Policies.ZeroPri) {
				t.Error("the two sides' policies do not agree")
			}
			if back := Handshake(peer, self, other); back.Verdict != c.want.Mirror() {
				t.Errorf("the peer says %v, want %v", back.Verdict, c.want.Mirror())
			}
			if again := got.Refuse != ""; again != (c.want.Split() || refusedForUse(c.want, c.selfPri, c.peerPri)) {
				t.Errorf("refused: %q", got.Refuse)
			}
		})
	}
}

// refusedForUse: a verdict is not carried out on a Primary's disk.
func refusedForUse(v Verdict, self, peer bool) bool { return v.Target() && self || v.Source() && peer }

func TestOldSplitNeedsAlways(t *testing.T) {
	self := Host{Side: Side{Set: Set{Current: 0xa0, Bitmap: 0x10, History: [2]uint64{0x30}}}, Disk: UpToDate, Changes: 1}
	peer := Host{Side: Side{Set: Set{Current: 0xb0, Bitmap: 0x20, History: [2]uint64{0x30}}}, Disk: UpToDate, Changes: 2}
	link := modern()
	link.Policies.ZeroPri = DiscardLeastChanges
	if got := Handshake(self, peer, link); got.Verdict != SplitBrainOld {
		t.Errorf("%v without always-asbp", got.Verdict)
	}
	link.Policies.Always = true
	if got := Handshake(self, peer, link); got.Verdict != TargetFull {
		t.Errorf("%v with always-asbp", got.Verdict)
	}
}

func TestPolicyWords(t *testing.T) {
	for i, word := range []string{"disconnect", "discard-younger-primary", "discard-older-primary", "discard-zero-changes", "discard-least-changes"} {
		if p, ok := PolicyNamed(word); !ok || int(p) != i {
			t.Errorf("%s is %d", word, p)
		}
	}
	if _, ok := PolicyNamed("toss-a-coin"); ok {
		t.Error("an unknown policy was found")
	}
}
