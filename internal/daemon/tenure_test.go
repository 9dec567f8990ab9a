package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
	"holdfast/internal/paths"
)

// seat is node a with volume r, a cluster's log with the real rules, and a volume process that does as it is told.
type seat struct {
	t       *testing.T
	root    paths.Root
	log     *machineLog
	server  *volumeServer
	volumes *volumes
	tenures *tenures
	events  *events
	session uint64
}

const generation = "00000000000000A0"

func newSeat(t *testing.T, node string) *seat {
	t.Helper()
	s := &seat{t: t, root: agenttest.NewRoot(t), log: newMachineLog(t), events: &events{}, session: 1}
	s.server = serveVolume(t, s.root, "r")
	s.volumes = supervise(t, s.root)
	s.volumes.viewOf = func(resource string) (api.VolumeView, bool) {
		rec := s.log.View().Volumes[resource]
		return api.VolumeView{Bound: true, Node: node, Adopted: rec.Adopted, Epoch: rec.Epoch, Version: rec.Version, Primary: rec.Primary, U: rec.U}, true
	}
	s.tenures = newTenures(node, s.log, s.volumes, func() uint64 { return s.session }, s.events.Event, quiet())
	return s
}

// up starts the volume and waits until it has said what its disk is.
func (s *seat) up(st api.VolumeStatus) {
	s.t.Helper()
	if _, err := s.volumes.ensure("r"); err != nil {
		s.t.Fatal(err)
	}
	s.server.say(api.VolumeMessage{Status: &st})
	agenttest.Until(s.t, "the volume's status", func() bool { return s.volumes.status("r") != nil })
}

func (s *seat) adopt() {
	s.t.Helper()
	s.log.must(s.t, &state.VolumeAdopt{Name: "r", U: []api.Replica{
		{Node: "a", DeviceUUID: "DA", Generation: generation}, {Node: "b", DeviceUUID: "DB", Generation: generation},
	}})
}

func (s *seat) record() state.Volume { return s.log.View().Volumes["r"] }

func diskOfA() api.VolumeStatus {
	return api.VolumeStatus{Resource: "r", Role: "Secondary", Disk: "UpToDate", DeviceUUID: "DA", CurrentUUID: generation}
}

func TestPromoteGoesThroughTheLog(t *testing.T) {
	s := newSeat(t, "a")
	s.adopt()
	s.up(diskOfA())
	var seen *api.VolumeView // what the process had been told when it was promoted
	s.server.answer = func(d api.VolumeDo) (api.VolumeReply, bool) {
		views := s.server.told()
		seen = &views[len(views)-1]
		return api.VolumeReply{}, true
	}
	agenttest.Must(t, s.tenures.promote(t.Context(), "r"))
	rec := s.record()
	if rec.Primary != "a" || rec.PrimarySession != 1 || rec.Epoch != 2 {
		t.Fatalf("record: %+v", rec)
	}
	if do := s.server.verbs(); len(do) != 1 || do[0].Verb != api.VolumePrimary || do[0].Epoch != 2 {
		t.Errorf("the process was asked %+v", do)
	}
	if seen.Epoch != 2 || seen.Primary != "a" {
		t.Errorf("promoted with a view of epoch %d, Primary %q", seen.Epoch, seen.Primary)
	}
	agenttest.Must(t, s.tenures.promote(t.Context(), "r")) // it is Primary already: no new epoch
	if rec := s.record(); rec.Epoch != 2 || s.log.count("volume.promote") != 1 {
		t.Errorf("a second promotion began epoch %d", rec.Epoch)
	}
	if !s.events.has("volume.promoted") {
		t.Error("not on the timeline")
	}
}

func TestPromotionIsRefused(t *testing.T) {
	tests := map[string]struct {
		prepare func(*seat)
		want    string
		refusal bool // by the log's rules
	}{
		"not adopted":     {func(s *seat) { s.up(diskOfA()) }, "no record", false},
		"not up":          {func(s *seat) { s.adopt() }, "not up on a", false},
		"another Primary": {func(s *seat) { s.adopt(); s.up(diskOfA()); s.promoteB() }, "has a Primary, b", true},
		"another disk": {func(s *seat) {
			s.adopt()
			st := diskOfA()
			st.DeviceUUID = "DX"
			s.up(st)
		}, "full resync", true},
		"no lease": {func(s *seat) { s.adopt(); s.up(diskOfA()); s.session = 0 }, "no lease", true},
		"lease over": {func(s *seat) {
			s.adopt()
			s.up(diskOfA())
			s.log.must(s.t, &state.LeaseExpire{Node: "a", Session: 1, Term: 1})
		}, "no lease", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSeat(t, "a")
			test.prepare(s)
			before := s.record()
			err := s.tenures.promote(t.Context(), "r")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			var refused *state.Refusal
			if errors.As(err, &refused) != test.refusal {
				t.Errorf("is it a refusal by the log? %v", err)
			}
			if after := s.record(); after.Epoch != before.Epoch || after.Primary != before.Primary {
				t.Errorf("the record has changed: %+v", after)
			}
			if do := s.server.verbs(); len(do) != 0 {
				t.Errorf("the process was asked %+v", do)
			}
		})
	}
}

func (s *seat) promoteB() {
	rec := s.record()
	s.log.must(s.t, &state.VolumePromote{Name: "r", Node: "b", Session: 1, DeviceUUID: "DB", Generation: generation,
		NewGeneration: "00000000000000B0", Epoch: rec.Epoch, Version: rec.Version})
}

// A process that refuses its first promotion has acknowledged nothing: the tenure ends as if it had never begun.
func TestRefusedTenureIsGivenBack(t *testing.T) {
	s := newSeat(t, "a")
	s.server.answer = func(api.VolumeDo) (api.VolumeReply, bool) { return api.VolumeReply{Code: 17, Error: "no disk"}, true }
	s.adopt()
	s.up(diskOfA())
	err := s.tenures.promote(t.Context(), "r")
	var known *api.Error
	if !errors.As(err, &known) || known.Code != 17 {
		t.Fatalf("got %v", err)
	}
	if rec := s.record(); rec.Primary != "" || rec.Unclean || rec.Epoch != 2 || len(rec.U) != 2 {
		t.Errorf("record: %+v", rec)
	}
}

// A process that does not answer may be Primary: only its demotion, or the end of the lease, ends the tenure.
func TestTenureOfUnknownOutcomeGoesOn(t *testing.T) {
	s := newSeat(t, "a")
	asked := make(chan struct{}, 1)
	s.server.answer = func(api.VolumeDo) (api.VolumeReply, bool) { asked <- struct{}{}; return api.VolumeReply{}, false }
	s.adopt()
	s.up(diskOfA())
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := s.tenures.promote(ctx, "r"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if rec := s.record(); rec.Primary != "a" || rec.Epoch != 2 {
		t.Errorf("record: %+v", rec)
	}
}

// In a tenure that goes on, writes have been acknowledged: a process put in place of a dead one that refuses to be Primary does not make it
// a clean end.
func TestRefusalInARunningTenureDoesNotEndIt(t *testing.T) {
	s := newSeat(t, "a")
	refuse := make(chan bool, 2)
	s.server.answer = func(api.VolumeDo) (api.VolumeReply, bool) {
		if <-refuse {
			return api.VolumeReply{Code: 17, Error: "the disk is gone"}, true
		}
		return api.VolumeReply{}, true
	}
	s.adopt()
	s.up(diskOfA())
	refuse <- false
	agenttest.Must(t, s.tenures.promote(t.Context(), "r"))
	refuse <- true
	if err := s.tenures.promote(t.Context(), "r"); err == nil {
		t.Fatal("promoted by a process that refuses")
	}
	if rec := s.record(); rec.Primary != "a" {
		t.Errorf("the log says that a has demoted the volume: %+v", rec)
	}
}

func TestDemoteTellsTheLogAfterTheProcess(t *testing.T) {
	s := newSeat(t, "a")
	refuse := make(chan bool, 1)
	primary := make(chan string, 4) // who the log has as Primary while the process demotes
	s.server.answer = func(d api.VolumeDo) (api.VolumeReply, bool) {
		if d.Verb != api.VolumeSecondary {
			return api.VolumeReply{}, true
		}
		primary <- s.record().Primary
		if <-refuse {
			return api.VolumeReply{Code: 11, Error: "in use"}, true
		}
		return api.VolumeReply{}, true
	}
	s.adopt()
	s.up(diskOfA())
	agenttest.Must(t, s.tenures.promote(t.Context(), "r"))
	refuse <- true
	if err := s.tenures.demote(t.Context(), "r"); err == nil || s.record().Primary != "a" {
		t.Errorf("a demotion that was refused: %v, Primary %q", err, s.record().Primary)
	}
	refuse <- false
	agenttest.Must(t, s.tenures.demote(t.Context(), "r"))
	if rec := s.record(); rec.Primary != "" || rec.Unclean {
		t.Errorf("record: %+v", rec)
	}
	for range 2 {
		if p := <-primary; p != "a" {
			t.Errorf("the log had %q as Primary before the process was asked", p)
		}
	}
	refuse <- false
	agenttest.Must(t, s.tenures.demote(t.Context(), "r")) // nothing to tell the log
	if n := s.log.count("volume.demote"); n != 1 {
		t.Errorf("%d demotions in the log", n)
	}
}

func TestFirstUIsProposed(t *testing.T) {
	whole := diskOfA()
	whole.Bound, whole.Conn, whole.PeerDisk, whole.PeerRole = true, "Connected", "UpToDate", "Secondary"
	whole.PeerDeviceUUID, whole.PeerUUID = "DB", generation
	with := func(f func(*api.VolumeStatus)) api.VolumeStatus { st := whole; f(&st); return st }
	tests := map[string]struct {
		node, peer string
		session    uint64
		status     api.VolumeStatus
		adopted    bool
		primary    string
	}{
		"the lower name, nobody Primary": {"a", "b", 1, whole, true, ""},
		"the higher name":                {"b", "a", 1, whole, false, ""},
		"Primary here": {"b", "a", 1, with(func(s *api.VolumeStatus) {
			s.Role, s.DeviceUUID, s.PeerDeviceUUID = "Primary", "DB", "DA"
		}), true, "b"},
		"Primary there":    {"a", "b", 1, with(func(s *api.VolumeStatus) { s.PeerRole = "Primary" }), false, ""},
		"no lease":         {"a", "b", 0, whole, false, ""},
		"out of sync":      {"a", "b", 1, with(func(s *api.VolumeStatus) { s.Counters.OOS = 4 }), false, ""},
		"not connected":    {"a", "b", 1, with(func(s *api.VolumeStatus) { s.Conn = "WFConnection" }), false, ""},
		"other data":       {"a", "b", 1, with(func(s *api.VolumeStatus) { s.PeerUUID = "00000000000000C0" }), false, ""},
		"foreign peer":     {"a", "b", 1, with(func(s *api.VolumeStatus) { s.PeerDeviceUUID = "" }), false, ""},
		"peer not current": {"a", "b", 1, with(func(s *api.VolumeStatus) { s.PeerDisk = "Inconsistent" }), false, ""},
		"not in a cluster": {"a", "b", 1, with(func(s *api.VolumeStatus) { s.Bound = false }), false, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSeat(t, test.node)
			s.session = test.session
			s.tenures.consider("r", test.peer, &test.status)
			s.settle()
			rec := s.record()
			if rec.Adopted != test.adopted || rec.Primary != test.primary {
				t.Fatalf("record: %+v", rec)
			}
			s.tenures.consider("r", test.peer, &test.status) // the record is there: nothing to propose
			s.settle()
			if n := s.log.count("volume.adopt"); test.adopted && n != 1 {
				t.Errorf("proposed %d times", n)
			}
		})
	}
}

// settle waits for the proposals under way.
func (s *seat) settle() {
	s.t.Helper()
	agenttest.Until(s.t, "the proposals under way", func() bool {
		s.tenures.mu.Lock()
		defer s.tenures.mu.Unlock()
		return len(s.tenures.busy) == 0
	})
}

func TestWantsGoIntoTheLog(t *testing.T) {
	s := newSeat(t, "a")
	s.adopt()
	s.up(diskOfA())
	agenttest.Must(t, s.tenures.promote(t.Context(), "r"))
	want := func(w api.VolumeWant) state.Volume {
		rec := s.record()
		w.Epoch, w.Version = rec.Epoch, rec.Version
		s.tenures.want("r", w)
		s.settle()
		return s.record()
	}
	const next = "00000000000000A2"
	rec := want(api.VolumeWant{Remove: "b", Generation: next})
	if _, in := rec.Replica("b"); in || len(rec.U) != 1 || rec.U[0].Generation != next || rec.U[0].PrevGeneration != generation {
		t.Fatalf("after remove: %+v", rec)
	}
	rec = want(api.VolumeWant{Add: &api.Replica{Node: "b", DeviceUUID: "DB", Generation: next}})
	if len(rec.U) != 1 {
		t.Errorf("taken in before the generation is confirmed: %+v", rec)
	}
	if rec = want(api.VolumeWant{Confirm: next}); rec.U[0].PrevGeneration != "" {
		t.Errorf("after confirm: %+v", rec)
	}
	rec = want(api.VolumeWant{Add: &api.Replica{Node: "b", DeviceUUID: "DB", Generation: next}})
	if _, in := rec.Replica("b"); !in {
		t.Errorf("after add: %+v", rec)
	}
	for _, name := range []string{"volume.removed", "volume.confirmed", "volume.added"} {
		if !s.events.has(name) {
			t.Errorf("%s is not on the timeline", name)
		}
	}
	if after := want(api.VolumeWant{}); after.Version != rec.Version {
		t.Error("an empty want changed something")
	}
}

// A want is repeated until a view shows it; of repetitions that come while the first is on its way, nothing goes out.
func TestOneProposalForAVolumeAtATime(t *testing.T) {
	s := newSeat(t, "a")
	s.adopt()
	s.up(diskOfA())
	agenttest.Must(t, s.tenures.promote(t.Context(), "r"))
	rec := s.record()
	gate := make(chan struct{})
	blocked := &gatedLog{machineLog: s.log, gate: gate}
	s.tenures.log = blocked
	w := api.VolumeWant{Epoch: rec.Epoch, Version: rec.Version, Remove: "b", Generation: "00000000000000A2"}
	for range 5 {
		s.tenures.want("r", w)
	}
	close(gate)
	s.settle()
	if n := s.log.count("volume.remove"); n != 1 {
		t.Errorf("proposed %d times", n)
	}
}

// gatedLog lets proposals through once the gate is open.
type gatedLog struct {
	*machineLog
	gate chan struct{}
}

func (l *gatedLog) Propose(ctx context.Context, c state.Command) (state.Result, error) {
	<-l.gate
	return l.machineLog.Propose(ctx, c)
}
