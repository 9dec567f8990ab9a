package peer

import (
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// TestWhatAPeerMayAsk is a table of P_STATE_CHG_REQ for the connection's state.
func TestWhatAPeerMayAsk(t *testing.T) {
	for _, c := range []struct {
		name    string
		asked   wire.Conn
		prepare func(p *simPair)
		want    wire.StateReturn
		then    wire.Conn
	}{
		{"verify", wire.VerifyS, nil, wire.Success, wire.VerifyT},
		{"verify without an algorithm", wire.VerifyS, func(p *simPair) { p.a.m.SetVerifyAlg("") }, wire.NoVerifyAlgorithm, wire.Connected},
		{"its disk is given up", wire.StartingSyncT, nil, wire.Success, wire.SyncSource},
		{"ours is given up", wire.StartingSyncS, nil, wire.Success, wire.WFSyncUUID},
		{"a Primary's is not", wire.StartingSyncS, func(p *simPair) { p.a.primary(false, 0) }, wire.NoUpToDateDisk, wire.Connected},
		{"nonsense", wire.BrokenPipe, nil, wire.NotSupported, wire.Connected},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newSim(t, first(equal()), second(equal()))
			p.connect()
			p.a.m.SetVerifyAlg("sha1")
			if c.prepare != nil {
				c.prepare(p)
			}
			p.a.m.PeerChange(p.a.env(), wire.StateChange{Mask: wire.MaskConn, Value: wire.States{Conn: c.asked}.Word()})
			var got wire.StateReturn
			for _, e := range p.a.m.Effects() {
				if e.Do == SendReply {
					got = e.Return
				}
			}
			if got != c.want || p.a.m.Conn() != c.then {
				t.Errorf("answered %d, state %s; want %d, %s", got, p.a.m.Conn(), c.want, c.then)
			}
		})
	}
}

// TestALogDecidesWhoResyncs: a volume in the log grants no full resync to a peer.
func TestALogDecidesWhoResyncs(t *testing.T) {
	p, _ := inCluster(t)
	for _, asked := range []wire.Conn{wire.StartingSyncS, wire.StartingSyncT} {
		p.b.m.PeerChange(p.b.env(), wire.StateChange{Mask: wire.MaskConn, Value: wire.States{Conn: asked}.Word()})
		for _, e := range p.b.m.Effects() {
			if e.Do == SendReply && e.Return >= wire.Success {
				t.Errorf("%s was granted", asked)
			}
		}
	}
	p.a.m.InvalidateRemote(p.a.env(), 7)
	p.a.run()
	if r := p.a.lastReply(); r.Code == 0 {
		t.Error("the other disk was given up")
	}
}

// TestEndOfResyncBringsThePathUp: the peer may say nothing after the resync that made this disk UpToDate, and still has to get
// the writes of a Primary here.
func TestEndOfResyncBringsThePathUp(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.cut("cable")
	p.a.bits = 3
	p.b.mode = "gone"
	p.link(false)
	if p.b.mode != "up" {
		t.Errorf("the write path is %q after the resync", p.b.mode)
	}
}

func TestSyncNameOvertakesTheConsent(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.b.m.Invalidate(p.b.env(), 1)
	p.b.m.Effects() // the request is on its way
	p.b.m.PeerSyncUUID(p.b.env(), 0x7777777777777776)
	p.b.run()
	p.b.expect("SyncTarget Secondary/Secondary Inconsistent/UpToDate")
	if r := p.b.lastReply(); r.Code != 0 {
		t.Errorf("%+v", r)
	}
}

// The better of two connected disks is not given up.
func TestInvalidateOfTheSourceIsRefused(t *testing.T) {
	p := newSim(t, first(equal()), Attach{UUIDs: generation.Set{Current: generation.JustCreated}, Device: 0xb1})
	for _, s := range []*side{p.a, p.b} {
		s.m.View(s.env(), api.VolumeView{})
		s.m.Connect(s.env(), false)
	}
	p.link(true)
	p.a.expect("SyncSource Secondary/Secondary UpToDate/Inconsistent")
	p.a.m.Invalidate(p.a.env(), 1)
	p.a.run()
	if r := p.a.lastReply(); r.Code != codeNoUpToDate {
		t.Errorf("%+v", r)
	}
	p.a.expect("SyncSource Secondary/Secondary UpToDate/Inconsistent")
}

// TestSkippedInitialSync: new-current-uuid --clear-bitmap on a peer, both disks being blank.
func TestSkippedInitialSync(t *testing.T) {
	blank := func(device uint64) Attach {
		return Attach{UUIDs: generation.Set{Current: generation.JustCreated}, Device: device}
	}
	p := newSim(t, blank(0xa1), blank(0xb1))
	p.a.bits, p.b.bits = 1000, 1000
	p.connect()
	p.a.expect("Connected Secondary/Secondary Inconsistent/Inconsistent")
	p.a.m.PeerUUIDs(p.a.env(), wire.UUIDSet{Set: generation.Set{Current: gen}, Flags: wire.UUIDSkipInitial})
	p.a.run()
	p.a.expect("Connected Secondary/Secondary UpToDate/UpToDate")
	if p.a.bits != 0 || !generation.Same(p.a.sb.UUIDs.Current, gen) || p.a.sb.UUIDs.Bitmap != 0 {
		t.Errorf("%d bits, generations %v", p.a.bits, p.a.sb.UUIDs)
	}
}

// TestPrimaryWithoutADisk: it writes to the other disk alone, which is the source when it has a disk again.
func TestPrimaryWithoutADisk(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	state := func(disk generation.DiskState) {
		p.b.m.PeerState(p.b.env(), wire.States{Role: wire.Primary, Peer: wire.Secondary, Conn: wire.Connected, Disk: disk, PeerDisk: generation.UpToDate})
		p.b.run()
	}
	state(generation.Diskless)
	p.b.expect("Connected Secondary/Primary UpToDate/Diskless")
	if p.b.bits != 1000 || !generation.Same(p.b.sb.UUIDs.Bitmap, gen) || generation.Same(p.b.sb.UUIDs.Current, gen) {
		t.Errorf("%d bits, generations %v", p.b.bits, p.b.sb.UUIDs)
	}
	state(generation.Diskless) // once is enough
	if p.b.sb.UUIDs.History[0] == gen {
		t.Error("another generation")
	}
	p.b.m.PeerUUIDs(p.b.env(), wire.UUIDSet{Set: generation.Set{Current: gen | 1}, Flags: wire.UUIDCrashedPrimary})
	state(generation.Negotiating)
	if p.b.m.Conn() != wire.WFBitMapS || p.b.m.Link().Wanted == false {
		t.Errorf("the side with the data is %s", p.b.state())
	}
}
