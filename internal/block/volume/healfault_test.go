package volume

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/disk"
)

// cuttingDisk loses its power at a write.
type cuttingDisk struct {
	*memDisk
	mu   sync.Mutex
	left int      // writes until then; below 0: never
	next *memDisk // what the cut has left
}

func (d *cuttingDisk) WriteAt(p []byte, off int64) error {
	d.count()
	return d.memDisk.WriteAt(p, off)
}

func (d *cuttingDisk) WriteZeroes(off, n int64) error {
	d.count()
	return d.memDisk.WriteZeroes(off, n)
}

func (d *cuttingDisk) count() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left--; d.left == 0 {
		d.next = d.memDisk.powerCut()
	}
}

// cut tells what a power cut has left, nil if there was none.
func (d *cuttingDisk) cut() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.next
}

// TestUndoIsCutAnywhere: the note that makes an undo exact survives the host, and an undo whose host loses its power at any write is
// begun again; until it has ended, the disk counts as one that has to be resynced in full.
func TestUndoIsCutAnywhere(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	before := forked(p)
	for i := range int64(6) {
		p.a.write(10<<20+i*8192, fill(4, 4096))
	}
	file := filepath.Join(t.TempDir(), "b.side")
	p.heal(p.b, p.a, file, false)
	p.whole()
	n := p.b
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	n.stop(true)
	var cutting *cuttingDisk
	cuts, blank := 0, 0
	for {
		n.config = func(c *Config) {
			cutting = &cuttingDisk{memDisk: n.disk}
			c.OpenDisk = func(string) (disk.Device, error) { return cutting, nil }
		}
		n.start()
		n.view(api.VolumeView{})
		n.ok(api.VolumeDo{Verb: api.VolumeAttach})
		if n.last() != nil && n.last().Disk == "Inconsistent" {
			blank++
		}
		cutting.mu.Lock()
		cutting.left = cuts + 1
		cutting.mu.Unlock()
		n.undo(file, false)
		st := n.until("an end", func(s *api.VolumeStatus) bool { return s.Heal != nil && s.Heal.Phase.Ended() })
		next := cutting.cut()
		if next == nil {
			if st.Heal.Phase != api.HealUndone {
				t.Fatalf("%+v", st.Heal)
			}
			break
		}
		cuts++
		os.RemoveAll(n.root.Run())
		n.kill()
		n.disk = next
	}
	if cuts < 6 || blank < 3 {
		t.Errorf("only %d cuts, %d of them with blocks half written", cuts, blank)
	}
	if !bytes.Equal(n.image(), before) {
		t.Error("the disk is not what it was before the heal")
	}
}

// faultySide is a file that fails at a chosen call, like a full disk, or stops there until it is let go.
type faultySide struct {
	SideStore
	mu    sync.Mutex
	calls int
	at    int // the call that fails; 0: none
	err   error
	met   bool
	watch func(kept bool) // called before and after each Keep
}

func (s *faultySide) call() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls++; s.calls == s.at {
		s.met = true
		return s.err
	}
	return nil
}

func (s *faultySide) Write(p []byte) (int, error) {
	if err := s.call(); err != nil {
		n, _ := s.SideStore.Write(p[:len(p)/2]) // a full disk takes a part
		return n, err
	}
	return s.SideStore.Write(p)
}

func (s *faultySide) Keep() error {
	if s.watch != nil {
		s.watch(false)
	}
	if err := s.call(); err != nil {
		return err
	}
	err := s.SideStore.Keep()
	if s.watch != nil {
		s.watch(err == nil)
	}
	return err
}

// failed tells whether the error was met.
func (s *faultySide) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.met
}

// TestSavingFailsAtEveryCall: with no room for the blocks, or with an error at any call, the heal fails and the losing side is
// what it was: data, generations, state. With room it succeeds then.
func TestSavingFailsAtEveryCall(t *testing.T) {
	p := newPair(t, "")
	var side *faultySide
	at := 0
	p.b.config = func(c *Config) {
		c.CreateSide = func(path string) (SideStore, error) {
			s, err := createSide(path)
			if err != nil {
				return nil, err
			}
			side = &faultySide{SideStore: s, at: at, err: syscall.ENOSPC}
			return side, nil
		}
	}
	p.synced()
	before := forked(p)
	was, sb := p.b.last(), p.b.superblock()
	dir := t.TempDir()
	for at = 1; ; at++ {
		file := filepath.Join(dir, fmt.Sprintf("b%d.side", at))
		r := p.b.do(api.VolumeDo{Verb: api.VolumeHeal, File: file})
		p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
		if r.Code == 0 {
			p.b.until("an end", func(s *api.VolumeStatus) bool { return s.Heal.Phase.Ended() })
		}
		if !side.failed() {
			break
		}
		why := r.Error
		if r.Code == 0 {
			why = p.b.untilHeal(api.HealFailed).Error
		}
		if !strings.Contains(why, "no space left on device") || !strings.Contains(why, file) {
			t.Fatalf("call %d: %s", at, why)
		}
		st := p.b.untilState("StandAlone", "UpToDate", "DUnknown")
		if st.CurrentUUID != was.CurrentUUID || !bytes.Equal(sb, p.b.superblock()) || !bytes.Equal(before, p.b.image()) {
			t.Fatalf("call %d failed, and the losing side is not what it was", at)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
			t.Fatalf("call %d: %v was left", at, left)
		}
	}
	if at < 6 {
		t.Errorf("only %d calls", at)
	}
	p.whole()
}

// TestNothingIsDiscardedBeforeItIsSaved: until the file is durable the disk is what it was, and a power cut then leaves a side that
// can be healed again; the peer writes all the while, so that it has to be saved in more than one go.
func TestNothingIsDiscardedBeforeItIsSaved(t *testing.T) {
	p := newPair(t, "")
	cut := make(chan struct{})
	reached := make(chan struct{}, 1)
	var before []byte
	p.b.config = func(c *Config) {
		c.CreateSide = func(path string) (SideStore, error) {
			s, err := createSide(path)
			side := &faultySide{SideStore: s}
			side.watch = func(kept bool) {
				if !kept {
					if !bytes.Equal(before, p.b.image()) {
						t.Error("a block was replaced before it was saved")
					}
					select {
					case reached <- struct{}{}:
					default:
					}
					<-cut
				}
			}
			return side, err
		}
	}
	p.synced()
	before = forked(p)
	sb := p.b.superblock()
	dir := t.TempDir()
	p.heal(p.b, p.a, filepath.Join(dir, "1.side"), true) // more than a peer would wait for
	<-reached
	stopped := p.b.disk
	next := stopped.powerCut()
	os.RemoveAll(p.b.root.Run())
	close(cut)
	p.b.kill()
	p.b.disk = next
	if _, err := os.Stat(filepath.Join(dir, "1.side")); err == nil {
		t.Log("the file was kept before the process ended")
	}
	p.a.write(12<<20, fill(6, 64<<10))
	p.b.start()
	p.b.view(api.VolumeView{})
	p.b.ok(api.VolumeDo{Verb: api.VolumeAttach})
	if !bytes.Equal(before, p.b.image()) || !bytes.Equal(sb[:40], p.b.superblock()[:40]) {
		t.Fatal("a power cut while saving has changed the losing side")
	}
	p.heal(p.b, p.a, filepath.Join(dir, "2.side"), false)
	p.whole()
	if !bytes.Equal(before, applied(t, filepath.Join(dir, "2.side"), p.b.image())) {
		t.Error("the file and the survivor's blocks do not make the losing side")
	}
}

// TestHealLosesTheConnection: while the blocks are saved the survivor goes away, writes more, and comes back: that is saved too
// before anything is replaced.
func TestHealLosesTheConnection(t *testing.T) {
	p := newPair(t, "")
	reached, on := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.b.config = func(c *Config) {
		c.CreateSide = func(path string) (SideStore, error) {
			s, err := createSide(path)
			return &faultySide{SideStore: s, watch: func(bool) { once.Do(func() { close(reached); <-on }) }}, err
		}
	}
	p.synced()
	before := forked(p)
	file := filepath.Join(t.TempDir(), "b.side")
	p.heal(p.b, p.a, file, false)
	<-reached
	p.a.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.a.untilState("StandAlone", "UpToDate", "DUnknown")
	p.a.write(24<<20, fill(8, 256<<10))
	close(on)
	p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.whole()
	if !bytes.Equal(before, applied(t, file, p.b.image())) {
		t.Error("the file does not hold the losing side")
	}
}
