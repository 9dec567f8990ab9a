package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"time"

	"holdfast/internal/lab/rows"
)

// Event is a line of a host's timeline (events.jsonl): what happened, when by the wall clock, and the fields this package
// reads.
type Event struct {
	Name     string `json:"event"`
	Node     string `json:"node"`
	At       int64  `json:"at"` // nanoseconds
	Peer     string `json:"peer"`
	Volume   string `json:"volume"`
	Resource string `json:"resource"`
	Action   string `json:"action"`
	Code     int    `json:"rc"`
	Rule     string `json:"rule"`
}

// ReadEvents decodes a timeline. Its last line may be torn by a power cut; any other bad line is an error.
func ReadEvents(r io.Reader) ([]Event, error) {
	var events []Event
	var bad error
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		if len(scan.Bytes()) == 0 {
			continue
		}
		if bad != nil && len(events) == 0 {
			return nil, bad
		}
		var e Event
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			// A line torn by a power cut may be followed by those of the next boot.
			bad = fmt.Errorf("timeline: %w", err)
			continue
		}
		events = append(events, e)
	}
	return events, scan.Err()
}

// The phases of an outage, in order. Each ends with the event named in phaseEnds; the balancer's phase ends with the
// first acknowledgement.
const (
	Detect   = "detect"
	Fence    = "fence"
	Promote  = "promote"
	Mount    = "mount"
	Database = "database"
	Balancer = "balancer"
)

// phaseNames in order.
var phaseNames = [...]string{Detect, Fence, Promote, Mount, Database, Balancer}

// phaseEnds tells whether an event ends a phase.
func phaseEnds(phase string, e Event) bool {
	switch phase {
	case Detect:
		return e.Name == "node.suspect" || e.Name == "volume.peer-lost"
	case Fence:
		return e.Name == "lease.expired" || e.Name == "volume.removed"
	case Promote:
		return e.Name == "volume.promoted"
	case Mount:
		return e.Name == "op.end" && e.Action == "start" && e.Resource == "drbd_fs" && e.Code == 0
	case Database:
		return e.Name == "balancer.open"
	default:
		return false
	}
}

// Phases cuts an outage into its phases by the hosts' own events. A phase ends at the first event of its kind after the
// one before it ended; a phase without an event within the gap is empty. The last phase takes what is left, so that the
// phases always add up to the gap.
func Phases(gap rows.Gap, events []Event) map[string]float64 {
	sort.SliceStable(events, func(i, j int) bool { return events[i].At < events[j].At })
	phases := map[string]float64{}
	begun := gap.From.UnixNano()
	for _, phase := range phaseNames[:len(phaseNames)-1] {
		ended := begun
		for _, e := range events {
			if e.At >= begun && e.At <= gap.To.UnixNano() && phaseEnds(phase, e) {
				ended = e.At
				break
			}
		}
		phases[phase] = seconds(ended - begun)
		begun = ended
	}
	phases[Balancer] = seconds(gap.To.UnixNano() - begun)
	return phases
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }
