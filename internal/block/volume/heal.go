package volume

import (
	"errors"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/saved"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
)

// Heal of a split brain (S8). The losing side connects, learns from the peer's bitmap what differs, and saves its own content of
// all that before its bitmap goes back, that is before the peer may send anything. If that is much, the connection is given back
// while it is saved, and made again; only what the peer has written meanwhile is left to be saved then. Until the file is
// durable nothing on the disk has changed. See peer/heal.go for the states.

// healState is the heal, or the undo, under way, or the last one.
type healState struct {
	status api.HealStatus
	side   *sideFile
	look   bool
	whole  bool
	kept   *metadata.Bitmap // saved durably or at least written to the file
	todo   *metadata.Bitmap // to be saved
	saving bool             // a job is under way
	paused bool             // the connection was given back meanwhile
	note   *healed          // the heal that can be undone exactly; nil if none
}

// busy tells whether a heal or an undo is under way that has the disk to itself.
func (h *healState) busy() bool {
	p := h.status.Phase
	return p != "" && p != api.HealResyncing && !p.Ended()
}

// healForbids tells what must wait for the end of a heal.
func (e *engine) healForbids(v api.VolumeVerb) api.VolumeReply {
	if !e.heal.busy() {
		return api.VolumeReply{}
	}
	undoing := e.heal.status.Phase == api.HealUndoing || e.heal.status.Phase == api.HealChecking
	switch {
	case v == api.VolumeShow, v == api.VolumeRate, v == api.VolumeSecondary, v == api.VolumeDisconnect && !undoing:
		return api.VolumeReply{}
	case undoing:
		return failed(codeRefused, "%d: State change failed: saved blocks are being written back from %s; wait for the end", e.volume.Minor, e.heal.status.File)
	}
	return failed(codeRefused, "%d: State change failed: this side's blocks are being saved in %s; wait for the end, or drbdadm disconnect %s gives it up",
		e.volume.Minor, e.heal.status.File, e.cfg.Resource.Name)
}

// doHeal begins a heal, or a look at what it would do.
func (e *engine) doHeal(do api.VolumeDo) api.VolumeReply {
	if r := e.machine.MayHeal(); r.Code != 0 {
		return r
	}
	if e.heal.saving {
		return failed(codeRefused, "%d: State change failed: a job of the last heal is still under way; try again", e.volume.Minor)
	}
	h := healState{look: do.Look, whole: do.Whole, note: e.heal.note, kept: metadata.NewBitmap(e.store.size)}
	h.status = api.HealStatus{Phase: api.HealWaiting, File: do.File}
	if !do.Look {
		var err error
		if h.side, err = e.newSide(do); err != nil {
			return failed(codeFailed, "%d: Failure: %v", e.volume.Minor, err)
		}
	}
	if r := e.machine.Heal(e.env(), do.Look); r.Code != 0 {
		if h.side != nil {
			h.side.close()
		}
		return r
	}
	e.heal = h
	e.statusDue = true
	return api.VolumeReply{}
}

// newSide begins the file of the blocks to be saved.
func (e *engine) newSide(do api.VolumeDo) (*sideFile, error) {
	store, err := e.cfg.CreateSide(do.File)
	if err != nil {
		return nil, err
	}
	sb := e.store.sb
	e.machine.Superblock(&sb)
	s := &sideFile{path: do.File, store: store, header: saved.Header{
		ID: randomName(), Resource: e.cfg.Resource.Name, Node: e.cfg.Node, Peer: e.other.Name(), DeviceUUID: sb.DeviceUUID,
		Size: e.store.size, UUIDs: sb.UUIDs, Flags: sb.Flags, Whole: do.Whole, At: e.cfg.Clock.Wall().UnixNano()}}
	if s.writer, err = saved.NewWriter(store, s.header); err != nil {
		return nil, errors.Join(fmt.Errorf("save the losing side's blocks in %s: %w", do.File, err), store.Close())
	}
	return s, nil
}

func (e *engine) healEffect(f *peer.Effect) {
	switch f.Do {
	case peer.HealFound:
		e.healFound(f)
	case peer.HealHold:
		e.healHold()
	default:
		e.healFailed(f.Text)
	}
}

// healFound ends a look: what differs is between what the side that wrote more has written, and what both have.
func (e *engine) healFound(f *peer.Effect) {
	own, all := e.store.bits.Count(), e.store.bits.Bits()
	least, most := max(own, f.Number), min(own+f.Number, all)
	if f.Word != 0 || e.heal.whole {
		least, most = all, all
	}
	bytes := func(n uint64) int64 { return min(int64(n)*metadata.BytesPerBit, e.store.size) }
	e.heal.status = api.HealStatus{Phase: api.HealFound, File: e.heal.status.File, Least: bytes(least), Most: bytes(most)}
	e.statusDue = true
}

// healFailed ends a heal that has changed nothing.
func (e *engine) healFailed(why string) {
	if e.heal.status.Phase.Ended() {
		return
	}
	e.heal.status.Phase, e.heal.status.Error = api.HealFailed, why
	e.heal.kept, e.heal.todo = nil, nil
	if !e.heal.saving { // else the job's end gives it back
		e.closeSide()
	}
	e.statusDue = true
}

func (e *engine) closeSide() {
	if e.heal.side != nil {
		e.heal.status.Bytes = e.heal.side.moved.Load()
		e.heal.side.close()
		e.heal.side = nil
	}
}

// healHold: the connection waits, and the bitmap tells what differs.
func (e *engine) healHold() {
	e.heal.status.Phase = api.HealSaving
	e.statusDue = true
	if e.healMissing()*metadata.BytesPerBit > block.HealInline {
		e.heal.paused = true
		e.machine.HealPause(e.env())
	}
	e.saveNext()
}

// healMissing finds what differs and is not saved, in blocks.
func (e *engine) healMissing() uint64 {
	h := &e.heal
	if h.todo == nil {
		h.todo = metadata.NewBitmap(e.store.size)
	}
	for i := range h.todo.Words() {
		want := e.store.bits.Word(i)
		if h.whole {
			want = ^uint64(0)
		}
		h.todo.OrWord(i, want&^h.kept.Word(i))
	}
	h.status.Total = int64(h.kept.Count()+h.todo.Count()) * metadata.BytesPerBit
	return h.todo.Count()
}

// saveNext saves the next piece, or makes the file durable.
func (e *engine) saveNext() {
	h := &e.heal
	if h.saving {
		return
	}
	j := e.jobs.get()
	j.work, j.purpose, j.dev, j.side = doKeep, forHeal, e.store.data, h.side
	if s, ok := nextPiece(h.todo, e.store.size); ok {
		j.work, j.off, j.length = doSave, s.Start, s.Len()
		j.buffer = e.pool.Get(int(s.Len()))
		j.data = j.buffer.B
	}
	e.beginHealJob(j)
}

// nextPiece finds the first run of set bits, of at most saved.MaxData bytes.
func nextPiece(b *metadata.Bitmap, size int64) (writepath.Span, bool) {
	first, ok := b.NextSet(0)
	if !ok {
		return writepath.Span{}, false
	}
	end, ok := b.NextClear(first)
	if !ok {
		end = b.Bits()
	}
	end = min(end, first+saved.MaxData/metadata.BytesPerBit)
	return writepath.Span{Start: int64(first) * metadata.BytesPerBit, End: min(int64(end)*metadata.BytesPerBit, size)}, true
}

// beginHealJob starts a job that a detach waits for.
func (e *engine) beginHealJob(j *job) {
	e.heal.saving = true
	e.reading++
	e.carry(j)
}

// healJobDone takes a job of a heal or an undo back.
func (e *engine) healJobDone(j *job) {
	h := &e.heal
	h.saving = false
	e.reading--
	e.statusDue = true
	if j.buffer != nil {
		j.buffer.Release()
	}
	err := errors.Join(j.err, j.sideErr)
	switch {
	case j.work == doCheck || j.work == doRestore:
		e.undoJobDone(j, err)
	case h.status.Phase.Ended() || !e.machine.Healing():
		e.closeSide()
	case err != nil:
		e.closeSide()
		e.machine.HealFailed(e.env(), "not healed: "+err.Error())
	case j.work == doSave:
		h.kept.SetBytes(j.off, j.length)
		h.todo.ClearBytes(j.off, j.length, e.store.size)
		e.saveNext()
	default:
		e.healKept()
	}
}

// healKept: all that was to be saved is durable. The peer may have told of more meanwhile.
func (e *engine) healKept() {
	switch {
	case e.heal.paused:
		e.heal.paused = false
		e.machine.HealResume(e.env())
	case e.healMissing() > 0:
		e.saveNext()
	default:
		e.machine.HealSaved(e.env())
	}
}

// healBegins is called before the peer's first block of a resync may be written. Of a heal, what the peer wrote since it got our
// bitmap is saved first, which is little, and the note is stored that makes the undo exact.
func (e *engine) healBegins() error {
	h := &e.heal
	if !e.machine.Healing() {
		return nil
	}
	if h.side == nil || h.saving || h.look {
		return errors.New("the losing side's blocks are not saved yet")
	}
	if err := e.saveRest(); err != nil {
		e.machine.HealFailed(e.env(), "not healed: "+err.Error())
		return err
	}
	note := healed{Version: 1, ID: h.side.header.ID, File: h.side.path}
	if err := e.files.storeHealed(note); err != nil {
		e.machine.HealFailed(e.env(), "not healed: "+err.Error())
		return err
	}
	h.note, h.status.Phase = &note, api.HealResyncing
	e.closeSide()
	h.todo = nil
	e.log.Info("the losing side's blocks are saved", "file", note.File, "bytes", h.status.Bytes)
	return nil
}

func (e *engine) saveRest() error {
	h := &e.heal
	if e.healMissing() == 0 {
		return nil
	}
	buf := e.pool.Get(saved.MaxData)
	defer buf.Release()
	for s, ok := nextPiece(h.todo, e.store.size); ok; s, ok = nextPiece(h.todo, e.store.size) {
		data := buf.B[:s.Len()]
		if err := e.store.data.ReadAt(data, s.Start); err != nil {
			return err
		}
		if err := h.side.add(s.Start, data); err != nil {
			return err
		}
		h.kept.SetBytes(s.Start, s.Len())
		h.todo.ClearBytes(s.Start, s.Len(), e.store.size)
	}
	return h.side.keep()
}

// noteWritten is called before anything is written to the disk. What is not among the saved blocks cannot be undone any more.
func (e *engine) noteWritten(s writepath.Span) {
	h := &e.heal
	if h.note == nil || h.kept != nil && covers(h.kept, s) {
		return
	}
	h.note, h.kept = nil, nil
	if err := e.files.dropHealed(); err != nil {
		e.failure = fmt.Errorf("the volume's state cannot be stored: %w", err)
	}
}

// covers tells whether every block of a span is set.
func covers(b *metadata.Bitmap, s writepath.Span) bool {
	first := uint64(s.Start) / metadata.BytesPerBit
	n := (uint64(s.End)+metadata.BytesPerBit-1)/metadata.BytesPerBit - first
	return b.CountRange(first, n) == n
}

// followHeal notes the end of the resync that a heal began.
func (e *engine) followHeal() {
	h := &e.heal
	if h.status.Phase == api.HealResyncing && e.machine.Conn() == wire.Connected && e.machine.Disk() == generation.UpToDate {
		h.status.Phase = api.HealDone
		e.statusDue = true
	}
}

// healStatus is what people see; nil if there was no heal.
func (e *engine) healStatus() *api.HealStatus {
	if e.heal.status.Phase == "" {
		return nil
	}
	st := e.heal.status
	if e.heal.side != nil {
		st.Bytes = e.heal.side.moved.Load()
	}
	return &st
}
