package drbd

import (
	"errors"
	"fmt"

	"holdfast/internal/block/backing"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/resfile"
)

// metaDisk is the opened disk with a volume's metadata.
type metaDisk struct {
	t      target
	v      *resfile.Volume
	path   string
	dev    *backing.Device
	kind   metadata.Kind
	offset int64 // of the superblock
	sb     *metadata.Superblock
}

func kindOf(k resfile.MetaKind) metadata.Kind {
	switch k {
	case resfile.MetaIndexed:
		return metadata.Indexed
	case resfile.MetaFlexible:
		return metadata.Flexible
	}
	return metadata.Internal
}

// command is what drbdadm would have run, for messages.
func (m *metaDisk) command(verb string) string {
	return fmt.Sprintf("drbdmeta %d v08 %s %s %s", m.v.Minor, m.path, m.v.Meta.IndexText(), verb)
}

// openMeta takes the disk with a volume's metadata for this process alone.
func (c *call) openMeta(t target, v *resfile.Volume) (*metaDisk, error) {
	m := &metaDisk{t: t, v: v, path: v.Meta.On(v.Disk), kind: kindOf(v.Meta.Kind)}
	if err := c.exists(m.path, "disk", t, v.Pos); err != nil {
		return nil, err
	}
	if err := c.notAttached(m); err != nil {
		return nil, err
	}
	dev, err := backing.Open(m.path)
	if err != nil {
		return nil, fail(exitSystem, "resource %s (%v): %v", t.Name, v.Pos, err)
	}
	m.dev = dev
	m.offset = metadata.SuperblockOffset(m.kind, dev.Size(), v.Meta.Index)
	return m, nil
}

// notAttached refuses a disk that a volume process uses. Without a daemon the exclusive open tells.
func (c *call) notAttached(m *metaDisk) error {
	v, up, err := c.volume(m.t.Name)
	if err == nil && up && v.Disk != "Diskless" {
		return fail(exitSystem, "Device '%d' is configured!\nCommand '%s' terminated with exit code 20", m.v.Minor, m.command(c.verb.name))
	}
	return nil
}

// readSuperblock leaves m.sb nil if there is none.
func (m *metaDisk) readSuperblock() error {
	if m.offset < 0 || m.offset > m.dev.Size()-metadata.BlockSize {
		return nil
	}
	p := backing.Buffer(metadata.BlockSize)
	if err := m.dev.ReadAt(p, m.offset); err != nil {
		return fmt.Errorf("read the superblock of %s: %w", m.t.Name, err)
	}
	var sb metadata.Superblock
	err := sb.Decode(p)
	if err == nil {
		m.sb = &sb
	}
	if errors.Is(err, metadata.ErrNoMetadata) {
		return nil
	}
	return err
}

// eachMetadata opens and reads the metadata of each volume of a target.
func (c *call) eachMetadata(t target, f func(*metaDisk) error) error {
	for _, v := range t.volumes {
		m, err := c.openMeta(t, v)
		if err != nil {
			return err
		}
		err = m.readSuperblock()
		if err == nil && m.sb == nil {
			err = fail(exitUsage, "No valid meta data found on %s of resource %s: drbdadm create-md %s", m.path, t.Name, t.Name)
		}
		if err == nil {
			err = f(m)
		}
		if err := errors.Join(err, m.dev.Close()); err != nil {
			return err
		}
	}
	return nil
}

// diskWord is the state of a disk as drbdmeta names it: what is Consistent was UpToDate.
func diskWord(sb *metadata.Superblock) string {
	if s := sb.Disk(); s != generation.Consistent {
		return s.String()
	}
	return generation.UpToDate.String()
}
