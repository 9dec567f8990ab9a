package sim

import (
	"fmt"
	"testing"
	"time"

	"holdfast/internal/api"
)

// enlarge makes both disks larger, with something on what is new.
func (s *story) enlarge(bytes int64) {
	for _, h := range s.data {
		h.disk.enlarge(bytes)
	}
}

// resize has an operator type `drbdadm resize` on a host.
func (s *story) resize(h *host) {
	if h.daemon != nil && h.daemon.control == h.volume && h.volume != nil {
		h.daemon.verb(api.VolumeDo{Verb: api.VolumeResize}, func(r api.VolumeReply) {
			s.note(h, "resize", "code", r.Code, "error", r.Error)
		})
	}
}

// largerPrimary tells whether a Primary's device is larger than that of the other member of U.
func (s *story) largerPrimary() bool {
	p := s.host(s.truth.volume.Primary)
	if p == nil || len(s.truth.volume.U) < 2 {
		return false
	}
	o := s.data[1-p.index]
	return p.volume != nil && o.volume != nil && o.volume.s.Attached() && p.volume.s.Attached() && p.volume.s.Size() > o.volume.s.Size()
}

// S2: both replicas grow while clients write and something fails in the midst of it; the Primary's device is never the larger one
// of two in U, and what is written beyond the old end is on every disk of U as any other write is.
func TestResizeInTheMidstOfFaults(t *testing.T) {
	faults := map[string]func(s *story, primary, other *host) (mend func()){
		"nothing": func(*story, *host, *host) func() { return func() {} },
		"the Primary's process is killed": func(s *story, p, _ *host) func() {
			p.killVolume()
			p.volumeGone()
			return func() {}
		},
		"the peer's process is killed": func(s *story, _, o *host) func() {
			o.killVolume()
			o.volumeGone()
			return func() {}
		},
		"the Primary's host loses power": func(s *story, p, _ *host) func() { p.powerOff(); return p.boot },
		"the peer's host loses power":    func(s *story, _, o *host) func() { o.powerOff(); return o.boot },
		"the link is cut": func(s *story, p, o *host) func() {
			s.Cut(p, o)
			return func() { s.Mend(p, o) }
		},
	}
	for name, fault := range faults {
		for n := range 8 {
			t.Run(fmt.Sprintf("%s after %d", name, n), func(t *testing.T) {
				s := newStory(t, Options{})
				s.acks(10)
				primary, other := s.sides()
				size := primary.volume.s.Size()
				s.enlarge(1 << 20)
				at := primary
				if n%2 == 1 {
					at = other
				}
				s.resize(at)
				s.run(time.Duration(n*n) * 300 * time.Microsecond)
				mend := fault(s, primary, other)
				s.run(500 * time.Millisecond)
				mend()
				s.until("a whole cluster", s.healthy)
				tried := s.now
				s.until("the new size on both", func() bool {
					if s.largerPrimary() {
						s.fail("S2", "the Primary's device is larger than its peer's: %s", s.describe())
					}
					if s.data[0].volume.s.Size() > size && s.data[0].volume.s.Size() == s.data[1].volume.s.Size() {
						return true
					}
					if s.now.sub(tried) > time.Second && s.healthy() {
						tried = s.now
						s.resize(s.host(s.truth.volume.Primary))
					}
					return false
				})
				s.model.extend(int(s.data[0].volume.s.Size()/pageSize) - 1)
				s.acks(60)
				s.end()
			})
		}
	}
}
