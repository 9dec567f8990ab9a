package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"holdfast/internal/block/backing"
)

// Between a clean detach and the next attach another program may have the disk: the kernel's module, or a holdfast of another
// root, uses the same metadata. What it has written nobody here has seen, so that saved blocks can no longer be written back
// exactly. Whoever attaches writes a new activity log: that the metadata are not as this volume left them tells.

// left is a digest of superblock and activity log as they are on the disk.
func (s *store) left() (string, error) {
	area := backing.Buffer(int(s.layout.ALSize))
	if err := s.meta.ReadAt(area, s.layout.AL); err != nil {
		return "", fmt.Errorf("read the activity log: %w", err)
	}
	h := sha256.New()
	h.Write(s.written)
	h.Write(area)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// healLeft notes, after a clean detach, how the metadata were left. If that cannot be stored, the heal cannot be undone exactly.
func (e *engine) healLeft(s *store) {
	if e.heal.note == nil {
		return
	}
	left, err := s.left()
	if err == nil {
		note := *e.heal.note
		note.Left = left
		if err = e.files.storeHealed(note); err == nil {
			e.heal.note = &note
		}
	}
	if err != nil {
		e.log.Warn("the last heal cannot be undone exactly any more", "err", err)
	}
}

// healUntouched forgets, at an attach and before anything is written, that a heal can be undone exactly if another program has had
// the disk. After an unclean end the metadata are as this volume left them if it was attached at the time.
func (e *engine) healUntouched(s *store) error {
	note := e.heal.note
	if note == nil {
		return nil
	}
	left := ""
	if !s.sb.Unclean {
		var err error
		if left, err = s.left(); err != nil {
			return err
		}
	}
	if note.Left != left {
		e.log.Warn("another program has had the disk since the last heal, which cannot be undone exactly any more", "file", note.File)
		e.heal.note, e.heal.kept = nil, nil
		return e.files.dropHealed()
	}
	attached := *note
	attached.Left = ""
	e.heal.note = &attached
	return e.files.storeHealed(attached)
}
