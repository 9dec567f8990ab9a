package volume

import (
	"errors"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/saved"
)

// The undo of a heal: the saved blocks are written back, and the disk is what it was, generations included. It is done only
// where that is exact: the file has the whole volume, or nothing but saved blocks has been written since the heal. Two
// histories are never mixed.

// doUndo begins with reading the whole file.
func (e *engine) doUndo(do api.VolumeDo) api.VolumeReply {
	if r := e.machine.MayHeal(); r.Code != 0 {
		return r
	}
	if e.heal.saving {
		return failed(codeRefused, "%d: State change failed: a job of the last heal is still under way; try again", e.volume.Minor)
	}
	e.heal = healState{look: do.Look, note: e.heal.note, side: &sideFile{path: do.File}}
	e.heal.status = api.HealStatus{Phase: api.HealChecking, File: do.File}
	j := e.jobs.get()
	j.work, j.purpose, j.side = doCheck, forHeal, e.heal.side
	e.beginHealJob(j)
	e.statusDue = true
	return api.VolumeReply{}
}

func (e *engine) undoJobDone(j *job, err error) {
	if err == nil && j.work == doCheck {
		err = e.undoRefusal(j.side.header)
		e.heal.status.Total = j.side.total
	}
	switch {
	case err != nil:
		e.healFailed("not undone: " + err.Error())
	case j.work == doRestore:
		e.undone(j.side.header)
	case e.heal.look:
		e.heal.status.Phase, e.heal.status.Least, e.heal.status.Most = api.HealFound, j.side.total, j.side.total
		e.closeSide()
	default:
		e.restore()
	}
}

// undoRefusal says why the file's blocks would not make the disk what it was.
func (e *engine) undoRefusal(h saved.Header) error {
	note := e.heal.note
	switch {
	case e.store == nil:
		return errors.New("the disk is gone")
	case h.DeviceUUID != e.store.sb.DeviceUUID:
		return fmt.Errorf("the blocks are of another disk (%016X of volume %s on %s), this one is %016X", h.DeviceUUID, h.Resource, h.Node, e.store.sb.DeviceUUID)
	case h.Size != e.store.size:
		return fmt.Errorf("the volume had %d bytes when its blocks were saved, now it has %d", h.Size, e.store.size)
	case h.Whole || note != nil && note.ID == h.ID:
		return nil
	}
	return errors.New("the volume has been written to since the heal, so that the saved blocks and the rest of the disk are no longer of one moment; " +
		"only a file made with --whole can then be written back. The blocks can still be put onto a copy of the disk: holdfast drbd heal --extract")
}

// restore writes the blocks back.
func (e *engine) restore() {
	if r := e.machine.UndoBegin(e.env()); r.Code != 0 {
		e.healFailed("not undone: " + r.Error)
		return
	}
	e.heal.status.Phase = api.HealUndoing
	e.settle() // the disk counts as blank, durably, before its first block is changed
	if e.store == nil || !e.machine.HasDisk() {
		e.healFailed("not undone: the disk has failed")
		return
	}
	j := e.jobs.get()
	j.work, j.purpose, j.dev, j.side = doRestore, forHeal, e.store.data, e.heal.side
	e.beginHealJob(j)
}

// undone: the disk is what it was.
func (e *engine) undone(h saved.Header) {
	e.closeSide()
	e.machine.UndoEnd(e.env(), h.UUIDs, h.Flags)
	e.settle()
	if !e.machine.HasDisk() { // it can be begun again
		e.healFailed("not undone: the disk has failed")
		return
	}
	e.heal.note, e.heal.status.Phase = nil, api.HealUndone
	if err := e.files.dropHealed(); err != nil {
		e.failure = fmt.Errorf("the volume's state cannot be stored: %w", err)
	}
}
