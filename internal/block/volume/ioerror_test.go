package volume

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/writepath"
)

// fail makes every access to the disk fail from now on.
func (d *memDisk) fail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = errors.New("the disk is broken")
}

// ruin makes accesses to one range fail.
func (d *memDisk) ruin(off, length int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad = append(d.bad, span{off, length})
}

// TestDetachOnError: the Primary's disk fails while it writes; nothing is seen above, and the peer has everything.
func TestDetachOnError(t *testing.T) {
	for _, protocol := range []string{"A", "B", "C"} {
		t.Run(protocol, func(t *testing.T) {
			p := newPair(t, "protocol "+protocol+"; net { data-integrity-alg sha1; }")
			p.synced()
			p.a.write(0, fill(1, 256<<10))
			var writes []*ioRequest
			for i := range 64 {
				if i == 32 {
					p.a.disk.fail()
				}
				writes = append(writes, p.a.submit(kernel.Write, int64(i)*8192+1<<20, fill(byte(i), 4096), 4096))
			}
			for _, w := range writes {
				must(t, p.a.wait(w))
			}
			p.a.untilState("Connected", "Diskless", "UpToDate")
			p.b.untilState("Connected", "UpToDate", "Diskless")
			p.a.flush()
			if got := p.a.read(0, 256<<10); !bytes.Equal(got, fill(1, 256<<10)) {
				t.Error("what the disk held is not read from the peer")
			}
			for i := range 64 {
				if got := p.a.read(int64(i)*8192+1<<20, 4096); !bytes.Equal(got, fill(byte(i), 4096)) {
					t.Fatalf("write %d is not read back", i)
				}
			}
			must(t, p.a.wait(p.a.submit(kernel.WriteZeroes, 1<<20, nil, 8192)))
			if got := p.a.read(1<<20, 8192); !bytes.Equal(got, make([]byte, 8192)) {
				t.Error("a zeroed range is not zero")
			}
			if r := p.a.do(api.VolumeDo{Verb: api.VolumeDisconnect}); r.Code != 17 {
				t.Errorf("a Primary without a disk gave its peer up: %+v", r)
			}
			p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
			p.b.until("the other side's demotion", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
			p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
			if got := p.b.read(1<<20+8192, 4096); !bytes.Equal(got, fill(1, 4096)) {
				t.Error("the peer lacks a write")
			}
		})
	}
}

// TestReadErrorIsServedByThePeer: the disk fails at a read.
func TestReadErrorIsServedByThePeer(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.write(0, fill(5, 64<<10))
	p.a.disk.fail()
	if got := p.a.read(0, 64<<10); !bytes.Equal(got, fill(5, 64<<10)) {
		t.Error("another content from the peer")
	}
	p.a.untilState("Connected", "Diskless", "UpToDate")
}

// TestDisklessLosesItsPeer: without any disk requests fail, or wait where the configuration says so, and go on with the peer.
func TestDisklessLosesItsPeer(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.write(0, fill(5, 4096))
	p.a.disk.fail()
	p.a.write(4096, fill(6, 4096))
	p.a.untilState("Connected", "Diskless", "UpToDate")
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "Diskless", "DUnknown")
	if err := p.a.wait(p.a.submit(kernel.Read, 0, make([]byte, 4096), 4096)); !errors.Is(err, writepath.ErrNoData) {
		t.Errorf("a read without any disk: %v", err)
	}
	for _, op := range []kernel.Op{kernel.Write, kernel.Flush} {
		if err := p.a.wait(p.a.submit(op, 0, fill(7, 4096), 4096)); err == nil {
			t.Errorf("operation %d without any disk was carried out", op)
		}
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilState("Connected", "Diskless", "UpToDate")
	if got := p.a.read(0, 8192); !bytes.Equal(got, append(fill(5, 4096), fill(6, 4096)...)) {
		t.Error("another content after the connection was back")
	}
	p.a.write(0, fill(8, 4096))
	p.a.flush()
}

func TestDisklessWaitsForItsPeer(t *testing.T) {
	p := newPair(t, "options { on-no-data-accessible suspend-io; }")
	p.synced()
	p.a.disk.fail()
	p.a.write(4096, fill(6, 4096))
	p.a.untilState("Connected", "Diskless", "UpToDate")
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.until("requests held back", func(s *api.VolumeStatus) bool { return s.Conn == "WFConnection" && s.Flags[0] == 's' })
	write := p.a.submit(kernel.Write, 0, fill(7, 4096), 4096)
	read := p.a.submit(kernel.Read, 4096, make([]byte, 4096), 4096)
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	must(t, p.a.wait(write))
	must(t, p.a.wait(read))
	if !bytes.Equal(read.Data, fill(6, 4096)) {
		t.Error("another content")
	}
	p.a.until("requests go on", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.Flags[0] == 'r' })
}

// TestOperatorEndsTheWaitForData: with resume-io what waits for a disk fails.
func TestOperatorEndsTheWaitForData(t *testing.T) {
	p := newPair(t, "options { on-no-data-accessible suspend-io; }")
	p.synced()
	p.a.disk.fail()
	p.a.write(4096, fill(6, 4096))
	p.a.untilState("Connected", "Diskless", "UpToDate")
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.until("requests held back", func(s *api.VolumeStatus) bool { return s.Conn == "WFConnection" && s.Flags[0] == 's' })
	list := []*ioRequest{p.a.submit(kernel.Write, 0, fill(7, 4096), 4096), p.a.submit(kernel.Flush, 0, nil, 0),
		p.a.submit(kernel.Read, 4096, make([]byte, 4096), 4096)}
	p.a.ok(api.VolumeDo{Verb: api.VolumeResumeIO})
	for _, r := range list {
		if err := p.a.wait(r); !errors.Is(err, writepath.ErrNoData) {
			t.Errorf("operation %d: %v", r.Op, err)
		}
	}
}

// TestDisklessConnectsToItsDataOnly: a peer that has other data than the users have seen is refused.
func TestDisklessConnectsToItsDataOnly(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.disk.fail()
	p.a.write(0, fill(6, 4096))
	p.a.untilState("Connected", "Diskless", "UpToDate")
	p.b.stop(true)
	p.b.disk = newMemDisk(diskSize)
	p.b.disk.format(t, 0xb0b0003)
	p.b.start()
	p.b.view(api.VolumeView{})
	p.b.ok(api.VolumeDo{Verb: api.VolumeAttach})
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	p.b.write(0, fill(9, 4096))
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.until("refused", func(s *api.VolumeStatus) bool {
		return s.Conn == "StandAlone" && strings.HasPrefix(s.Reason, "Can only connect to data with current UUID=")
	})
}

// TestPrimaryGivesItsDiskBack: detach of a Primary, its process killed, and the disk it had does not count any more.
func TestPrimaryGivesItsDiskBack(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.write(0, fill(1, 4096))
	p.a.ok(api.VolumeDo{Verb: api.VolumeDetach})
	p.a.untilState("Connected", "Diskless", "UpToDate")
	p.a.write(0, fill(2, 4096))
	if got := p.a.read(0, 4096); !bytes.Equal(got, fill(2, 4096)) {
		t.Error("the peer's disk was not read")
	}
	p.a.restart(false)
	p.a.view(api.VolumeView{})
	p.a.ok(api.VolumeDo{Verb: api.VolumeAttach})
	st := p.a.until("the disk that was given back", func(s *api.VolumeStatus) bool { return s.Disk != "Diskless" })
	if st.Disk != "Outdated" || st.Role != "Secondary" {
		t.Errorf("%s %s", st.Role, st.Disk)
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

// TestFailedDiskOfADisklessPrimaryIsNotTrusted: the disk failed, so that nothing could be written to it; the process after
// this one knows all the same.
func TestFailedDiskOfADisklessPrimaryIsNotTrusted(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.disk.ruin(0, 4096)
	p.a.write(0, fill(2, 4096))
	p.a.untilState("Connected", "Diskless", "UpToDate")
	p.a.write(4096, fill(3, 4096))
	p.a.disk.heal()
	p.a.restart(false)
	p.a.view(api.VolumeView{})
	p.a.ok(api.VolumeDo{Verb: api.VolumeAttach})
	if st := p.a.until("attached", func(s *api.VolumeStatus) bool { return s.Disk != "Diskless" }); st.Disk != "Outdated" || st.Role != "Secondary" {
		t.Errorf("%s %s", st.Role, st.Disk)
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

// TestSecondaryWithoutADisk: it stays connected, and the Primary goes on; with its disk back it is resynced.
func TestSecondaryWithoutADisk(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.b.disk.ruin(8192, 4096)
	p.a.write(8192, fill(4, 4096))
	p.b.untilState("Connected", "Diskless", "UpToDate")
	p.a.untilState("Connected", "UpToDate", "Diskless")
	p.a.write(0, fill(5, 4096))
	p.b.disk.heal()
	p.b.ok(api.VolumeDo{Verb: api.VolumeAttach})
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

// TestPromotedWithoutADisk: a Secondary whose disk has failed takes over, on the peer's disk.
func TestPromotedWithoutADisk(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.write(0, fill(4, 4096))
	p.b.ok(api.VolumeDo{Verb: api.VolumeDetach})
	p.b.untilState("Connected", "Diskless", "UpToDate")
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.b.until("the other side's demotion", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	if got := p.b.read(0, 4096); !bytes.Equal(got, fill(4, 4096)) {
		t.Error("the peer's disk was not read")
	}
	p.b.write(0, fill(5, 4096))
	p.b.flush()
	p.a.untilState("Connected", "UpToDate", "Diskless")
}

// TestPassOn: blocks the disk cannot read or write are the peer's; the rest is local. Whatever the peer was for is gone with
// it, and the next resync repairs the disk.
func TestPassOn(t *testing.T) {
	p := newPair(t, "disk { on-io-error pass_on; }")
	p.synced()
	p.a.write(0, fill(1, 64<<10))
	p.a.disk.ruin(8192, 4096)
	if got := p.a.read(0, 64<<10); !bytes.Equal(got, fill(1, 64<<10)) {
		t.Error("another content")
	}
	p.a.until("Inconsistent", func(s *api.VolumeStatus) bool {
		return s.Disk == "Inconsistent" && s.Role == "Primary" && s.Counters.OOS > 0
	})
	p.b.untilState("Connected", "UpToDate", "Inconsistent")
	p.a.disk.ruin(1<<20, 4096)
	p.a.write(1<<20, fill(3, 4096))
	p.a.flush()
	if got := p.a.read(1<<20, 4096); !bytes.Equal(got, fill(3, 4096)) {
		t.Error("a write the disk refused is not read back")
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeShow}) // its answer comes after a status
	reads := p.a.last().Counters.NR
	p.a.read(2<<20, 4096) // is here
	if p.a.ok(api.VolumeDo{Verb: api.VolumeShow}); p.a.last().Counters.NR != reads {
		t.Errorf("read from the peer: %d KiB, before %d", p.a.last().Counters.NR, reads)
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.a.disk.heal()
	p.a.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

// TestPassOnAlone: without the peer the error goes to whoever asked, and the disk stays in use.
func TestPassOnAlone(t *testing.T) {
	p := newPair(t, "disk { on-io-error pass_on; }")
	p.synced()
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "UpToDate", "DUnknown")
	p.a.disk.ruin(8192, 4096)
	for _, op := range []kernel.Op{kernel.Read, kernel.Write} {
		if err := p.a.wait(p.a.submit(op, 8192, make([]byte, 4096), 4096)); err == nil {
			t.Errorf("operation %d on a bad block was carried out", op)
		}
	}
	p.a.write(0, fill(9, 4096))
	p.a.flush()
	p.a.disk.heal()
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

// TestPassOnPrimaryLosesItsPeer: what was not on its own disk cannot be reached any more.
func TestPassOnPrimaryLosesItsPeer(t *testing.T) {
	p := newPair(t, "disk { on-io-error pass_on; }")
	p.synced()
	p.a.disk.ruin(8192, 4096)
	p.a.write(8192, fill(3, 4096))
	p.a.until("Inconsistent", func(s *api.VolumeStatus) bool { return s.Disk == "Inconsistent" })
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "Diskless", "DUnknown")
	if err := p.a.wait(p.a.submit(kernel.Write, 0, fill(1, 4096), 4096)); err == nil {
		t.Error("a write that the resync would take back was acknowledged")
	}
}

// TestLocalIOErrorHandler runs with its environment, and the disk is detached.
func TestLocalIOErrorHandler(t *testing.T) {
	out := filepath.Join(t.TempDir(), "called")
	p := newPair(t, fmt.Sprintf(`disk { on-io-error call-local-io-error; } handlers { local-io-error "echo $DRBD_RESOURCE $DRBD_MINOR > %s.new; mv %s.new %s"; }`, out, out, out))
	p.synced()
	p.a.disk.fail()
	p.a.write(0, fill(1, 4096))
	p.a.untilState("Connected", "Diskless", "UpToDate")
	deadline := time.After(patience)
	for {
		text, err := os.ReadFile(out)
		if err == nil {
			if string(text) != "r0 1\n" {
				t.Errorf("the handler saw %q", text)
			}
			return
		}
		select {
		case <-deadline:
			t.Fatal("the handler was not run")
		case <-time.After(time.Millisecond):
		}
	}
}

// TestPrimaryTakesADisk: while it writes, a Primary without a disk gets one, the old or a blank one, and is resynced.
func TestPrimaryTakesADisk(t *testing.T) {
	for _, blank := range []bool{false, true} {
		t.Run(fmt.Sprintf("blank %v", blank), func(t *testing.T) {
			p := newPair(t, "")
			p.synced()
			w := p.a.writer(true)
			w.more(50)
			p.a.ok(api.VolumeDo{Verb: api.VolumeDetach})
			p.a.untilState("Connected", "Diskless", "UpToDate")
			w.more(50)
			if blank {
				p.a.disk.exchange(newMemDisk(diskSize + 8<<20))
				p.a.disk.format(t, 0xa11ce0009)
			}
			p.a.ok(api.VolumeDo{Verb: api.VolumeAttach})
			w.more(50)
			p.a.untilState("Connected", "UpToDate", "UpToDate")
			p.b.untilState("Connected", "UpToDate", "UpToDate")
			w.more(50)
			w.finish()
			p.a.flush()
			w.intact(p.a)
			w.intact(p.b)
			p.identical()
		})
	}
}

// TestAttachIsCut: the connection is lost while a Primary's new disk is being resynced: it is given up again, and the data
// is where it was.
func TestAttachIsCut(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.write(0, fill(1, 1<<20))
	p.a.ok(api.VolumeDo{Verb: api.VolumeRate, RateKiB: 64})
	p.a.ok(api.VolumeDo{Verb: api.VolumeDetach})
	p.a.write(4096, fill(2, 4096))
	p.a.ok(api.VolumeDo{Verb: api.VolumeAttach})
	p.a.until("the resync", func(s *api.VolumeStatus) bool { return s.Conn == "SyncTarget" && s.Role == "Primary" })
	if got := p.a.read(0, 1<<20); !bytes.Equal(got[:4096], fill(1, 4096)) || !bytes.Equal(got[4096:8192], fill(2, 4096)) {
		t.Error("read what the disk does not have yet")
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "Diskless", "DUnknown")
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilState("Connected", "Diskless", "UpToDate")
	if got := p.a.read(4096, 4096); !bytes.Equal(got, fill(2, 4096)) {
		t.Error("another content")
	}
}

// TestPrimaryRefusesADisk: one with other data, or too small, changes nothing.
func TestPrimaryRefusesADisk(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.write(0, fill(1, 4096))
	p.a.ok(api.VolumeDo{Verb: api.VolumeDetach})
	small := newMemDisk(diskSize - 8<<20)
	small.format(t, 0xa11ce0009)
	p.a.disk.exchange(small)
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeAttach}); r.Code != 10 || !strings.Contains(r.Error, "(111) Low.dev. smaller") {
		t.Errorf("%+v", r)
	}
	p.a.disk.exchange(small)
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "Diskless", "DUnknown")
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeAttach}); r.Code != 10 || !strings.Contains(r.Error, "Can only attach to data with current UUID=") {
		t.Errorf("%+v", r)
	}
}

// TestDetachTwice: two operators give the same disk back at once.
func TestDetachTwice(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	first, second := p.b.ask(api.VolumeDo{Verb: api.VolumeDetach}), p.b.ask(api.VolumeDo{Verb: api.VolumeDetach})
	for _, ch := range []<-chan api.VolumeReply{first, second} {
		if r := p.b.answer(api.VolumeDo{Verb: api.VolumeDetach}, ch); r.Code != 0 {
			t.Errorf("%+v", r)
		}
	}
	p.b.untilState("Connected", "Diskless", "UpToDate")
}
