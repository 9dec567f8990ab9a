package peer

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
)

func TestFirstSync(t *testing.T) {
	p := newSim(t, fresh(0xa1), fresh(0xb1))
	p.connect()
	p.a.expect("Connected Secondary/Secondary Inconsistent/Inconsistent")
	if r := p.a.primary(false, 0); r.Code != 17 || r.Error != "1: State change failed: (-2) Need access to UpToDate data" {
		t.Errorf("promoted an Inconsistent disk: %+v", r)
	}
	if r := p.a.primary(true, 0); r.Code != 0 {
		t.Errorf("--force: %+v", r)
	}
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
	p.b.expect("Connected Secondary/Primary UpToDate/UpToDate")
	if !generation.Same(p.a.sb.UUIDs.Current, p.b.sb.UUIDs.Current) || p.a.sb.UUIDs.Bitmap != 0 {
		t.Errorf("generations after the sync: %v and %v", p.a.sb.UUIDs, p.b.sb.UUIDs)
	}
	if want := metadata.Consistent | metadata.WasUpToDate | metadata.PrimaryInd | metadata.ConnectedInd; p.a.sb.Flags != want {
		t.Errorf("flags %x, want %x", p.a.sb.Flags, want)
	}
	if r := p.b.primary(false, 0); r.Code != 11 {
		t.Errorf("two primaries: %+v", r)
	}
}

func TestRolesAreSwitched(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.unconf = true
	p.a.m.Secondary(p.a.env(), 1)
	p.a.run()
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate") // the peer has not flushed everything
	p.a.unconf = false
	p.a.tick(time.Millisecond)
	p.settle(false)
	if r := p.a.lastReply(); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	p.b.primary(false, 0)
	p.a.expect("Connected Secondary/Primary UpToDate/UpToDate")
	if p.a.sb.Flags&metadata.PrimaryInd != 0 {
		t.Error("a's metadata still says Primary")
	}
}

// Word of one side's demotion is under way when the other is to be promoted, or the Primary is lost: the promotion waits for that,
// and no longer than for a Primary that stays one.
func TestPromotionWaitsForADemotionUnderWay(t *testing.T) {
	for name, happens := range map[string]func(p *simPair){
		"demoted": func(p *simPair) {
			p.a.m.Secondary(p.a.env(), 1)
			p.a.run()
			p.settle(false)
		},
		"lost": func(p *simPair) {
			p.b.m.LinkDown(p.b.env(), "lost", false)
			p.b.run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newSim(t, first(equal()), second(equal()))
			p.connect()
			p.a.primary(false, 0)
			p.b.m.Primary(p.b.env(), 1, false, 0)
			p.b.run()
			p.b.tick(block.PingTimeout - 1)
			if len(p.b.replies) > 0 {
				t.Fatalf("answered before anything is known: %+v", p.b.replies)
			}
			happens(p)
			if r := p.b.lastReply(); r.Code != 0 || !p.b.m.IsPrimary() {
				t.Errorf("%+v", r)
			}
		})
	}
}

func first(a, _ Attach) Attach  { return a }
func second(_, b Attach) Attach { return b }

func TestLosingThePeerAlone(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	old := p.a.sb.UUIDs.Current
	p.b.m.Disconnect(p.b.env(), 1)
	p.b.run()
	p.settle(false)
	p.b.expect("StandAlone Secondary/Unknown UpToDate/DUnknown")
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown")
	if p.a.mode != "gone" || p.a.held {
		t.Errorf("path is %s, held %v", p.a.mode, p.a.held)
	}
	if u := p.a.sb.UUIDs; u.Bitmap != old || generation.Same(u.Current, old) {
		t.Errorf("no new generation: %v", u)
	}
	p.a.bits = 5
	p.b.m.Connect(p.b.env(), false)
	p.link(true)
	p.a.expect("SyncSource Primary/Secondary UpToDate/Inconsistent")
	p.b.expect("SyncTarget Secondary/Primary Inconsistent/UpToDate")
	p.b.cut("cable")
	p.b.expect("WFConnection Secondary/Unknown Inconsistent/DUnknown")
	p.link(false)
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
}

func TestSplitBrainIsNeverMerged(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.cut("cable")
	p.b.primary(false, 0)
	p.a.bits, p.b.bits = 3, 4
	p.link(false)
	p.refused("Split-Brain detected but unresolved, dropping connection!")
	p.b.secondary()
	for _, s := range []*side{p.a, p.b} {
		s.m.Connect(s.env(), false)
	}
	p.link(false)
	p.refused("Split-Brain detected but unresolved, dropping connection!")
	if p.a.bits != 3 || p.b.bits != 4 || p.b.sb.Flags&metadata.Consistent == 0 {
		t.Error("something was changed")
	}
	p.a.m.Connect(p.a.env(), false)
	p.b.m.Connect(p.b.env(), true) // --discard-my-data
	p.link(false)
	p.b.expect("Connected Secondary/Primary UpToDate/UpToDate")
}

func TestUnequalSizesAreRefused(t *testing.T) {
	a, b := equal()
	b.Size = 32 << 20
	p := newSim(t, a, b)
	p.connect()
	p.refused("sectors")
}

// refused checks that one side has refused the connection and says why, and that the other has none either.
func (p *simPair) refused(why string) {
	p.a.t.Helper()
	a, b := p.a.state(), p.b.state()
	for _, x := range []string{a, b} {
		if strings.HasPrefix(x, "StandAlone") && strings.Contains(x, why) && !p.a.linked && !p.b.linked {
			return
		}
	}
	p.a.t.Errorf("not refused because of %q: a is %s, b is %s", why, a, b)
}

// view gives both sides the log's record.
func (p *simPair) view(v api.VolumeView) {
	for _, s := range []*side{p.a, p.b} {
		s.view(v)
	}
}

func (s *side) view(v api.VolumeView) {
	v.Bound, v.Adopted, v.Node = true, true, s.name
	s.m.View(s.env(), v)
	s.run()
}

func replica(node string, device, g, prev uint64) api.Replica {
	r := api.Replica{Node: node, DeviceUUID: Hex(device | 1), Generation: Hex(g)}
	r.DeviceUUID = map[uint64]string{0xa1: "00000000000000A1", 0xb1: "00000000000000B1", 0xc1: "00000000000000C1"}[device]
	if prev != 0 {
		r.PrevGeneration = Hex(prev)
	}
	return r
}

const gen = 0x1111111111111110

// inCluster is a pair with U = {a, b}, a being Primary in epoch 1, connected.
func inCluster(t *testing.T) (*simPair, api.VolumeView) {
	t.Helper()
	p := newSim(t, first(equal()), second(equal()))
	v := api.VolumeView{Epoch: 1, Version: 1, Primary: "a", U: []api.Replica{replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)}}
	p.view(v)
	for _, s := range []*side{p.a, p.b} {
		s.m.Connect(s.env(), false)
	}
	if r := p.a.primary(false, 1); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown frozen")
	p.link(false)
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
	if p.a.mode != "up" || p.a.held || p.a.epoch != 1 || p.a.role != "primary of 1" {
		t.Fatalf("path %s, held %v, epoch %d, role %q", p.a.mode, p.a.held, p.a.epoch, p.a.role)
	}
	return p, v
}

func TestPromotionNeedsTheLog(t *testing.T) {
	g := []api.Replica{replica("a", 0xa1, gen, 0)}
	for _, c := range []struct {
		name  string
		view  api.VolumeView
		epoch uint64
		force bool
		code  int
	}{
		{"as the log has it", api.VolumeView{Epoch: 4, Primary: "a", U: g}, 4, false, 0},
		{"another epoch", api.VolumeView{Epoch: 4, Primary: "a", U: g}, 3, false, 11},
		{"another node", api.VolumeView{Epoch: 4, Primary: "b", U: g}, 4, false, 11},
		{"nobody", api.VolumeView{Epoch: 4, U: g}, 4, true, 11},
		{"not in U", api.VolumeView{Epoch: 4, Primary: "a", U: []api.Replica{replica("b", 0xb1, gen, 0)}}, 4, true, 17},
		{"another disk", api.VolumeView{Epoch: 4, Primary: "a", U: []api.Replica{replica("a", 0xc1, gen, 0)}}, 4, true, 17},
		{"another generation", api.VolumeView{Epoch: 4, Primary: "a", U: []api.Replica{replica("a", 0xa1, 0x2222222222222220, 0)}}, 4, true, 17},
		{"the one before", api.VolumeView{Epoch: 4, Primary: "a", U: []api.Replica{replica("a", 0xa1, 0x2222222222222220, gen)}}, 4, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newSim(t, first(equal()), second(equal()))
			p.a.view(c.view)
			if r := p.a.primary(c.force, c.epoch); r.Code != c.code {
				t.Errorf("%+v", r)
			}
			if (p.a.epoch == c.epoch) != (c.code == 0) {
				t.Errorf("stored epoch %d", p.a.epoch)
			}
		})
	}
}

func TestLostReplicaMustLeaveUFirst(t *testing.T) {
	p, v := inCluster(t)
	p.a.cut("reset")
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown frozen")
	if p.a.mode != "suspended" || !p.a.held || p.a.m.Want() != nil {
		t.Errorf("path %s, held %v, want %+v", p.a.mode, p.a.held, p.a.m.Want())
	}
	p.a.tick(10 * time.Second)
	w := p.a.m.Want()
	if w == nil || w.Remove != "b" || w.Epoch != 1 || w.Version != 1 || w.Generation == "" {
		t.Fatalf("want %+v", w)
	}
	if again := p.a.m.Want(); *again != *w {
		t.Error("the generation changed on repetition")
	}
	if p.a.m.Link().Wanted {
		t.Error("the peer is let in while its removal is under way")
	}
	v.Version, v.U = 2, []api.Replica{replica("a", 0xa1, parse(w.Generation), gen)}
	p.a.view(v)
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown")
	if p.a.mode != "gone" || p.a.held {
		t.Errorf("path %s, held %v", p.a.mode, p.a.held)
	}
	if u := p.a.sb.UUIDs; Hex(u.Current) != w.Generation || !generation.Same(u.Bitmap, gen) {
		t.Errorf("generations %v", u)
	}
	if w := p.a.m.Want(); w == nil || w.Confirm != Hex(p.a.sb.UUIDs.Current) {
		t.Errorf("want %+v, not a confirmation", w)
	}

	v.U = []api.Replica{replica("a", 0xa1, parse(w.Generation), 0)}
	p.view(v)
	p.b.expect("WFConnection Secondary/Unknown Outdated/DUnknown")
	p.a.bits = 9
	p.link(false)
	p.a.expect("Connected Primary/Secondary UpToDate/Outdated") // resynced, not in U yet
	w = p.a.m.Want()
	if w == nil || w.Add == nil || *w.Add != replica("b", 0xb1, p.a.sb.UUIDs.Current, 0) {
		t.Fatalf("want %+v", w)
	}

	// While the outcome is unknown the peer counts as a member.
	p.a.cut("reset")
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown frozen")
	p.a.tick(10 * time.Second)
	if w := p.a.m.Want(); w == nil || w.Add == nil {
		t.Errorf("want %+v: the request without an outcome comes first", w)
	}
	v.Version, v.U = 3, append(v.U, *w.Add)
	p.a.view(v)
	if w := p.a.m.Want(); w == nil || w.Remove != "b" || w.Version != 3 {
		t.Errorf("want %+v", w)
	}
}

func TestShortBreakNeedsNoResync(t *testing.T) {
	p, _ := inCluster(t)
	p.a.unconf = true
	p.a.cut("reset")
	p.link(false)
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
	if p.a.mode != "up" || p.a.held {
		t.Errorf("path %s, held %v", p.a.mode, p.a.held)
	}
	// Another life of the peer's process may have lost what it had not flushed.
	p.a.cut("reset")
	p.a.m.instance = "an earlier life"
	p.link(false)
	if w := p.a.m.Want(); w == nil || w.Remove != "b" {
		t.Errorf("want %+v", w)
	}
}

func TestUncleanPromotion(t *testing.T) {
	p, v := inCluster(t)
	p.a.cut("death")
	v.Epoch, v.Version, v.Primary = 2, 2, "b"
	v.U = []api.Replica{replica("b", 0xb1, 0x2222222222222220, gen)}
	p.b.view(v)
	if r := p.b.primary(false, 2); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	p.b.expect("WFConnection Primary/Unknown UpToDate/DUnknown")
	if u := p.b.sb.UUIDs; !generation.Same(u.Current, 0x2222222222222220) || !generation.Same(u.Bitmap, gen) {
		t.Errorf("generations %v", u)
	}
	// The crashed Primary comes back: a target, though its flag makes it the source by DRBD's rules.
	q := newSim(t, upToDate(generation.Set{Current: gen}, 0xa1, metadata.PrimaryInd), second(equal()))
	q.b = p.b
	q.a.other, q.b.other = q.b, q.a
	q.a.bits = 7
	q.a.view(v)
	q.a.m.Connect(q.a.env(), false)
	q.a.expect("WFConnection Secondary/Unknown Outdated/DUnknown")
	q.link(true)
	q.b.expect("SyncSource Primary/Secondary UpToDate/Inconsistent")
	q.a.expect("SyncTarget Secondary/Primary Inconsistent/UpToDate")
	if q.b.bits != 7 {
		t.Errorf("the source resyncs %d blocks, the crashed Primary's log has 7", q.b.bits)
	}
}

func TestTheLogContradictsTheDisks(t *testing.T) {
	// The log has only b in U, and a has generations that b does not know.
	a := upToDate(generation.Set{Current: 0x3333333333333330, Bitmap: gen}, 0xa1, 0)
	p := newSim(t, a, second(equal()))
	p.view(api.VolumeView{Epoch: 1, Version: 1, U: []api.Replica{replica("b", 0xb1, gen, 0)}})
	for _, s := range []*side{p.a, p.b} {
		s.m.Connect(s.env(), false)
	}
	p.link(false)
	p.refused("not in U")
	if p.a.sb.UUIDs != a.UUIDs {
		t.Errorf("a's generations became %v", p.a.sb.UUIDs)
	}
	p.a.m.Invalidate(p.a.env(), 1)
	p.a.run()
	p.a.tick(2 * time.Second)
	p.b.tick(2 * time.Second)
	p.link(false)
	p.a.expect("Connected Secondary/Secondary Outdated/UpToDate") // resynced in full; only a Primary puts it into U
	if !generation.Same(p.a.sb.UUIDs.Current, gen) {
		t.Errorf("a's generations are %v", p.a.sb.UUIDs)
	}
}

func TestNewEpochEndsATenure(t *testing.T) {
	p, v := inCluster(t)
	v.Epoch, v.Primary = 2, "b"
	p.a.view(v)
	if p.a.broken == "" || p.a.m.IsPrimary() || p.a.sb.Flags&metadata.CrashedPrimary == 0 || p.a.bits != 7 || p.a.role != "secondary" {
		t.Errorf("broken %q, state %s, flags %x, bits %d, role %q", p.a.broken, p.a.state(), p.a.sb.Flags, p.a.bits, p.a.role)
	}
}

func TestLeaseOverFailsThePrimary(t *testing.T) {
	p, _ := inCluster(t)
	p.a.m.LeaseOver(p.a.env())
	p.a.run()
	if p.a.broken == "" || p.a.m.IsPrimary() {
		t.Errorf("broken %q, state %s", p.a.broken, p.a.state())
	}
	p.b.m.LeaseOver(p.b.env())
	p.b.run()
	if p.b.broken != "" {
		t.Error("a Secondary was broken")
	}
}

// A process that is started after the log gave its disk a new generation takes it, and says so to the log.
func TestGenerationIsTakenAtAttach(t *testing.T) {
	const fresh = 0x7777777777777770
	for _, resumed := range []bool{false, true} {
		p := newSim(t, first(equal()), second(equal()))
		m := New(Settings{Node: "a", PeerNode: "b"}, 3)
		p.a.m = m
		p.a.view(api.VolumeView{Epoch: 3, Version: 2, Primary: "a", U: []api.Replica{replica("a", 0xa1, fresh, gen)}})
		at, resume := upToDate(generation.Set{Current: gen}, 0xa1, 0), (*Resume)(nil)
		if resumed {
			at, resume = upToDate(generation.Set{Current: gen | 1}, 0xa1, metadata.PrimaryInd), &Resume{Epoch: 3, Bound: true}
		}
		m.Attached(p.a.env(), at, resume)
		p.a.run()
		if u := p.a.sb.UUIDs; !generation.Same(u.Current, fresh) || !generation.Same(u.Bitmap, gen) || m.IsPrimary() != resumed {
			t.Errorf("resumed %v: stored %v, %s", resumed, u, p.a.state())
		}
		if w := m.Want(); w == nil || w.Confirm != Hex(fresh) {
			t.Errorf("resumed %v: wants %+v", resumed, w)
		}
	}
}

func TestAdoptedWhileAlone(t *testing.T) {
	// The log took the volume in with both replicas, from a look at them just before a lost b and went on alone.
	at := upToDate(generation.Set{Current: 0x4444444444444440, Bitmap: gen}, 0xa1, 0)
	p := newSim(t, at, second(equal()))
	p.a.m.View(p.a.env(), api.VolumeView{Bound: true})
	p.a.primary(false, 0)
	p.a.view(api.VolumeView{Epoch: 1, Version: 1, Primary: "a", U: []api.Replica{replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)}})
	w := p.a.m.Want()
	if w == nil || w.Remove != "b" || w.Generation != Hex(0x4444444444444440) || !p.a.held {
		t.Fatalf("want %+v, held %v", w, p.a.held)
	}
	p.a.view(api.VolumeView{Epoch: 1, Version: 2, Primary: "a", U: []api.Replica{replica("a", 0xa1, 0x4444444444444440, gen)}})
	p.a.expect("StandAlone Primary/Unknown UpToDate/DUnknown")
	if p.a.held {
		t.Error("still held")
	}
}

// nearlyBound is a pair within a cluster that does not know the volume yet; a is Primary.
func nearlyBound(t *testing.T) *simPair {
	t.Helper()
	p := newSim(t, first(equal()), second(equal()))
	for _, s := range []*side{p.a, p.b} {
		s.m.View(s.env(), api.VolumeView{Bound: true})
		s.m.Connect(s.env(), false)
		s.run()
	}
	p.link(false)
	if r := p.a.primary(false, 0); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	return p
}

func TestAdoptionEndsTheConnection(t *testing.T) {
	p := nearlyBound(t)
	p.a.unconf = true
	p.b.cut("b has the new epoch, a not yet")
	if p.a.mode != "suspended" || !p.a.held {
		t.Fatalf("path %s, held %v", p.a.mode, p.a.held)
	}
	p.view(api.VolumeView{Epoch: 1, Version: 1, Primary: "a", U: []api.Replica{replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)}})
	p.link(false)
	p.a.expect("Connected Primary/Secondary UpToDate/UpToDate")
	if p.a.mode != "up" || p.a.held || p.a.m.Want() != nil || !generation.Same(p.a.sb.UUIDs.Current, gen) {
		t.Errorf("path %s, held %v, want %+v, generations %v", p.a.mode, p.a.held, p.a.m.Want(), p.a.sb.UUIDs)
	}
}

func TestLosingThePeerBeforeAdoption(t *testing.T) {
	p := nearlyBound(t)
	p.b.cut("cable")
	p.a.tick(10 * time.Second)
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown frozen")
	if w := p.a.m.Want(); w == nil || !w.Alone || w.Version != 0 || !p.a.m.Resuming() {
		t.Errorf("wants %+v, requests wait %v", w, p.a.m.Resuming())
	}
	p.a.m.View(p.a.env(), api.VolumeView{Bound: true, Version: 1})
	p.a.run()
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown")
	if p.a.m.Want() != nil || p.a.mode != "gone" || p.a.held || !generation.Same(p.a.sb.UUIDs.Bitmap, gen) {
		t.Errorf("path %s, held %v, generations %v", p.a.mode, p.a.held, p.a.sb.UUIDs)
	}

	p = nearlyBound(t)
	p.b.cut("the peer's process ends")
	p.a.m.instance = "the life that ended"
	p.link(true)
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown frozen")
	p.a.m.View(p.a.env(), api.VolumeView{Bound: true, Version: 1})
	p.a.run()
	p.link(true)
	p.a.expect("SyncSource Primary/Secondary UpToDate/Inconsistent")
	if p.a.held {
		t.Error("held")
	}
}
