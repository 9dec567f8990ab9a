package generation

import "holdfast/internal/planted"

// DiskState orders disks by how much their content can be trusted; the numbers are DRBD's (P_STATE).
type DiskState uint8

// The disk states of DRBD 8.4.
const (
	Diskless DiskState = iota
	Attaching
	Failed
	Negotiating
	Inconsistent
	Outdated
	DUnknown
	Consistent
	UpToDate
)

var diskNames = [...]string{"Diskless", "Attaching", "Failed", "Negotiating", "Inconsistent", "Outdated", "DUnknown",
	"Consistent", "UpToDate"}

// String gives the state as `drbdadm dstate` prints it.
func (d DiskState) String() string {
	if int(d) < len(diskNames) {
		return diskNames[d]
	}
	return "Unknown"
}

// Host is one node's part of a handshake. For a disk that is Negotiating, Disk is the state its flags and UUIDs give it.
type Host struct {
	Side
	Disk DiskState
	// Discard: the operator gave this side up (connect --discard-my-data; UUID flag 1 on the wire).
	Discard bool
	// Attaching: the connection is there already, and it has just been given this disk.
	Attaching bool
	// Changes is the number of blocks it wrote since the two parted, as its bitmap counts.
	Changes uint64
}

// Outcome is what a handshake leads to. If Refuse is not empty the connection must be dropped and Refuse says why;
// a resync, if the verdict is one, starts otherwise.
type Outcome struct {
	Comparison
	Refuse string
	// Split tells that a split brain was found, settled or not.
	Split bool
	// Resolved says how a split brain was settled: empty, "by discard-my-data" or "by the after-sb policies".
	Resolved string
	// PrimaryLost: this side is Primary and its version is to be given up: the handler pri-lost-after-sb is to see to it.
	PrimaryLost bool
}

// Handshake decides what a new connection leads to: the comparison of generations, overruled by unusable disks and by
// the operator's choice of a split brain's victim, and refused where the would-be target is in use or no source is fit.
func Handshake(self, peer Host, link Link) Outcome {
	out := Outcome{Comparison: Compare(self.Side, peer.Side, link)}
	out.byDisks(self, peer)
	out.Split = out.Verdict.Split()
	if planted.SplitResynced && out.Split {
		out.settle(pick(!link.ResolveConflicts))
	}
	out.byPolicy(self, peer, link)
	out.byOperator(self, peer)
	out.Refuse = out.refusal(self, peer)
	return out
}

// byDisks: of an Inconsistent and a better disk, the better is the source, whatever the generations say.
func (o *Outcome) byDisks(self, peer Host) {
	selfGood, peerGood := self.Disk > Inconsistent, peer.Disk > Inconsistent
	if o.Verdict == Unrelated || o.Verdict == Unsupported {
		return
	}
	if !(self.Disk == Inconsistent && peerGood || peer.Disk == Inconsistent && selfGood) {
		return
	}
	full := o.Verdict.Full() || o.Verdict == SplitBrainOld
	switch {
	case selfGood && full:
		o.Verdict = SourceFull
	case selfGood:
		o.Verdict = SourceBitmap
	case full:
		o.Verdict = TargetFull
	default:
		o.Verdict = TargetBitmap
	}
}

// byOperator: a split brain is settled if exactly one side was given up.
func (o *Outcome) byOperator(self, peer Host) {
	if !o.Verdict.Split() || self.Discard == peer.Discard {
		return
	}
	o.settle(pick(peer.Discard))
	o.Resolved = "by discard-my-data"
}

func (o *Outcome) refusal(self, peer Host) string {
	switch {
	case o.Verdict == Unrelated:
		return "Unrelated data, aborting!"
	case o.Verdict == Unsupported:
		return "the peer's protocol is too old to resolve these generations"
	case o.Verdict.Split():
		return "Split-Brain detected but unresolved, dropping connection!"
	case o.Verdict.Source() && self.Disk <= Inconsistent:
		return "I shall become SyncSource, but I am inconsistent!"
	case o.Verdict.Target() && self.Primary && self.Disk >= Consistent && !self.Attaching:
		return "I shall become SyncTarget, but I am primary!"
	case o.Verdict.Source() && peer.Primary && peer.Disk >= Consistent && !peer.Attaching:
		return "The peer would become SyncTarget, but it is primary!"
	case o.Verdict.Target() && peer.Disk <= Inconsistent:
		return "The peer would become SyncSource, but it is inconsistent!"
	}
	return ""
}
