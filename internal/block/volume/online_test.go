package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

// spoil changes a's disk behind its back.
func (n *node) spoil(off int64, data []byte) {
	n.t.Helper()
	must(n.t, n.disk.WriteAt(data, off))
}

func TestOnlineVerify(t *testing.T) {
	p := newPair(t, "net { verify-alg sha1; }")
	p.synced()
	p.a.write(0, fill(1, 256<<10))
	p.a.ok(api.VolumeDo{Verb: api.VolumeVerify})
	for _, n := range []*node{p.a, p.b} {
		st := n.untilState("Connected", "UpToDate", "UpToDate")
		if st.Counters.OOS != 0 {
			t.Errorf("%s: %d KiB differ of equal disks", n.name, st.Counters.OOS)
		}
	}
	p.a.spoil(1<<20, fill(9, 4096))
	p.b.ok(api.VolumeDo{Verb: api.VolumeVerify})
	for _, n := range []*node{p.a, p.b} {
		n.until("the difference to be found", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.Counters.OOS == 4 })
	}
	// What verify found is repaired by the next resync, from the Primary.
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "UpToDate", "DUnknown")
	p.a.write(8<<20, fill(3, 4096))
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.until("resynced", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.Counters.OOS == 0 })
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

func TestVerifyUnderLoad(t *testing.T) {
	p := newPair(t, "net { verify-alg crc32c; }")
	p.synced()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				p.a.write(int64(i%512)*4096, fill(byte(i), 4096))
			}
		}
	}()
	for _, n := range []*node{p.a, p.b} {
		n.ok(api.VolumeDo{Verb: api.VolumeVerify})
		for _, m := range []*node{p.a, p.b} {
			if st := m.untilState("Connected", "UpToDate", "UpToDate"); st.Counters.OOS != 0 {
				t.Errorf("%s: %d KiB differ", m.name, st.Counters.OOS)
			}
		}
	}
	close(stop)
	<-ended
	p.identical()
}

func TestVerifyRefusals(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeVerify}); r.Code != 11 || !strings.Contains(r.Error, "(-14) Need a verify algorithm") {
		t.Errorf("%+v", r)
	}
	p = newPair(t, "net { verify-alg sha1; }")
	p.synced()
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "UpToDate", "DUnknown")
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeVerify}); r.Code != 11 || !strings.Contains(r.Error, "(-15) Need a connection") {
		t.Errorf("%+v", r)
	}
}

func TestInvalidateWhileConnected(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.write(0, fill(7, 1<<20))
	before := p.b.last().ResyncedBytes
	p.b.spoil(2<<20, fill(1, 4096))
	p.b.ok(api.VolumeDo{Verb: api.VolumeInvalidate})
	p.b.until("all resynced", func(s *api.VolumeStatus) bool { return s.ResyncedBytes-before == s.SizeBytes && s.Disk == "UpToDate" })
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
	p.b.spoil(2<<20, fill(2, 4096))
	p.a.ok(api.VolumeDo{Verb: api.VolumeInvalidateRemote})
	p.b.until("resynced again", func(s *api.VolumeStatus) bool { return s.ResyncedBytes-before == 2*s.SizeBytes && s.Disk == "UpToDate" })
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
	for _, n := range []*node{p.a, p.b} {
		n.until("one generation on both sides", func(s *api.VolumeStatus) bool { return s.CurrentUUID == s.PeerUUID })
	}
}

func TestResyncWithDigests(t *testing.T) {
	p := newPair(t, "net { csums-alg sha1; verify-alg sha1; }")
	p.synced()
	p.b.spoil(3<<20, fill(1, 4096))
	sent := p.a.last().Counters.NS
	p.b.ok(api.VolumeDo{Verb: api.VolumeInvalidate})
	p.a.until("resynced", func(s *api.VolumeStatus) bool {
		return s.Conn == "Connected" && s.PeerDisk == "UpToDate" && s.Counters.OOS == 0
	})
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
	if moved := p.a.last().Counters.NS - sent; moved != 1024 {
		t.Errorf("%d KiB were sent for one piece that differs", moved)
	}
}

func TestProtocolsBetweenHoldfast(t *testing.T) {
	for _, protocol := range []string{"A", "B"} {
		t.Run(protocol, func(t *testing.T) {
			p := newPair(t, "protocol "+protocol+"; net { data-integrity-alg sha1; }")
			p.synced()
			for i := range 200 {
				p.a.write(int64(i%50)*8192, fill(byte(i), 4096*(1+i%3)))
				if i%40 == 0 {
					must(t, p.a.wait(p.a.submit(kernel.Discard, 1<<20, nil, 64<<10)))
				}
			}
			p.a.flush()
			p.identical()
			p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
			p.identical()
		})
	}
}

// TestSplitBrain: both sides write alone; the handlers run, and the operator's choice settles it.
func TestSplitBrain(t *testing.T) {
	log := filepath.Join(t.TempDir(), "handlers")
	p := newPair(t, fmt.Sprintf(`handlers { split-brain "echo split $DRBD_RESOURCE $DRBD_MINOR $DRBD_PEER $DRBD_VOLUME >>%s";
		initial-split-brain "echo initial $DRBD_PEER >>%s"; }`, log, log))
	p.synced()
	p.split()
	// One side sees it first and drops the connection, perhaps before the other could see it.
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(log)
		seen := func(n *node, peer string) bool {
			return n.last().Reason == "Split-Brain detected but unresolved, dropping connection!" && n.last().Conn == "StandAlone" &&
				strings.Contains(string(text), "initial "+peer+"\n") && strings.Contains(string(text), "split r0 1 "+peer+" 0\n")
		}
		if seen(p.a, "b") || seen(p.b, "a") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("handlers: %q", text)
		}
	}
	if r := p.b.do(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true}); r.Code != 10 || !strings.Contains(r.Error, "(123) --discard-my-data not allowed when primary.") {
		t.Errorf("discarding a Primary's data: %+v", r)
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true})
	p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
	if got := p.a.read(0, 4096); got[0] != 1 {
		t.Error("the survivor's data is gone")
	}
}

// split has both sides write without the other, and connects them again; a and b are Primary.
func (p *pair) split() {
	p.t.Helper()
	for _, n := range []*node{p.a, p.b} {
		n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	}
	p.b.untilState("StandAlone", "UpToDate", "DUnknown")
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	p.a.write(0, fill(1, 4096))
	p.b.write(0, fill(2, 8192))
	p.b.write(1<<20, fill(2, 64<<10))
	p.connectBoth()
}

func (p *pair) connectBoth() {
	p.t.Helper()
	for _, n := range []*node{p.a, p.b} {
		n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	}
}

func TestSplitBrainPolicies(t *testing.T) {
	p := newPair(t, "net { after-sb-0pri discard-least-changes; after-sb-1pri discard-secondary; }")
	p.synced()
	p.a.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	p.a.write(0, fill(1, 4096))
	p.b.write(1<<20, fill(2, 64<<10))
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.connectBoth() // one Primary: the Secondary's changes go, although they are more
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
	if got := p.a.read(1<<20, 4096); got[0] == 2 {
		t.Error("the Primary's content was replaced")
	}
}

func TestPausedResync(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.b.ok(api.VolumeDo{Verb: api.VolumePauseSync})
	p.a.ok(api.VolumeDo{Verb: api.VolumeInvalidateRemote})
	if r := p.b.do(api.VolumeDo{Verb: api.VolumePauseSync}); r.Code != 10 || r.Error != "1: Failure: (134) Sync-pause flag is already set" {
		t.Errorf("%+v", r)
	}
	p.b.until("PausedSyncT", func(s *api.VolumeStatus) bool { return s.Conn == "PausedSyncT" && s.Flags == "r--u--" })
	p.a.until("PausedSyncS", func(s *api.VolumeStatus) bool { return s.Conn == "PausedSyncS" && s.Flags == "r-p---" })
	if st := p.b.last(); st.Counters.OOS == 0 {
		t.Error("the resync ended although it was paused")
	}
	p.a.write(0, fill(4, 4096)) // goes on beside a paused resync
	p.b.ok(api.VolumeDo{Verb: api.VolumeResumeSync})
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

func TestSuspendedIO(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	p.a.ok(api.VolumeDo{Verb: api.VolumeSuspendIO})
	p.a.until("suspended", func(s *api.VolumeStatus) bool { return s.Flags == "s-----" })
	w := p.a.submit(kernel.Write, 0, fill(5, 4096), 4096)
	// Losing the peer does not let the request through.
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("WFConnection", "UpToDate", "DUnknown")
	select {
	case <-w.done:
		t.Error("a request was answered while suspended")
	default:
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeResumeIO})
	must(t, p.a.wait(w))
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

func TestOutdate(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	if r := p.b.do(api.VolumeDo{Verb: api.VolumeOutdate}); r.Code != 11 || !strings.Contains(r.Error, "(-6) Refusing to be Outdated while Connected") {
		t.Errorf("%+v", r)
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.b.ok(api.VolumeDo{Verb: api.VolumeOutdate})
	p.b.untilState("StandAlone", "Outdated", "DUnknown")
	if r := p.b.do(api.VolumeDo{Verb: api.VolumePrimary}); r.Code != 17 {
		t.Errorf("an outdated disk became Primary: %+v", r)
	}
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeOutdate}); r.Code != 17 {
		t.Errorf("a Primary's disk was outdated: %+v", r)
	}
}
