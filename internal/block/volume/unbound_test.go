package volume

import (
	"bytes"
	"errors"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

func TestTutorialFlow(t *testing.T) {
	p := newPair(t, "")
	pattern := bytes.Repeat([]byte("old data of a's disk "), 4096)[:64<<10]
	must(t, p.a.disk.WriteAt(pattern, 1<<20))
	p.synced()
	p.identical()
	st := p.b.until("all resynced", func(s *api.VolumeStatus) bool { return s.ResyncedBytes == s.SizeBytes })
	for _, n := range []*node{p.a, p.b} {
		n.until("one generation on both sides", func(s *api.VolumeStatus) bool { return s.CurrentUUID == s.PeerUUID })
	}
	if st.Role != "Secondary" || st.PeerRole != "Primary" || st.Counters.OOS != 0 {
		t.Errorf("b: %+v", st)
	}

	p.a.write(8192, fill(1, 4096))
	p.a.flush()
	must(t, p.a.wait(p.a.submit(kernel.Discard, 1<<20, nil, 64<<10)))
	if got := p.a.read(8192, 4096); !bytes.Equal(got, fill(1, 4096)) {
		t.Error("a does not read what it wrote")
	}
	p.identical()

	if r := p.b.do(api.VolumeDo{Verb: api.VolumePrimary}); r.Code != 11 || r.Error != "1: State change failed: (-1) Multiple primaries not allowed by config" {
		t.Errorf("second primary: %+v", r)
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	if err := p.a.wait(p.a.submit(kernel.Read, 0, make([]byte, 4096), 4096)); err == nil {
		t.Error("a Secondary served a read")
	}
	p.b.until("peer Secondary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	p.a.until("peer Primary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Primary" })
	p.b.write(4096, fill(2, 8192))
	p.b.flush()
	p.identical()
}

func TestDisconnectAndBitmapResync(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	before := p.b.untilState("Connected", "UpToDate", "UpToDate").ResyncedBytes
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.b.untilState("StandAlone", "UpToDate", "DUnknown")
	p.a.untilState("WFConnection", "UpToDate", "DUnknown")
	p.a.write(0, fill(7, 4096))
	p.a.write(5<<20, fill(8, 128<<10))
	p.a.until("33 blocks out of sync", func(s *api.VolumeStatus) bool { return s.Counters.OOS == 33*4 })
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	st := p.b.until("resynced", func(s *api.VolumeStatus) bool {
		return s.Conn == "Connected" && s.Disk == "UpToDate" && s.ResyncedBytes > before
	})
	if moved := st.ResyncedBytes - before; moved != 33*4096 {
		t.Errorf("the resync moved %d bytes, 33 blocks were out of sync", moved)
	}
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

// TestReadEndsAfterItsPrimary: what was read before the volume lost its role is given to nobody after it.
func TestReadEndsAfterItsPrimary(t *testing.T) {
	p, _ := bound(t)
	waiting, let := p.a.disk.delayReads()
	read := p.a.submit(kernel.Read, 0, make([]byte, 4096), 4096)
	<-waiting
	p.a.lease.deadline.Store(1)
	p.a.until("no longer Primary", func(s *api.VolumeStatus) bool { return s.Role == "Secondary" })
	let()
	if err := p.a.wait(read); !errors.Is(err, errGone) {
		t.Errorf("the read ended with %v", err)
	}
}
