package generation

// Verdict is what two sets say about two disks.
type Verdict uint8

// The verdicts. Source and Target are this node's part in the resync that is due.
const (
	InSync        Verdict = iota // nothing to do
	SourceBitmap                 // this node sends what its bitmap has
	TargetBitmap                 // this node receives what the peer's bitmap has
	SourceFull                   // this node sends everything
	TargetFull                   // this node receives everything
	SplitBrain                   // both wrote since a common base: the bitmaps tell what
	SplitBrainOld                // both wrote since a base too old for the bitmaps: a full resync after resolution
	Unrelated                    // no common generation: never connect
	Unsupported                  // sets this version does not resolve (an old peer); refuse the connection
)

var verdictNames = [...]string{
	InSync: "in sync", SourceBitmap: "source with bitmap", TargetBitmap: "target with bitmap", SourceFull: "source, full",
	TargetFull: "target, full", SplitBrain: "split brain", SplitBrainOld: "split brain, full resync needed",
	Unrelated: "unrelated data", Unsupported: "not to be resolved with this peer",
}

// String names the verdict for logs and messages.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown verdict"
}

// Split tells whether the data diverged.
func (v Verdict) Split() bool { return v == SplitBrain || v == SplitBrainOld }

// Source tells whether this node is to be the source of a resync.
func (v Verdict) Source() bool { return v == SourceBitmap || v == SourceFull }

// Target tells whether this node is to be the target of a resync.
func (v Verdict) Target() bool { return v == TargetBitmap || v == TargetFull }

// Full tells whether all blocks must be resynced.
func (v Verdict) Full() bool { return v == SourceFull || v == TargetFull }

// Mirror is the verdict the peer comes to from the same facts.
func (v Verdict) Mirror() Verdict {
	switch v {
	case SourceBitmap:
		return TargetBitmap
	case TargetBitmap:
		return SourceBitmap
	case SourceFull:
		return TargetFull
	case TargetFull:
		return SourceFull
	}
	return v
}

// Side is one node's part of the comparison.
type Side struct {
	Set            Set
	Primary        bool // its role now
	CrashedPrimary bool // it was Primary when it last went down uncleanly (UUID flag 2 on the wire)
}

// Comparison is the outcome of Compare. Self and Peer are the sets to go on with: a set is corrected where the last
// message of an earlier resync did not get through; a changed Self must be stored before the resync begins.
type Comparison struct {
	Verdict Verdict
	Rule    int // DRBD's number of the rule that decided, as its log prints it
	Self    Set
	Peer    Set
}

// Link is what the comparison must know of the connection.
type Link struct {
	Protocol int // agreed protocol version, 86..101
	// NewPeer: the peer offers write-same (DRBD 8.4.7 or later), and so knows rule 41.
	NewPeer bool
	// ResolveConflicts is the tie-breaker given to exactly one side when the connection is made (the side that accepted
	// the data connection); when both crashed as Primary, this side becomes the target.
	ResolveConflicts bool
	// Policies may settle a split brain.
	Policies Policies
}

// Compare decides from two sets what has to happen between their disks. It looks at generations only: HandShake adds the
// state of the disks, roles and the operator's choices.
func Compare(self, peer Side, link Link) Comparison {
	c := Comparison{Self: self.Set, Peer: peer.Set}
	for _, rule := range rules {
		if rule(&c, self, peer, link) {
			return c
		}
	}
	c.Verdict, c.Rule = Unrelated, 0
	return c
}

// A rule decides the comparison and returns true, or leaves it to the next one.
type ruleFunc func(c *Comparison, self, peer Side, link Link) bool

var rules = [...]ruleFunc{ruleFresh, ruleEqual, ruleBothAhead, rulePeerAhead, ruleSelfAhead, ruleDiverged}

func (c *Comparison) is(v Verdict, rule int) bool {
	c.Verdict, c.Rule = v, rule
	return true
}

// ruleFresh: a disk that never held data takes everything from one that did.
func ruleFresh(c *Comparison, self, peer Side, _ Link) bool {
	mine, theirs := empty(self.Set), empty(peer.Set)
	switch {
	case mine && theirs:
		return c.is(InSync, 10)
	case mine:
		return c.is(TargetFull, 20)
	case theirs:
		return c.is(SourceFull, 30)
	}
	return false
}

func empty(s Set) bool { return Same(s.Current, JustCreated) || Same(s.Current, 0) }

// protocol91 is the first version whose peers store the resync's name, which lets an interrupted end be repaired.
const protocol91 = 91

// protocol96 is the first version that names a resync by adding bitmapStep.
const protocol96 = 96

// ruleEqual: one generation. Either the end of a resync was missed by one side, or one crashed as Primary and may hold
// writes the other lacks, or nothing happened.
func ruleEqual(c *Comparison, self, peer Side, link Link) bool {
	if !Same(self.Set.Current, peer.Set.Current) {
		return false
	}
	mine, theirs := self.Set.Bitmap != 0, peer.Set.Bitmap != 0
	if mine != theirs {
		if link.Protocol < protocol91 {
			return c.is(Unsupported, 33)
		}
		if mine {
			return endMissed(c, &c.Self, peer.Set, SourceBitmap, 34)
		}
		return endMissed(c, &c.Peer, self.Set, TargetBitmap, 35)
	}
	return ruleCrashed(c, self, peer, link)
}

// endMissed: source still has a bitmap base, the target has none: the target finished and the source did not hear of it
// (then its set is corrected, rule 34 or 35), or the target never stored the resync's name (rule two higher).
func endMissed(c *Comparison, source *Set, target Set, v Verdict, rule int) bool {
	if Same(source.Bitmap, target.History[0]) && Same(source.History[0], target.History[1]) {
		*source = source.retireBitmap()
		return c.is(v, rule)
	}
	return c.is(v, rule+2)
}

// ruleCrashed: equal generations and a crash. The side that was Primary is the source: its activity log covers what the
// other may lack.
func ruleCrashed(c *Comparison, self, peer Side, link Link) bool {
	const crash, present = 40, 41
	switch {
	case !self.CrashedPrimary && !peer.CrashedPrimary:
		return c.is(InSync, crash)
	case self.Primary || peer.Primary:
		return rulePresentPrimary(c, self, peer, link, present)
	case self.CrashedPrimary && !peer.CrashedPrimary:
		return c.is(SourceBitmap, crash)
	case !self.CrashedPrimary:
		return c.is(TargetBitmap, crash)
	case link.ResolveConflicts:
		return c.is(TargetBitmap, crash)
	}
	return c.is(SourceBitmap, crash)
}

// rulePresentPrimary: whoever is Primary now has been writing since the crash without a new generation.
func rulePresentPrimary(c *Comparison, self, peer Side, link Link, rule int) bool {
	switch {
	case !link.NewPeer:
		return c.is(Unsupported, rule)
	case self.Primary && peer.Primary:
		return c.is(SplitBrainOld, rule)
	case self.Primary:
		return c.is(SourceBitmap, rule)
	}
	return c.is(TargetBitmap, rule)
}

// ruleBothAhead: each side has left the other's generation behind. No course of events makes that, only disks that were
// copied or set by hand; both sides would become the target.
func ruleBothAhead(c *Comparison, self, peer Side, link Link) bool {
	there, back := *c, *c
	if !rulePeerAhead(&there, self, peer, link) || !ruleSelfAhead(&back, self, peer, link) {
		return false
	}
	return c.is(Unrelated, 0)
}

// rulePeerAhead: this node's generation is one the peer has left behind.
func rulePeerAhead(c *Comparison, self, peer Side, link Link) bool {
	if Same(self.Set.Current, peer.Set.Bitmap) {
		return c.is(TargetBitmap, 50)
	}
	if fixed, lost := undoStart(self.Set, peer.Set, link); lost {
		if link.Protocol < protocol91 {
			return c.is(Unsupported, 51)
		}
		c.Peer = fixed
		return c.is(TargetBitmap, 51)
	}
	if inHistory(self.Set.Current, peer.Set) {
		return c.is(TargetFull, 60)
	}
	return false
}

// ruleSelfAhead is rulePeerAhead seen from the other side.
func ruleSelfAhead(c *Comparison, self, peer Side, link Link) bool {
	if Same(self.Set.Bitmap, peer.Set.Current) {
		return c.is(SourceBitmap, 70)
	}
	if fixed, lost := undoStart(peer.Set, self.Set, link); lost {
		if link.Protocol < protocol91 {
			return c.is(Unsupported, 71)
		}
		c.Self = fixed
		return c.is(SourceBitmap, 71)
	}
	if inHistory(peer.Set.Current, self.Set) {
		return c.is(SourceFull, 80)
	}
	return false
}

// undoStart tells whether source began a resync whose name (P_SYNC_UUID) never reached target, and gives source's set
// as it was before.
func undoStart(target, source Set, link Link) (Set, bool) {
	if !Same(target.Current, source.History[0]) {
		return source, false
	}
	if link.Protocol < protocol96 {
		if !Same(target.History[0], source.History[1]) {
			return source, false
		}
	} else if !Same(source.History[0]&^primaryBit+bitmapStep, source.Bitmap) {
		return source, false
	}
	source.Bitmap, source.History[0] = source.History[0], source.History[1]
	return source, true
}

func inHistory(u uint64, s Set) bool {
	return u&^primaryBit != 0 && (Same(u, s.History[0]) || Same(u, s.History[1]))
}

// ruleDiverged: both went on from a common base.
func ruleDiverged(c *Comparison, self, peer Side, _ Link) bool {
	if Same(self.Set.Bitmap, peer.Set.Bitmap) && self.Set.Bitmap&^primaryBit != 0 {
		return c.is(SplitBrain, 90)
	}
	for _, old := range self.Set.History {
		if inHistory(old, peer.Set) {
			return c.is(SplitBrainOld, 100)
		}
	}
	return false
}
