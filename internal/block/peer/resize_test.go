package peer

import (
	"errors"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
)

const mib = 1 << 20

func (s *side) resize(r ResizeRequest) {
	if r.Room == 0 {
		r.Room = s.room()
	}
	s.m.Resize(s.env(), 1, r)
	s.run()
}

// grew checks that both sides have a size.
func (p *simPair) grew(t *testing.T, size int64) {
	t.Helper()
	for _, s := range []*side{p.a, p.b} {
		if s.m.size != size {
			t.Errorf("%s has %d bytes, want %d", s.name, s.m.size, size)
		}
	}
}

// TestGrow: whichever side the operator is at, both grow, the Primary last, and what is new is resynced from it.
func TestGrow(t *testing.T) {
	for _, at := range []string{"a", "b"} {
		for _, clean := range []bool{false, true} {
			p := newSim(t, first(equal()), second(equal()))
			p.connect()
			p.a.primary(false, 0)
			p.a.roomFor, p.b.roomFor = 96*mib, 80*mib
			s := p.a
			if at == "b" {
				s = p.b
			}
			s.resize(ResizeRequest{AssumeSync: clean})
			if len(p.a.grown) != 0 {
				t.Error("the Primary has grown before its peer")
			}
			p.settle(true)
			p.grew(t, 80*mib)
			if r := s.lastReply(); r.Code != 0 {
				t.Errorf("at %s: %+v", at, r)
			}
			if clean {
				p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
				continue
			}
			p.a.expect("SyncSource Primary/Secondary UpToDate/Inconsistent")
			p.b.expect("SyncTarget Secondary/Primary Inconsistent/UpToDate")
			p.a.cut("cable")
			p.link(false)
			p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
		}
	}
}

// TestResizeOfOneDiskOnly changes nothing, and is no error, as with DRBD.
func TestResizeOfOneDiskOnly(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	for _, s := range []*side{p.a, p.b} {
		s.roomFor = 96 * mib
		s.resize(ResizeRequest{})
		p.settle(false)
		p.grew(t, 64*mib)
		if r := s.lastReply(); r.Code != 0 {
			t.Errorf("%+v", r)
		}
		s.roomFor = 0
	}
	p.a.resize(ResizeRequest{Room: 96 * mib, User: 72 * mib})
	p.settle(false)
	if r := p.a.lastReply(); r.Code != codeFailed || !strings.Contains(r.Error, "(111) Low.dev. smaller than requested") {
		t.Errorf("%+v", r)
	}
	p.grew(t, 64*mib)
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
}

func TestShrinkIsExplicit(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.resize(ResizeRequest{Room: 60 * mib})
	if r := p.a.lastReply(); r.Code != codeFailed || !strings.Contains(r.Error, "(170) Implicit device shrinking not allowed") {
		t.Errorf("%+v", r)
	}
	p.a.resize(ResizeRequest{User: 32 * mib})
	p.settle(false)
	if r := p.a.lastReply(); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	p.grew(t, 32*mib)
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
}

func TestResizeRefusals(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	want := func(s *side, r ResizeRequest, code int, words string) {
		t.Helper()
		s.resize(r)
		if got := s.lastReply(); got.Code != code || !strings.Contains(got.Error, words) {
			t.Errorf("%+v, want %d %s", got, code, words)
		}
	}
	p.connect()
	want(p.a, ResizeRequest{}, codeFailed, "(131) Need one Primary node to resize.")
	p.a.primary(false, 0)
	p.a.cut("cable")
	want(p.a, ResizeRequest{Room: 96 * mib}, codeRefused, "(-15) Need a connection")
	want(p.a, ResizeRequest{Room: 96 * mib, AssumePeer: true}, 0, "")
	if p.a.m.size != 96*mib || p.a.grown[0].Word != GrowFresh {
		t.Errorf("%d bytes, %+v", p.a.m.size, p.a.grown)
	}
	p.b.roomFor = 96 * mib
	p.link(true)
	p.grew(t, 96*mib)
	p.a.expect("SyncSource Primary/Secondary UpToDate/Inconsistent")
	want(p.a, ResizeRequest{}, codeFailed, "(130) Resize not allowed during resync.")
	p.b.loseDisk(true)
	want(p.b, ResizeRequest{}, codeFailed, "(138) Device does not have a disk-config")
}

// TestPeerCannotGrow: an error on its side leaves both as they are.
func TestPeerCannotGrow(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.roomFor, p.b.roomFor, p.b.growErr = 96*mib, 96*mib, errors.New("torn")
	p.a.resize(ResizeRequest{})
	p.settle(false)
	p.grew(t, 64*mib)
	if r := p.a.lastReply(); r.Code != codeFailed || !strings.Contains(r.Error, "has kept its") {
		t.Errorf("%+v", r)
	}
}

// TestResizeIsCut: wherever the connection ends, the Primary is never larger than its peer, and a second try completes it.
func TestResizeIsCut(t *testing.T) {
	for n := 0; ; n++ {
		p := newSim(t, first(equal()), second(equal()))
		p.connect()
		p.a.primary(false, 0)
		p.a.roomFor, p.b.roomFor = 96*mib, 96*mib
		p.a.resize(ResizeRequest{})
		more := p.settleUpTo(n, false)
		if p.a.m.size > p.b.m.size {
			t.Fatalf("after %d packets the Primary has %d bytes, its peer %d", n, p.a.m.size, p.b.m.size)
		}
		p.a.cut("cable")
		p.link(false)
		p.a.roomFor, p.b.roomFor = 96*mib, 96*mib
		p.a.resize(ResizeRequest{})
		p.settle(false)
		p.grew(t, 96*mib)
		p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
		p.b.expect("Connected Secondary/Primary UpToDate/UpToDate")
		if p.a.bits+p.b.bits != 0 {
			t.Errorf("after %d packets: %d and %d blocks out of sync at the end", n, p.a.bits, p.b.bits)
		}
		if !more {
			return
		}
	}
}

// TestGrowInACluster: both disks stay in U, what is new is zeroed, and only a connected pair grows.
func TestGrowInACluster(t *testing.T) {
	p, _ := inCluster(t)
	size := p.a.m.size + 32*mib
	p.a.roomFor, p.b.roomFor = size, size
	p.a.resize(ResizeRequest{})
	p.settle(false)
	p.grew(t, size)
	for _, s := range []*side{p.a, p.b} {
		if len(s.grown) != 1 || s.grown[0].Word != GrowZeroed || s.m.Disk() != generation.UpToDate {
			t.Errorf("%s: %+v, %v", s.name, s.grown, s.m.Disk())
		}
	}
	p.a.cut("cable")
	p.a.resize(ResizeRequest{Room: size + 32*mib, AssumePeer: true})
	if r := p.a.lastReply(); r.Code == 0 || p.a.m.size != size {
		t.Errorf("without the peer: %+v", r)
	}
}

// TestReplicaOutsideUTakesTheSize: after a resize that was cut off, the one that is resynced has the device of the one in U.
func TestReplicaOutsideUTakesTheSize(t *testing.T) {
	p, v := inCluster(t)
	was, size := p.a.m.size, p.a.m.size+32*mib
	p.a.roomFor, p.b.roomFor = size, size
	p.a.resize(ResizeRequest{})
	p.settleUpTo(1, false)
	p.a.cut("cable")
	if p.a.m.size != was || p.b.m.size != size {
		t.Fatalf("%d and %d bytes", p.a.m.size, p.b.m.size)
	}
	v.U, v.Version = []api.Replica{replica("a", 0xa1, gen+2, gen)}, 2
	p.view(v)
	p.a.bits = 3
	p.link(false)
	p.grew(t, was)
	p.a.expect("Connected Primary/Secondary UpToDate/Outdated")
}
