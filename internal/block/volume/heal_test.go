package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/saved"
)

// forked is a pair whose two sides have both been written to alone. b, to be given up, is Secondary again; both are StandAlone or
// wait, and a is Primary. It returns b's disk as it is.
func forked(p *pair) []byte {
	p.t.Helper()
	for _, n := range []*node{p.a, p.b} {
		n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	}
	p.b.untilState("StandAlone", "UpToDate", "DUnknown")
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	p.a.write(0, fill(1, 4096))
	p.a.write(4<<20, fill(1, 128<<10))
	p.b.write(0, fill(2, 8192))
	p.b.write(1<<20, fill(2, 64<<10))
	must(p.t, p.b.wait(p.b.submit(kernel.Discard, 8<<20, nil, 64<<10)))
	p.b.flush()
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	return p.b.image()
}

// image is the content of the volume's data area.
func (n *node) image() []byte { return n.disk.content(n.size()) }

// heal begins a heal that gives n up, and has the other side wait for it.
func (p *pair) heal(n, keep *node, file string, whole bool) {
	p.t.Helper()
	n.ok(api.VolumeDo{Verb: api.VolumeHeal, File: file, Whole: whole})
	keep.ok(api.VolumeDo{Verb: api.VolumeConnect})
}

// untilHeal waits for a phase of a heal.
func (n *node) untilHeal(phase api.HealPhase) *api.HealStatus {
	n.t.Helper()
	return n.until("heal "+string(phase), func(s *api.VolumeStatus) bool { return s.Heal != nil && s.Heal.Phase == phase }).Heal
}

func (n *node) undo(file string, look bool) {
	n.t.Helper()
	n.ok(api.VolumeDo{Verb: api.VolumeHealUndo, File: file, Look: look})
}

func (p *pair) whole() {
	p.t.Helper()
	p.b.untilHeal(api.HealDone)
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.identical()
}

// TestHealAndUndo: the losing side's blocks are saved, the survivor's replace them, and the undo makes the disk what it was, byte
// for byte; then it is a split brain again, which can be settled the other way round.
func TestHealAndUndo(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole %v", whole), func(t *testing.T) {
			p := newPair(t, "")
			p.synced()
			before := forked(p)
			was := p.b.last()
			file := filepath.Join(t.TempDir(), "dir", "b.side")
			p.heal(p.b, p.a, file, whole)
			p.whole()
			if got := p.a.read(4<<20, 4096); got[0] != 1 {
				t.Error("the survivor's data is gone")
			}
			h := p.b.last().Heal
			want := int64(1+32+1+16+16) * 4096
			if whole {
				want = p.b.size()
			}
			if h.Bytes != want {
				t.Errorf("%d bytes were saved of %d, want %d", h.Bytes, h.Total, want)
			}
			if whole {
				p.a.write(16<<20, fill(9, 4096)) // what was saved is the whole volume: later writes do not matter
			}
			p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
			p.b.undo(file, false)
			p.b.untilHeal(api.HealUndone)
			if !bytes.Equal(p.b.image(), before) {
				t.Fatal("the disk is not what it was before the heal")
			}
			if st := p.b.untilState("StandAlone", "UpToDate", "DUnknown"); st.CurrentUUID != was.CurrentUUID || st.History[0] != was.BitmapUUID {
				t.Errorf("generations %s %s %s, they were %s %s", st.CurrentUUID, st.BitmapUUID, st.History, was.CurrentUUID, was.BitmapUUID)
			}

			// It is the split brain again, and the other side may be the one to go.
			p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
			for _, n := range []*node{p.a, p.b} {
				n.until("no resync", func(s *api.VolumeStatus) bool { return s.Conn == "StandAlone" || s.Conn == "WFConnection" })
			}
			if !bytes.Equal(p.b.image(), before) {
				t.Fatal("two histories were mixed")
			}
			p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
			p.a.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
			p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
			p.heal(p.a, p.b, filepath.Join(t.TempDir(), "a.side"), false)
			p.a.untilHeal(api.HealDone)
			p.b.untilState("Connected", "UpToDate", "UpToDate")
			p.identical()
			if !bytes.Equal(p.b.image(), before) {
				t.Error("the side that was kept has changed")
			}
		})
	}
}

// TestUndoIsExactOrRefused: after the application has written elsewhere, the saved blocks and the rest are not of one moment.
func TestUndoIsExactOrRefused(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	before := forked(p)
	file := filepath.Join(t.TempDir(), "b.side")
	p.heal(p.b, p.a, file, false)
	p.whole()
	p.a.write(0, fill(5, 4096)) // among the saved blocks: the undo brings the former content back
	p.b.undoLook(file, api.HealFound, "")
	p.a.write(20<<20, fill(5, 4096))
	p.b.undoLook(file, api.HealFailed, "written to since the heal")
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.b.restart(true) // nor does it forget that
	p.b.view(api.VolumeView{})
	p.b.ok(api.VolumeDo{Verb: api.VolumeAttach})
	p.b.undo(file, false)
	if h := p.b.untilHeal(api.HealFailed); !strings.Contains(h.Error, "written to since the heal") {
		t.Errorf("%+v", h)
	}
	if bytes.Equal(p.b.image(), before) || p.b.last().Disk != "UpToDate" {
		t.Error("the disk was changed by an undo that was refused")
	}
}

// TestUndoKnowsOfAnotherProgram: the disk was used by another program since the heal, as by the kernel's module; this process's
// own ends, clean and unclean, leave the undo possible.
func TestUndoKnowsOfAnotherProgram(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	before := forked(p)
	file := filepath.Join(t.TempDir(), "b.side")
	p.heal(p.b, p.a, file, false)
	p.whole()
	for _, lost := range []bool{false, true} {
		p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
		if !lost {
			p.b.ok(api.VolumeDo{Verb: api.VolumeDetach})
		}
		p.b.again(lost)
		p.b.undo(file, true)
		p.b.untilHeal(api.HealFound)
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeDetach})
	other := newNode(t, "b", p.b.res, 0)
	other.disk = p.b.disk
	other.start()
	other.view(api.VolumeView{})
	other.ok(api.VolumeDo{Verb: api.VolumeAttach})
	other.ok(api.VolumeDo{Verb: api.VolumePrimary})
	other.write(20<<20, fill(7, 4096))
	other.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	other.ok(api.VolumeDo{Verb: api.VolumeDetach})
	other.kill()
	p.b.again(false)
	p.b.undo(file, false)
	if h := p.b.untilHeal(api.HealFailed); !strings.Contains(h.Error, "written to since the heal") {
		t.Errorf("%+v", h)
	}
	if bytes.Equal(p.b.image(), before) {
		t.Error("the disk was changed by an undo that was refused")
	}
}

// again has another process attach the disk.
func (n *node) again(lost bool) {
	n.t.Helper()
	n.restart(lost)
	n.view(api.VolumeView{})
	n.ok(api.VolumeDo{Verb: api.VolumeAttach})
}

// undoLook disconnects, looks at what an undo would do, and connects again.
func (n *node) undoLook(file string, phase api.HealPhase, why string) {
	n.t.Helper()
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	n.undo(file, true)
	if h := n.untilHeal(phase); !strings.Contains(h.Error, why) {
		n.t.Errorf("%+v", h)
	}
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	n.untilState("Connected", "UpToDate", "UpToDate")
}

// TestHealLook changes nothing, on either side.
func TestHealLook(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	before := forked(p)
	was, sb := p.b.last(), p.b.superblock()
	p.b.ok(api.VolumeDo{Verb: api.VolumeHeal, Look: true})
	p.a.ok(api.VolumeDo{Verb: api.VolumeConnect})
	h := p.b.untilHeal(api.HealFound)
	if least, most := int64(2+16+16)*4096, int64(2+16+16+1+32)*4096; h.Least != least || h.Most != most {
		t.Errorf("%d to %d bytes, want %d to %d", h.Least, h.Most, least, most)
	}
	st := p.b.untilState("StandAlone", "UpToDate", "DUnknown")
	if st.CurrentUUID != was.CurrentUUID || !bytes.Equal(sb, p.b.superblock()) || !bytes.Equal(before, p.b.image()) {
		t.Error("looking has changed something")
	}
	p.a.until("the survivor still waits", func(s *api.VolumeStatus) bool { return s.Conn == "WFConnection" })
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.b.until("still a split brain", func(s *api.VolumeStatus) bool {
		return s.Conn == "StandAlone" || p.a.last().Conn == "StandAlone"
	})
}

// superblock is the disk's, as it is durable.
func (n *node) superblock() []byte {
	n.t.Helper()
	l, err := metadata.NewLayout(metadata.Internal, n.disk.Size(), 0, metadata.DefaultStripes())
	must(n.t, err)
	p := make([]byte, metadata.BlockSize)
	must(n.t, n.disk.ReadAt(p, l.Superblock))
	return p
}

// TestHealRefusals: what is no split brain that giving this side up would settle is left alone.
func TestHealRefusals(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	file := filepath.Join(t.TempDir(), "b.side")
	refused := func(n *node, do api.VolumeDo, why string) {
		t.Helper()
		if r := n.do(do); r.Code == 0 || !strings.Contains(r.Error, why) {
			t.Errorf("%s: %+v", do.Verb, r)
		}
	}
	refused(p.b, api.VolumeDo{Verb: api.VolumeHeal, File: file}, "is connected")
	refused(p.a, api.VolumeDo{Verb: api.VolumeHeal, File: file}, "Primary")
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	refused(p.b, api.VolumeDo{Verb: api.VolumeHeal, File: "relative"}, "no absolute path")
	must(t, os.WriteFile(file, nil, 0o600))
	refused(p.b, api.VolumeDo{Verb: api.VolumeHeal, File: file}, "exists")
	must(t, os.Remove(file))

	// b is behind, a has not diverged from it.
	p.a.untilState("WFConnection", "UpToDate", "DUnknown")
	p.a.write(0, fill(3, 4096))
	before := p.b.image()
	p.b.ok(api.VolumeDo{Verb: api.VolumeHeal, File: file})
	if h := p.b.untilHeal(api.HealFailed); !strings.Contains(h.Error, "not in a split brain") {
		t.Errorf("%+v", h)
	}
	p.b.untilState("StandAlone", "UpToDate", "DUnknown")
	if !bytes.Equal(before, p.b.image()) {
		t.Error("the disk was changed")
	}
	for _, name := range []string{file, file + partSuffix} {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("%s was left", name)
		}
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	p.b.untilState("Connected", "UpToDate", "UpToDate")

	// An operator ends the wait for a peer that does not come.
	forked(p)
	p.b.ok(api.VolumeDo{Verb: api.VolumeHeal, File: file})
	refused(p.b, api.VolumeDo{Verb: api.VolumePrimary}, "are being saved")
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	if h := p.b.untilHeal(api.HealFailed); h.Error != "disconnected by the operator" {
		t.Errorf("%+v", h)
	}
	// What is in a cluster's log has that to say who is good.
	p.b.view(api.VolumeView{Bound: true, Adopted: true, Epoch: 1})
	p.b.until("adopted", func(s *api.VolumeStatus) bool { return s.Adopted })
	refused(p.b, api.VolumeDo{Verb: api.VolumeHeal, File: file}, "in a cluster's log")
}

// applied puts a file's blocks onto an image.
func applied(t *testing.T, file string, image []byte) []byte {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	r, err := saved.NewReader(f)
	must(t, err)
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return image
		}
		must(t, err)
		clear(image[b.Offset : b.Offset+b.Length])
		copy(image[b.Offset:], b.Content)
	}
}

// TestHealUnderLoad: the survivor's application writes while the other side is saved and resynced; everything that differed at any
// time before the resync is in the file.
func TestHealUnderLoad(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	before := forked(p)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				p.a.write(int64(i%64)*4096, fill(byte(i), 4096))
			}
		}
	}()
	file := filepath.Join(t.TempDir(), "b.side")
	p.heal(p.b, p.a, file, true)
	p.b.untilHeal(api.HealDone)
	close(stop)
	<-ended
	p.a.flush()
	p.whole()
	if !bytes.Equal(before, applied(t, file, p.b.image())) {
		t.Error("the file does not hold the losing side")
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	p.b.undo(file, false)
	p.b.untilHeal(api.HealUndone)
	if !bytes.Equal(before, p.b.image()) {
		t.Error("the undo is not exact")
	}
}

// TestHealBeforeAdoption: a cluster was set up over a split brain; the volume is not in its log, and can be healed.
func TestHealBeforeAdoption(t *testing.T) {
	p := newPair(t, "")
	p.synced()
	before := forked(p)
	newFakeLog(p).bind()
	for _, n := range []*node{p.a, p.b} {
		n.until("bound", func(s *api.VolumeStatus) bool { return s.Bound && !s.Adopted })
	}
	file := filepath.Join(t.TempDir(), "b.side")
	p.heal(p.b, p.a, file, true)
	p.whole()
	p.a.write(0, fill(9, 4096))
	if !bytes.Equal(before, applied(t, file, p.b.image())) {
		t.Error("the file does not hold the losing side")
	}
}
