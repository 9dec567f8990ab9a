package volume

import (
	"testing"

	"holdfast/internal/api"
)

// TestResyncRate: an operator's bound is shown as what a target wants, and taking it away lets the resync run.
func TestResyncRate(t *testing.T) {
	p := newPair(t, "")
	p.up()
	p.a.untilState("Connected", "Inconsistent", "Inconsistent")
	p.b.ok(api.VolumeDo{Verb: api.VolumeRate, RateKiB: 100})
	p.a.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	p.b.until("a bound resync", func(s *api.VolumeStatus) bool {
		return s.Conn == "SyncTarget" && s.Resync != nil && s.Resync.WantKiB == 100
	})
	p.b.ok(api.VolumeDo{Verb: api.VolumeRate})
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}
