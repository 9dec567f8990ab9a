package peer

import (
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/metadata"
)

func (s *side) outdate() api.VolumeReply {
	s.m.Outdate(s.env(), 7)
	s.run()
	return s.lastReply()
}

// TestOutdate: a Secondary without its peer can be told that its data is old; afterwards it is not promoted, and the resync
// makes it UpToDate again.
func TestOutdate(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	if r := p.b.outdate(); r.Code != 11 || r.Error != "1: State change failed: (-6) Refusing to be Outdated while Connected" {
		t.Errorf("while connected: %+v", r)
	}
	p.a.primary(false, 0)
	p.a.cut("cable")
	p.b.cut("cable")
	if r := p.a.outdate(); r.Code != 17 {
		t.Errorf("a Primary: %+v", r)
	}
	if r := p.b.outdate(); r.Code != 0 || p.b.sb.Flags&metadata.WasUpToDate != 0 || p.b.sb.Flags&metadata.Consistent == 0 {
		t.Errorf("%+v, flags %x", r, p.b.sb.Flags)
	}
	p.b.expect("WFConnection Secondary/Unknown Outdated/DUnknown")
	if r := p.b.primary(false, 0); r.Code != 17 {
		t.Errorf("an Outdated disk was promoted: %+v", r)
	}
	p.a.bits = 3
	p.link(false)
	p.b.expect("Connected Secondary/Primary UpToDate/UpToDate")

	q := newSim(t, fresh(0xa1), fresh(0xb1))
	if r := q.a.outdate(); r.Code != 11 {
		t.Errorf("an Inconsistent disk: %+v", r)
	}
}
