package volume

import (
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

// TestDiskFailsInACluster: the Primary leaves U and goes on with the peer's disk, without an error; the peer takes over, and
// the disk, which lacks what was written meanwhile, is resynced in full.
func TestDiskFailsInACluster(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(50)
	p.a.disk.fail()
	w.more(50)
	p.a.until("out of U", func(s *api.VolumeStatus) bool {
		return s.Role == "Primary" && s.Disk == "Diskless" && s.PeerDisk == "UpToDate" && s.Frozen == "" && l.inU("b")
	})
	w.more(50)
	if got := p.a.read(0, 4096); len(got) != 4096 {
		t.Error("no read")
	}
	w.finish()
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	w.intact(p.b)
	l.end(true)
	l.promote(p.b)
	again := p.b.writer(true)
	again.more(20)
	p.a.disk.heal()
	p.a.ok(api.VolumeDo{Verb: api.VolumeAttach})
	l.whole()
	again.finish()
	p.b.flush()
	again.intact(p.a)
	p.identical()
}

// TestDiskFailsWithoutQuorum: nothing is acknowledged that the failed disk lacks while the log still counts on it.
func TestDiskFailsWithoutQuorum(t *testing.T) {
	p, l := bound(t)
	p.a.write(0, fill(1, 4096))
	l.do(func() { l.quorum = false })
	p.a.disk.fail()
	write := p.a.submit(kernel.Write, 0, fill(2, 4096), 4096)
	p.a.until("waiting for the log", func(s *api.VolumeStatus) bool { return s.Disk == "Diskless" && s.Frozen != "" })
	p.b.until("the write is there", func(s *api.VolumeStatus) bool { return s.Counters.NR > 0 })
	select {
	case <-write.done:
		t.Fatalf("acknowledged before the log has taken the disk out of U: %v", write.err)
	default:
	}
	l.do(func() { l.quorum = true })
	must(t, p.a.wait(write))
	if !l.inU("b") {
		t.Error("the failed disk is in U")
	}
}

// TestDisklessPrimaryLosesItsPeerInACluster: it has nothing to serve, and fails so that the peer can take over.
func TestDisklessPrimaryLosesItsPeerInACluster(t *testing.T) {
	p, l := bound(t)
	w := p.a.writer(true)
	w.more(20)
	p.a.disk.fail()
	w.more(20)
	p.a.until("out of U", func(s *api.VolumeStatus) bool { return s.Disk == "Diskless" && s.Frozen == "" && l.inU("b") })
	l.lose(p.b, false)
	p.a.until("failed", func(s *api.VolumeStatus) bool { return s.Role == "Secondary" })
	w.abandon()
	l.end(true)
	l.back(p.b)
	l.promote(p.b)
	w.intact(p.b)
}
