package peer

import (
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
)

// loseDisk detaches a side's disk, failed or given back.
func (s *side) loseDisk(failed bool) {
	s.m.Detached(s.env(), failed)
	s.run()
	s.m.DiskDropped(s.env())
	s.run()
}

// leaning gives a pair whose Primary, a, has lost its disk to the peer's.
func leaning(t *testing.T) *simPair {
	t.Helper()
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	p.a.loseDisk(true)
	p.settle(false)
	p.a.expect("Connected Primary/Secondary Diskless/UpToDate")
	p.b.expect("Connected Secondary/Primary UpToDate/Diskless")
	return p
}

func TestPrimaryLeansOnThePeer(t *testing.T) {
	p := leaning(t)
	if !p.a.without || p.a.mode != "up" {
		t.Errorf("path is %s, without %v", p.a.mode, p.a.without)
	}
	if r := p.a.m.Resume(0); !r.Diskless {
		t.Error("the next process would trust the disk")
	}
	p.a.m.Disconnect(p.a.env(), 9)
	p.a.run()
	if r := p.a.lastReply(); r.Code != codeNoUpToDate {
		t.Errorf("disconnect: %+v", r)
	}
	p.a.cut("cable")
	p.a.expect("WFConnection Primary/Unknown Diskless/DUnknown")
	if p.a.mode != "gone" || p.a.held {
		t.Errorf("path is %s, held %v", p.a.mode, p.a.held)
	}
	p.link(false)
	p.a.expect("Connected Primary/Secondary Diskless/UpToDate")
	if p.a.mode != "up" {
		t.Errorf("path is %s", p.a.mode)
	}
	p.a.cut("cable")
	p.b.m.uuids.Current = gen + 2 // it has been replaced
	p.link(false)
	if p.a.m.Link().Wanted || !strings.HasPrefix(p.a.m.reason, "Can only connect to data with current UUID=") {
		t.Errorf("%s: %s", p.a.state(), p.a.m.reason)
	}
}

// TestRequestsWaitForData: on-no-data-accessible suspend-io.
func TestRequestsWaitForData(t *testing.T) {
	p := leaning(t)
	p.a.m.SetNoData(true)
	p.a.cut("cable")
	if p.a.mode != "suspended" || !p.a.held || !p.a.m.NoData() {
		t.Errorf("path is %s, held %v", p.a.mode, p.a.held)
	}
	p.a.tick(10 * p.a.m.set.Absence) // nobody but the peer ends that
	if !p.a.held {
		t.Error("requests go on without any disk")
	}
	p.link(false)
	if p.a.mode != "up" || p.a.held || p.a.m.NoData() {
		t.Errorf("path is %s, held %v", p.a.mode, p.a.held)
	}
}

// TestPrimaryGetsADisk: writes wait until the peer's bitmap is here, and are the new disk's from then on.
func TestPrimaryGetsADisk(t *testing.T) {
	p := leaning(t)
	p.a.bits = 1000
	p.a.m.Attached(p.a.env(), Attach{UUIDs: generation.Set{Current: generation.JustCreated}, Device: 0xa9, Size: 64 << 20}, nil)
	p.a.run()
	if !p.a.held || !p.a.without {
		t.Error("writes go on before the disks have been compared")
	}
	p.settle(true)
	p.a.expect("SyncTarget Primary/Secondary Inconsistent/UpToDate")
	p.b.expect("SyncSource Secondary/Primary UpToDate/Inconsistent")
	if p.a.held || p.a.without || p.a.mode != "up" {
		t.Errorf("path is %s, held %v, without %v", p.a.mode, p.a.held, p.a.without)
	}
	p.a.cut("cable")
	p.a.expect("WFConnection Primary/Unknown Diskless/DUnknown")
	if !p.a.without {
		t.Error("a disk that lacks blocks is written to alone")
	}
}

// TestPassedOn: one error costs the disk its good name, if the peer has the data; alone it does not.
func TestPassedOn(t *testing.T) {
	p := newSim(t, first(equal()), second(equal()))
	p.connect()
	p.a.primary(false, 0)
	if !p.a.m.PassOn(p.a.env()) {
		t.Error("not passed on")
	}
	p.a.run()
	p.settle(false)
	p.a.expect("Connected Primary/Secondary Inconsistent/UpToDate")
	p.b.expect("Connected Secondary/Primary UpToDate/Inconsistent")
	if !p.a.m.Lacking() || !p.a.m.Served() {
		t.Error("what the disk lacks is not read from the peer")
	}
	p.b.cut("cable")
	p.a.expect("WFConnection Primary/Unknown Diskless/DUnknown")

	q := newSim(t, first(equal()), second(equal()))
	q.connect()
	q.a.primary(false, 0)
	q.a.cut("cable")
	if !q.a.m.PassOn(q.a.env()) {
		t.Error("not passed on")
	}
	q.a.run()
	q.a.expect("WFConnection Primary/Unknown UpToDate/DUnknown")
}

// TestDiskOfALeaningPrimaryIsOutdated: the process after it does not take the disk for a good one.
func TestDiskOfALeaningPrimaryIsOutdated(t *testing.T) {
	p := leaning(t)
	r := p.a.m.Resume(0)
	a := first(equal())
	a.Flags |= 2 // it was Primary
	m := New(p.a.m.set, 0)
	m.View(p.a.env(), api.VolumeView{})
	m.Attached(p.a.env(), a, &r)
	if m.Resuming() || m.IsPrimary() || m.disk != generation.Outdated {
		t.Errorf("%v %v", m.role, m.disk)
	}
}
