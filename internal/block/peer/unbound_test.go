package peer

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

// TestDiskIsTakenBackAlone: a Primary whose requests wait for data gets its disk back while the peer is away. It goes on, under a new
// generation, since the peer lacks what it writes now.
func TestDiskIsTakenBackAlone(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.m.SetNoData(true)
	p.a.cut("cable")
	p.a.loseDisk(true)
	if !p.a.m.NoData() || !p.a.held {
		t.Fatalf("requests do not wait: %s", p.a.state())
	}
	before := p.a.m.uuids
	p.a.m.Attached(p.a.env(), upToDate(before, 0xa1, 0), nil)
	p.a.run()
	p.a.tick(10 * p.a.m.set.Absence)
	p.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown")
	if p.a.held || p.a.without || p.a.mode != "gone" {
		t.Errorf("path is %s, held %v, without %v", p.a.mode, p.a.held, p.a.without)
	}

	q := leaning(t) // before it has heard of the generation that the only disk began
	q.a.m.exposed = q.a.m.uuids.Current
	q.a.cut("cable")
	q.a.m.Attached(q.a.env(), upToDate(q.a.m.uuids, 0xa1, 0), nil)
	q.a.run()
	if q.a.m.uuids.Bitmap == 0 {
		t.Errorf("it writes alone without a new generation: %s", q.a.m.uuids)
	}
	q.link(false)
	if q.a.m.reason+q.b.m.reason == "" {
		t.Errorf("no split brain was found: %s, %s", q.a.state(), q.b.state())
	}
}

// TestOnlyDiskCountsEverything: the only disk of a Primary without one takes every block for one the other lacks, although its
// bitmap counts from an older generation already.
func TestOnlyDiskCountsEverything(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.b.primary(false, 0)
	p.b.cut("cable")
	p.b.bits = 1
	p.b.secondary()
	p.a.loseDisk(true)
	p.link(false)
	p.a.primary(false, 0)
	p.a.expect("Connected Primary/Secondary Diskless/UpToDate")
	if p.b.bits != 1000 {
		t.Errorf("%d bits are set where all are to be", p.b.bits)
	}
}

// TestPromotedBesideADisklessPeer: what it writes the peer's disk lacks, which a new generation must tell when that is back.
func TestPromotedBesideADisklessPeer(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.b.loseDisk(false)
	p.link(false)
	p.a.expect("Connected Secondary/Secondary UpToDate/Diskless")
	p.a.primary(false, 0)
	if p.a.m.uuids.Bitmap == 0 {
		t.Errorf("no new generation: %s", p.a.m.uuids)
	}
}

// TestOutdatedSource: a source is as good as its target afterwards.
func TestOutdatedSource(t *testing.T) {
	p := newSim(t, first(equal()), fresh(0xb1))
	p.a.m.View(p.a.env(), api.VolumeView{})
	p.a.m.Outdate(p.a.env(), 1)
	p.a.run()
	p.connect()
	p.a.expect("Connected Secondary/Secondary UpToDate/UpToDate")
	p.b.expect("Connected Secondary/Secondary UpToDate/UpToDate")
}

// TestDiskFailsBeforeConsent: the peer consents to a verify when the disk here has just failed.
func TestDiskFailsBeforeConsent(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	for _, s := range []*side{p.a, p.b} {
		s.m.SetVerifyAlg("md5")
	}
	p.a.m.Verify(p.a.env(), 7)
	p.a.run()
	p.b.deliver(p.a.queue[0])
	p.a.queue = p.a.queue[1:]
	p.a.loseDisk(true)
	p.settle(false)
	if r := p.a.lastReply(); r.Code == 0 {
		t.Error("a verify began without a disk")
	}
	p.a.expect("Connected Primary/Secondary Diskless/UpToDate")
	p.b.expect("Connected Secondary/Primary UpToDate/Diskless")
}

// TestDiscardIsForOneConnection: --discard-my-data is used up by a connection without a disk too.
func TestDiscardIsForOneConnection(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.a.m.View(p.a.env(), api.VolumeView{})
	p.b.m.View(p.b.env(), api.VolumeView{})
	p.a.loseDisk(false)
	p.a.m.Connect(p.a.env(), true)
	p.b.m.Connect(p.b.env(), false)
	p.link(false)
	p.a.expect("Connected Secondary/Secondary Diskless/UpToDate")
	if p.a.m.Discarding() {
		t.Error("a disk attached later would be given up")
	}
}

// TestResumedWithoutAllTheData: a process was Primary while its disk lacked blocks, which it read from the peer. The next one is not.
func TestResumedWithoutAllTheData(t *testing.T) {
	p := leaning(t)
	p.a.bits = 1000
	p.a.m.Attached(p.a.env(), upToDate(p.a.m.uuids, 0xa1, 0), nil)
	p.a.run()
	p.settle(true)
	p.a.expect("SyncTarget Primary/Secondary Inconsistent/UpToDate")
	r := p.a.m.Resume(0)
	m := New(p.a.m.set, 0)
	m.View(p.a.env(), api.VolumeView{})
	m.Attached(p.a.env(), Attach{UUIDs: p.a.sb.UUIDs, Flags: p.a.sb.Flags, Device: 0xa1, Size: 64 << 20}, &r)
	if m.Resuming() || m.IsPrimary() {
		t.Error("it serves a disk that lacks blocks")
	}
}

// TestOnlyDiskIsRenamed: the peer's disk, the only one, began a generation that this Primary has not heard of when it loses the
// connection. It does not go on alone with its former disk, and takes the peer for what it is when that is back.
func TestOnlyDiskIsRenamed(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.loseDisk(true)
	p.b.deliver(p.a.queue[0])
	p.b.queue, p.a.queue = nil, nil // what it has to say is lost
	p.a.cut("cable")
	if err := p.a.m.MayAttach(first(equal()).UUIDs, first(equal()).Flags); err == nil {
		t.Error("the disk lacks what was written to the peer's")
	}
	p.link(false)
	p.a.expect("Connected Primary/Secondary Diskless/UpToDate")
}

// TestTargetFinishedWithoutWord: the target of a resync is done, and the connection is lost before the source hears of it. Both go on
// alone: that is a split brain, and not an older and a newer disk.
func TestTargetFinishedWithoutWord(t *testing.T) {
	for _, wasPrimary := range []bool{true, false} {
		p := newSim(t, first(equal()), second(equal()))
		p.connect()
		p.a.primary(false, 0)
		p.a.cut("cable")
		p.a.bits = 5
		p.link(true)
		p.a.expect("SyncSource Primary/Secondary UpToDate/Inconsistent")
		if !wasPrimary {
			p.a.secondary()
		}
		p.b.bits = 0
		p.b.m.TargetDone(p.b.env())
		p.b.queue = nil
		p.b.run()
		p.b.cut("cable")
		if !wasPrimary {
			p.a.primary(false, 0)
		}
		p.b.primary(false, 0)
		p.b.secondary()
		p.a.secondary()
		p.link(false)
		if !strings.Contains(p.a.m.reason+p.b.m.reason, "Split-Brain") {
			t.Errorf("was Primary %v: no split brain was found: %s, %s", wasPrimary, p.a.state(), p.b.state())
		}
	}
}

// TestInterruptedTargetGoesOn: a source that has gone on alone knows a target that was half way, by the bitmap still.
func TestInterruptedTargetGoesOn(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	for range 3 {
		p.a.cut("cable")
		p.a.bits = 5
		p.link(true)
		p.a.expect("SyncSource Primary/Secondary UpToDate/Inconsistent")
		if p.a.bits != 5 {
			t.Fatalf("a full resync: %d bits", p.a.bits)
		}
	}
}

// TestServerWasStartedAgain: requests of a Primary without a disk have waited for the peer, which comes back as another process: it may
// have lost what it had not flushed.
func TestServerWasStartedAgain(t *testing.T) {
	for _, again := range []bool{true, false} {
		p := leaning(t)
		p.a.m.SetNoData(true)
		p.a.cut("cable")
		if again {
			p.a.m.instance = "an earlier life of b"
		}
		p.link(false)
		if p.a.owes != again || p.a.held {
			t.Errorf("started again %v: owes %v, held %v", again, p.a.owes, p.a.held)
		}
	}
}
