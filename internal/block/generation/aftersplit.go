package generation

// Policy is what may settle a split brain without an operator (after-sb-0pri and after-sb-1pri); the numbers are those of
// P_PROTOCOL.
type Policy uint32

// The policies of drbd.conf(5).
const (
	Disconnect Policy = iota
	DiscardYoungerPrimary
	DiscardOlderPrimary
	DiscardZeroChanges
	DiscardLeastChanges
	DiscardLocal
	DiscardRemote
	Consensus
	DiscardSecondary
	CallPriLost
	ViolentlyAs0Pri
)

// PolicyNamed finds a policy by its word in drbd.conf(5).
func PolicyNamed(word string) (Policy, bool) {
	for i, name := range [...]string{"disconnect", "discard-younger-primary", "discard-older-primary", "discard-zero-changes",
		"discard-least-changes", "discard-local", "discard-remote", "consensus", "discard-secondary", "call-pri-lost-after-sb",
		"violently-as0p"} {
		if name == word {
			return Policy(i), true
		}
	}
	return Disconnect, false
}

// Agrees tells whether the peer's policy is the same as ours: what is local here is remote there.
func (p Policy) Agrees(peer Policy) bool {
	switch p {
	case DiscardLocal:
		return peer == DiscardRemote
	case DiscardRemote:
		return peer == DiscardLocal
	}
	return p == peer
}

// Policies are the configured ones.
type Policies struct {
	ZeroPri, OnePri Policy
	// Always: also for a split whose base is too old for the bitmaps (always-asbp).
	Always bool
}

// victim is the side whose version is given up.
type victim int8

const (
	nobody victim = iota
	selfGivesUp
	peerGivesUp
)

func pick(peer bool) victim {
	if peer {
		return peerGivesUp
	}
	return selfGivesUp
}

// byPolicy settles a split brain as the policies say, if they do. lost tells that the Primary's version is to be given up,
// which its handler pri-lost-after-sb has to arrange.
func (o *Outcome) byPolicy(self, peer Host, link Link) {
	if !o.Verdict.Split() || o.Verdict == SplitBrainOld && !link.Policies.Always {
		return
	}
	var v victim
	switch {
	case self.Primary && peer.Primary: // never resolved: one of them would change under its users
	case self.Primary || peer.Primary:
		v = o.onePrimary(self, peer, link)
	default:
		v = zeroPrimaries(self, peer, link)
	}
	if v == nobody {
		return
	}
	o.settle(v)
	o.Resolved = "by the after-sb policies"
}

// settle makes the verdict of a split brain a resync.
func (o *Outcome) settle(v victim) {
	full := o.Verdict == SplitBrainOld
	switch {
	case v == selfGivesUp && full:
		o.Verdict = TargetFull
	case v == selfGivesUp:
		o.Verdict = TargetBitmap
	case full:
		o.Verdict = SourceFull
	default:
		o.Verdict = SourceBitmap
	}
}

// zeroPrimaries chooses when neither side is in use. The lowest bit of the bitmap's base tells who was Primary when the two
// parted.
func zeroPrimaries(self, peer Host, link Link) victim {
	policy := link.Policies.ZeroPri
	mine, theirs := self.Set.Bitmap&primaryBit != 0, peer.Set.Bitmap&primaryBit != 0
	switch policy {
	case DiscardLocal, DiscardRemote:
		return pick(policy == DiscardRemote)
	case DiscardYoungerPrimary, DiscardOlderPrimary:
		if mine != theirs { // who was Primary then is the older one
			return pick(mine == (policy == DiscardYoungerPrimary))
		}
		return fewerChanges(self, peer, link)
	case DiscardZeroChanges:
		if self.Changes != 0 && peer.Changes != 0 {
			return nobody
		}
		return fewerChanges(self, peer, link)
	case DiscardLeastChanges:
		return fewerChanges(self, peer, link)
	}
	return nobody
}

// fewerChanges gives up the side that wrote less; of two equal ones, the one that resolves conflicts.
func fewerChanges(self, peer Host, link Link) victim {
	if self.Changes == peer.Changes {
		return pick(!link.ResolveConflicts)
	}
	return pick(peer.Changes < self.Changes)
}

// onePrimary chooses when one side is in use.
func (o *Outcome) onePrimary(self, peer Host, link Link) victim {
	primary := pick(peer.Primary) // giving the Primary up
	switch link.Policies.OnePri {
	case DiscardSecondary:
		return pick(self.Primary)
	case Consensus:
		if v := zeroPrimaries(self, peer, link); v != primary {
			return v
		}
	case CallPriLost, ViolentlyAs0Pri:
		v := zeroPrimaries(self, peer, link)
		o.PrimaryLost = v == primary && self.Primary && link.Policies.OnePri == CallPriLost
		return v
	}
	return nobody
}
