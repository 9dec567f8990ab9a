package nemesis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Part is what a host is at the moment a fault strikes.
type Part string

// The parts. Nobody stands for hosts a fault does not need; Everyone for all hosts of the lab.
const (
	Active   Part = "active"
	Standby  Part = "standby"
	Witness  Part = "witness"
	Everyone Part = "everyone"
	Nobody   Part = ""
)

// Kind names a fault.
type Kind string

// The faults.
const (
	Kill         Kind = "kill"          // power cut; after Hold the power is back
	KillDatabase Kind = "kill-database" // the server and the script that would restart it
	Freeze       Kind = "freeze"        // every process stands still for Hold
	Cut          Kind = "cut"           // no packets from Where to To, and unless OneWay back, for Hold
	KillDaemon   Kind = "kill-daemon"
	StopDaemon   Kind = "stop-daemon" // SIGSTOP, after Hold SIGCONT
	KillVolume   Kind = "kill-volume"
	StopVolume   Kind = "stop-volume"
	StopBoth     Kind = "stop-daemon-and-volume"
	Disk         Kind = "disk" // the data disk does Disk for Hold
	NodeStandby  Kind = "standby"
	StopCluster  Kind = "cluster-stop" // on Where, after Hold started again
	Move         Kind = "move"
	NewDisk      Kind = "new-disk" // a blank disk in the standby
	WipeLog      Kind = "wipe-log" // power cut, and the voter's log is gone
	DamageLog    Kind = "damage-log"
	KillTogether Kind = "kill-together" // several at the same instant, started at the same time
)

// Fault is one thing that goes wrong.
type Fault struct {
	Kind Kind
	// Where it strikes; Cut: from where.
	Where Part
	// To is the other side of a cut.
	To Part
	// OneWay cuts only from Where to To.
	OneWay bool
	// Both, for KillTogether: the witness dies too.
	Both bool
	// Disk is what the disk does: fail, fail write, slow 20, full, hang.
	Disk string
	// Hold is how long it lasts.
	Hold time.Duration
}

// String describes the fault for people.
func (f Fault) String() string {
	parts := []string{string(f.Kind)}
	for _, s := range []string{string(f.Where), string(f.To), f.Disk} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if f.OneWay {
		parts = append(parts, "one way")
	}
	if f.Both {
		parts = append(parts, "with the witness")
	}
	if f.Hold > 0 {
		parts = append(parts, fmt.Sprintf("for %.1f s", f.Hold.Seconds()))
	}
	return strings.Join(parts, " ")
}

// Step is a fault, and perhaps a second one that strikes while the first lasts.
type Step struct {
	First  Fault
	Second *Fault
	// After is how long after the first the second strikes.
	After time.Duration
}

// String describes the step for people.
func (s Step) String() string {
	if s.Second == nil {
		return s.First.String()
	}
	return fmt.Sprintf("%s; %.1f s later %s", s.First, s.After.Seconds(), s.Second)
}

// Schedule draws the n-th step of a seed. Equal arguments give equal steps.
func Schedule(seed uint64, n int) Step {
	d := draw{rand.New(rand.NewPCG(seed, uint64(n)))}
	s := Step{First: d.fault(allKinds[:])}
	if pairable(s.First.Kind) && d.IntN(3) == 0 {
		second := d.fault(quickKinds[:])
		s.Second, s.After = &second, d.between(0, 4*time.Second)
	}
	return s
}

// Leader is the voter that leads while the seed is played.
func Leader(seed uint64) Part {
	return [...]Part{Witness, Active, Standby}[seed%3]
}

// allKinds are the kinds with their weights: a kind is drawn as often as it is named.
var allKinds = [...]Kind{
	Kill, Kill, Kill, KillDatabase, Freeze, Freeze, Freeze, Cut, Cut, Cut, Cut, KillDaemon, StopDaemon, StopDaemon, KillVolume, StopVolume,
	StopBoth, Disk, Disk, Disk, NodeStandby, StopCluster, Move, NewDisk, WipeLog, DamageLog, KillTogether, KillTogether,
}

// quickKinds may strike second: they destroy nothing and need nobody's help to end.
var quickKinds = [...]Kind{Kill, Freeze, Cut, KillDaemon, StopDaemon, KillVolume, StopVolume, KillDatabase}

// pairable tells whether another fault may strike during this one. What takes an operator's commands, or leaves one copy of
// the data, is played alone.
func pairable(k Kind) bool {
	switch k {
	case Kill, Freeze, Cut, StopDaemon, StopVolume, StopBoth, KillTogether:
		return true
	}
	return false
}

type draw struct{ *rand.Rand }

func (d draw) between(least, most time.Duration) time.Duration {
	return (least + time.Duration(d.Int64N(int64(most-least)))).Round(100 * time.Millisecond)
}

func (d draw) of(parts ...Part) Part { return parts[d.IntN(len(parts))] }

func (d draw) fault(kinds []Kind) Fault {
	f := Fault{Kind: kinds[d.IntN(len(kinds))]}
	switch f.Kind {
	case Kill, WipeLog, DamageLog:
		f.Where, f.Hold = d.of(Active, Standby, Witness), d.between(0, 8*time.Second)
	case Freeze, StopDaemon:
		f.Where, f.Hold = d.of(Active, Standby, Witness), d.hold()
	case KillDaemon:
		f.Where = d.of(Active, Standby, Witness)
	case Cut:
		d.cut(&f)
	case KillVolume:
		f.Where = d.of(Active, Standby)
	case StopVolume, StopBoth:
		f.Where, f.Hold = d.of(Active, Standby), d.hold()
	case Disk:
		f.Where, f.Hold = d.of(Active, Standby), d.hold()
		f.Disk = [...]string{"fail", "fail write", "fail flush", "full", "slow 20", "slow 200", "hang"}[d.IntN(7)]
	case NodeStandby:
		f.Where, f.Hold = d.of(Active, Standby), d.between(0, 3*time.Second)
	case StopCluster:
		f.Where, f.Hold = d.of(Active, Standby, Everyone), d.between(0, 3*time.Second)
	case Move, KillDatabase:
		f.Where = Active
	case NewDisk:
		f.Where = Standby
	case KillTogether:
		f.Where, f.To, f.Both, f.Hold = Active, Standby, d.IntN(2) == 0, d.between(0, 4*time.Second)
	}
	return f
}

// hold is shorter or longer than every timeout.
func (d draw) hold() time.Duration {
	if d.IntN(2) == 0 {
		return d.between(300*time.Millisecond, 3*time.Second)
	}
	return d.between(4*time.Second, 14*time.Second)
}

func (d draw) cut(f *Fault) {
	sides := [...][2]Part{{Active, Standby}, {Active, Witness}, {Standby, Witness}, {Active, Everyone}, {Standby, Everyone}, {Witness, Everyone}}
	pair := sides[d.IntN(len(sides))]
	f.Where, f.To = pair[0], pair[1]
	if d.IntN(2) == 0 {
		f.Where, f.To = f.To, f.Where
	}
	f.OneWay, f.Hold = d.IntN(2) == 0, d.hold()
}
