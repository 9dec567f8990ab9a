package peer

import (
	"encoding/binary"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
)

// fuzzBase are generations that sets of both sides have in common more often than not.
var fuzzBase = [8]uint64{0, generation.JustCreated, 0x1111000000000010, 0x2222000000000020, 0x2223000000000020, 0x3333000000000030,
	0x1112000000000010, 0x4444000000000040}

// fuzzSide reads a side from eight bytes: four generations, flags of the disk, what the operator has typed, bits.
func fuzzSide(p []byte) (a Attach, primary, force, discard, diskless bool, bits uint64) {
	u := func(b byte) uint64 {
		v := fuzzBase[b%8]
		if v > generation.JustCreated {
			v |= uint64(b >> 7)
		}
		return v
	}
	a.UUIDs = generation.Set{Current: u(p[0]), Bitmap: u(p[1]), History: [2]uint64{u(p[2]), u(p[3])}}
	for i, f := range []metadata.Flags{metadata.Consistent, metadata.WasUpToDate, metadata.CrashedPrimary, metadata.PeerOutdated} {
		if p[4]>>i&1 != 0 {
			a.Flags |= f
		}
	}
	a.Device = 0xd0 + uint64(p[5]&7)
	return a, p[6]&1 != 0, p[6]&2 != 0, p[6]&4 != 0, p[6]&8 != 0, uint64(p[7] % 16)
}

// fuzzPair makes both sides of what the bytes say.
func fuzzPair(t *testing.T, p []byte) *simPair {
	one, two := p[:8], p[8:16]
	a, aPrimary, aForce, aDiscard, aDiskless, aBits := fuzzSide(one)
	b, bPrimary, bForce, bDiscard, bDiskless, bBits := fuzzSide(two)
	s := newSim(t, a, b)
	s.a.bits, s.b.bits = aBits, bBits
	policies := binary.LittleEndian.Uint16(p[16:18])
	for _, x := range []*side{s.a, s.b} {
		x.m.View(x.env(), api.VolumeView{})
		x.m.SetPolicies(policies&1 != 0)
	}
	for _, x := range []struct {
		s                       *side
		primary, force, discard bool
		diskless                bool
	}{{s.a, aPrimary, aForce, aDiscard, aDiskless}, {s.b, bPrimary, bForce, bDiscard, bDiskless}} {
		if x.primary {
			x.s.m.Primary(x.s.env(), 1, x.force, 0)
			x.s.run()
		}
		if x.diskless {
			x.s.loseDisk(false)
		}
		x.s.m.Connect(x.s.env(), x.discard)
		x.s.run()
	}
	return s
}

// FuzzHandshake: two sides with any generations and states meet. Nothing panics, both agree on who is the source, none becomes the
// target of a disk that is not good, and no Primary is overwritten.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x03\x01\x00\x00\x02\x00\x00\x00\x03\x02\x00\x00\x00\x00"))
	f.Add([]byte("\x03\x02\x00\x00\x03\x01\x01\x05\x02\x00\x00\x00\x03\x02\x00\x00\x00\x00"))
	f.Add([]byte("\x03\x02\x00\x00\x03\x01\x00\x05\x05\x02\x00\x00\x03\x02\x04\x03\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x02\x00\x00\x00\x03\x02\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < 18 {
			return
		}
		s := fuzzPair(t, p)
		wasPrimary := [2]bool{s.a.m.IsPrimary(), s.b.m.IsPrimary()}
		good := [2]bool{s.a.m.disk > generation.Inconsistent, s.b.m.disk > generation.Inconsistent}
		s.link(true)
		ca, cb := s.a.m.Conn(), s.b.m.Conn()
		for i, c := range [2]wire.Conn{ca, cb} {
			if c == wire.SyncTarget && (wasPrimary[i] || !good[1-i]) {
				t.Errorf("a Primary is overwritten, or the source is no good: %s; %s", s.a.state(), s.b.state())
			}
		}
		pairs := map[[2]wire.Conn]bool{{wire.Connected, wire.Connected}: true, {wire.SyncSource, wire.SyncTarget}: true, {wire.SyncTarget, wire.SyncSource}: true}
		if ca >= wire.Connected || cb >= wire.Connected {
			if !pairs[[2]wire.Conn{ca, cb}] {
				t.Errorf("the sides do not agree: %s; %s\n%v\n%v", s.a.state(), s.b.state(), s.a.log, s.b.log)
			}
		}
	})
}
