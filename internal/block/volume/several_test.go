package volume

import (
	"bytes"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

func TestSeveralReplicate(t *testing.T) {
	p := newSeveral(t, "")
	p.severalSynced()
	for i := range int64(20) {
		p.a.writeTo(0, i*8192, fill(byte(i+1), 4096))
		p.a.writeTo(1, i*4096, fill(byte(i+101), 4096))
		p.a.flushOf(int(i % 2))
	}
	for _, number := range both {
		if got := p.a.readOf(number, 0, 4096); got[0] != byte(1+100*number) {
			t.Errorf("volume %d begins with %d", number, got[0])
		}
	}
	p.identicalAll()
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	if got := p.b.readOf(1, 4096, 4096); !bytes.Equal(got, fill(102, 4096)) {
		t.Errorf("volume 1 on b begins with %d", got[0])
	}
	p.b.writeTo(1, 4096, fill(7, 4096))
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.identicalAll()
	for _, n := range []*node{p.a, p.b} {
		n.ok(api.VolumeDo{Verb: api.VolumeDown})
		must(t, <-n.ended)
		n.cancel = nil
	}
}

// TestSeveralResyncOfOne: what one volume lacks is resynced, and the other is in sync and written to all the while.
func TestSeveralResyncOfOne(t *testing.T) {
	p := newSeveral(t, "")
	p.severalSynced()
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	for _, number := range both {
		p.b.untilVolume(number, "StandAlone", func(s *api.VolumeStatus) bool { return s.Conn == "StandAlone" })
		p.a.untilVolume(number, "no connection", func(s *api.VolumeStatus) bool { return s.Conn == "WFConnection" })
	}
	for i := range int64(64) {
		p.a.writeTo(1, i*65536, fill(9, 4096))
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumePauseSync, Volume: one(1)})
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilStateOf(0, "Connected", "UpToDate", "UpToDate")
	p.a.untilStateOf(1, "PausedSyncS", "UpToDate", "Inconsistent")
	p.a.writeTo(0, 0, fill(3, 4096))
	p.a.flushOf(0)
	p.a.writeTo(1, 4096, fill(4, 4096))
	p.a.flushOf(1)
	if st := p.a.untilVolume(0, "a status", func(*api.VolumeStatus) bool { return true }); st.Resync != nil || st.Counters.OOS != 0 {
		t.Errorf("the volume in sync shows a resync: %+v", st)
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeResumeSync, Volume: one(1)})
	p.settled()
	p.identicalAll()
}

// TestSeveralDiskOfOneFails: the Primary goes on with the peer's disk for that volume; on the Secondary it is out alone.
func TestSeveralDiskOfOneFails(t *testing.T) {
	p := newSeveral(t, "disk { on-io-error detach; }")
	p.severalSynced()
	p.a.writeTo(1, 0, fill(5, 4096))
	p.a.flushOf(1)
	p.a.second.mu.Lock()
	p.a.second.bad = []span{{0, secondSize}}
	p.a.second.mu.Unlock()
	p.a.writeTo(1, 8192, fill(6, 4096)) // its own disk refuses, and the peer's has it
	p.a.untilVolume(1, "no disk", func(s *api.VolumeStatus) bool { return s.Disk == "Diskless" && s.PeerDisk == "UpToDate" })
	p.a.untilStateOf(0, "Connected", "UpToDate", "UpToDate")
	if got := p.a.readOf(1, 0, 4096); !bytes.Equal(got, fill(5, 4096)) {
		t.Errorf("read through the peer: %d", got[0])
	}
	p.a.writeTo(0, 0, fill(1, 4096))
	p.a.flushOf(0)
	p.a.flushOf(1)
	if got := p.b.second.content(8192 + 4096); got[8192] != 6 {
		t.Errorf("the peer has %d", got[8192])
	}
	p.a.second.heal()
	p.a.ok(api.VolumeDo{Verb: api.VolumeAttach, Volume: one(1)})
	p.settled()
	p.identicalAll()
}

func TestSeveralDiskOfOneFailsOnTheSecondary(t *testing.T) {
	p := newSeveral(t, "")
	p.severalSynced()
	p.b.second.mu.Lock()
	p.b.second.bad = []span{{0, secondSize}}
	p.b.second.mu.Unlock()
	p.a.writeTo(1, 8192, fill(6, 4096))
	p.a.untilStateOf(1, "Connected", "UpToDate", "Diskless")
	p.a.untilStateOf(0, "Connected", "UpToDate", "UpToDate")
	for _, number := range both {
		p.a.writeTo(number, 0, fill(2, 4096))
		p.a.flushOf(number)
	}
	p.b.second.heal()
	p.b.ok(api.VolumeDo{Verb: api.VolumeAttach, Volume: one(1)})
	p.settled()
	p.identicalAll()
}

// TestSeveralPromotion: all volumes or none.
func TestSeveralPromotion(t *testing.T) {
	p := newSeveral(t, "")
	p.severalSynced()
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	for _, number := range both {
		p.b.untilVolume(number, "a Secondary peer", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	}
	p.b.kill()
	p.a.untilStateOf(1, "WFConnection", "UpToDate", "DUnknown")
	p.a.ok(api.VolumeDo{Verb: api.VolumeDetach, Volume: one(1)})
	if r := p.a.do(api.VolumeDo{Verb: api.VolumePrimary}); r.Code != 17 || !strings.HasPrefix(r.Error, "2: ") {
		t.Fatalf("promoted without the disk of volume 1: %+v", r)
	}
	if st := p.a.untilVolume(0, "a status", func(*api.VolumeStatus) bool { return true }); st.Role != "Secondary" {
		t.Errorf("volume 0 is %s", st.Role)
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeAttach, Volume: one(1)})
	p.a.ok(api.VolumeDo{Verb: api.VolumePrimary})
	for _, number := range both {
		p.a.untilVolume(number, "Primary", func(s *api.VolumeStatus) bool { return s.Role == "Primary" })
	}
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true}); r.Code == 0 {
		t.Error("a Primary's data was given up")
	}
}

// TestSeveralPromotionRefusedByThePeer: the peer is Primary of one volume, so that none is taken.
func TestSeveralPromotionRefusedByThePeer(t *testing.T) {
	p := newSeveral(t, "")
	p.severalSynced()
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary, Volume: one(0)})
	p.b.untilVolume(0, "a Secondary peer", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	if r := p.b.do(api.VolumeDo{Verb: api.VolumePrimary}); r.Code == 0 {
		t.Fatal("promoted while the peer is Primary of volume 1")
	}
	p.b.untilVolume(0, "Secondary again", func(s *api.VolumeStatus) bool { return s.Role == "Secondary" })
	p.a.ok(api.VolumeDo{Verb: api.VolumePrimary})
	p.a.writeTo(0, 0, fill(4, 4096))
	p.settled()
	p.identicalAll()
}

// TestSeveralSplitBrainOfOne: the connection is refused for both, and settled for both by giving one side up.
func TestSeveralSplitBrainOfOne(t *testing.T) {
	p := newSeveral(t, "")
	p.severalSynced()
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.writeTo(1, 0, fill(1, 4096))
	p.a.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary, Volume: one(1)})
	must(t, p.b.wait(p.b.submitTo(1, kernel.Write, 4096, fill(2, 4096), 4096)))
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	for _, n := range []*node{p.a, p.b} {
		n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	}
	for _, n := range []*node{p.a, p.b} {
		for _, number := range both {
			n.untilVolume(number, "a refusal", func(s *api.VolumeStatus) bool { return s.Conn == "StandAlone" && s.Reason != "" })
		}
	}
	if r := p.b.do(api.VolumeDo{Verb: api.VolumeHeal, File: "/nowhere"}); r.Code == 0 || !strings.Contains(r.Error, "--discard-my-data") {
		t.Errorf("heal of several volumes: %+v", r)
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true})
	p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.settled()
	p.identicalAll()
	if got := p.b.second.content(8192); got[0] != 1 || got[4096] != 0 {
		t.Errorf("b has %d and %d, want a's blocks", got[0], got[4096])
	}
}

// TestSeveralCrashAndRestart: a Primary whose process dies is Primary again, of both; one whose host loses its power is resynced.
func TestSeveralCrashAndRestart(t *testing.T) {
	p := newSeveral(t, "")
	p.severalSynced()
	for _, number := range both {
		p.a.writeTo(number, 0, fill(1, 4096))
		p.a.flushOf(number)
	}
	p.a.restart(false)
	p.a.view(api.VolumeView{})
	p.a.ok(api.VolumeDo{Verb: api.VolumeUp})
	for _, number := range both {
		p.a.untilVolume(number, "Primary again", func(s *api.VolumeStatus) bool { return s.Role == "Primary" && !s.Resuming })
	}
	p.settled()
	for _, number := range both {
		p.a.writeTo(number, 65536, fill(2, 4096)) // not flushed
	}
	p.a.restart(true)
	p.a.view(api.VolumeView{})
	p.a.ok(api.VolumeDo{Verb: api.VolumeUp})
	p.settled()
	p.identicalAll()
	for _, number := range both {
		if got := p.a.diskOf(number).content(4096); got[0] != 1 {
			t.Errorf("volume %d lost a flushed block", number)
		}
	}
}

// TestSeveralVerbs: a volume's own commands leave the other alone, and one that is not there is said so.
func TestSeveralVerbs(t *testing.T) {
	p := newSeveral(t, "net { verify-alg crc32c; }")
	p.severalSynced()
	p.b.second.mu.Lock()
	copy(p.b.second.now[8192:], fill(0xee, 4096))
	p.b.second.mu.Unlock()
	p.a.ok(api.VolumeDo{Verb: api.VolumeVerify})
	p.a.untilVolume(1, "a block found", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.Counters.OOS > 0 })
	p.a.untilVolume(0, "nothing found", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.Counters.OOS == 0 })
	p.b.ok(api.VolumeDo{Verb: api.VolumeInvalidate, Volume: one(1)})
	p.settled()
	p.identicalAll()
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeInvalidateRemote, Volume: one(2)}); r.Code == 0 || !strings.Contains(r.Error, "no volume 2") {
		t.Errorf("a volume that is not there: %+v", r)
	}
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeShow}); !strings.Contains(r.Config, "volume 1 {") {
		t.Errorf("what runs: %s", r.Config)
	}
}

// TestSeveralInACluster: the log's record has one disk of each node, so that the connection is refused, with a way out.
func TestSeveralInACluster(t *testing.T) {
	p := newSeveral(t, "")
	p.a.start()
	p.a.view(api.VolumeView{Bound: true})
	p.a.ok(api.VolumeDo{Verb: api.VolumeAttach})
	for _, number := range both {
		p.a.untilVolume(number, "a refusal", func(s *api.VolumeStatus) bool {
			return s.Conn == "StandAlone" && strings.Contains(s.Reason, "a resource of its own")
		})
	}
}
