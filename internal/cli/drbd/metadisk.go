package drbd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"holdfast/internal/api"
	"holdfast/internal/block/backing"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/metastore"
	"holdfast/internal/block/resfile"
)

// metaDisk is the opened disk with a volume's metadata.
type metaDisk struct {
	path   string
	kind   metadata.Kind
	index  int
	text   string // of the index: internal, flex-external, 0
	minor  int
	what   string // for messages: resource mysqlr0 (FILE:LINE); empty if the disk was named itself
	name   string // of the resource, for messages with a command to type
	number int    // of the volume
	dev    *backing.Device
	offset int64            // of the superblock
	store  *metastore.Store // nil if there is no metadata
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
	return fmt.Sprintf("drbdmeta %d v08 %s %s %s", m.minor, m.path, m.text, verb)
}

// volumeMeta is the disk of a volume's metadata, not yet opened.
func volumeMeta(t target, v *resfile.Volume) *metaDisk {
	return &metaDisk{path: v.Meta.On(v.Disk), kind: kindOf(v.Meta.Kind), index: v.Meta.Index, text: v.Meta.IndexText(), minor: v.Minor,
		what: fmt.Sprintf("resource %s (%v)", t.Name, v.Pos), name: t.Name, number: v.Number}
}

// openMeta takes the disk with a volume's metadata for this process alone.
func (c *call) openMeta(t target, v *resfile.Volume) (*metaDisk, error) {
	m := volumeMeta(t, v)
	if err := c.exists(m.path, "disk", t, v.Pos); err != nil {
		return nil, err
	}
	if err := c.notAttached(m); err != nil {
		return nil, err
	}
	if err := m.open(); err != nil {
		return nil, fail(exitSystem, "%s: %v", m.what, err)
	}
	return m, nil
}

func (m *metaDisk) open() error {
	dev, err := backing.Open(m.path)
	if err != nil {
		return err
	}
	m.dev = dev
	m.offset = metadata.SuperblockOffset(m.kind, dev.Size(), m.index)
	return nil
}

// notAttached refuses a disk that a volume process uses. Without a daemon the exclusive open tells.
func (c *call) notAttached(m *metaDisk) error {
	all, err := c.volumesOf(m.name)
	if err == nil && slices.ContainsFunc(all, func(v api.VolumeStatus) bool { return v.Volume == m.number && v.Disk != "Diskless" }) {
		return fail(exitSystem, "Device '%d' is configured!\nCommand '%s' terminated with exit code 20", m.minor, m.command(c.verb.name))
	}
	return nil
}

// read leaves m.store nil if there is no metadata.
func (m *metaDisk) read() error {
	s, err := metastore.Open(m.dev, m.kind, m.index)
	switch {
	case err == nil:
		m.store = s
	case errors.Is(err, metadata.ErrNoMetadata):
		return nil
	case s != nil: // there is metadata, but not what the configuration says
		m.store = s
		return fail(exitFailed, "%s: %v", m.path, err)
	}
	return err
}

// needMetadata reads metadata that must be there.
func (m *metaDisk) needMetadata() error {
	if err := m.read(); err != nil || m.store != nil {
		return err
	}
	if m.what == "" {
		return fail(exitUsage, "No valid meta data found")
	}
	return fail(exitUsage, "No valid meta data found on %s of resource %s: drbdadm create-md %s", m.path, m.name, m.name)
}

// eachDisk opens the disk with the metadata of each volume of a target.
func (c *call) eachDisk(t target, f func(*metaDisk) error) error {
	for _, v := range t.volumes {
		m, err := c.openMeta(t, v)
		if err != nil {
			return err
		}
		if err := errors.Join(f(m), m.dev.Close()); err != nil {
			return err
		}
	}
	return nil
}

// eachMetadata opens and reads the metadata of each volume of a target.
func (c *call) eachMetadata(t target, f func(*metaDisk) error) error {
	return c.eachDisk(t, func(m *metaDisk) error {
		if err := m.needMetadata(); err != nil {
			return err
		}
		return f(m)
	})
}

// diskWord is the state of a disk as show-gi names it: what is Consistent was UpToDate.
func diskWord(sb *metadata.Superblock) string {
	if s := sb.Disk(); s != generation.Consistent {
		return s.String()
	}
	return generation.UpToDate.String()
}

// lastSize is the file with the size a minor's disk was last seen with, as drbdmeta keeps it: the metadata of a disk that has
// grown is found by it.
func (c *call) lastSize(minor int) string {
	return filepath.Join("/", string(c.Root), fmt.Sprintf("var/lib/drbd/drbd-minor-%d.lkbd", minor))
}

// noteSize keeps the size of a disk with internal metadata.
func (c *call) noteSize(m *metaDisk) error {
	if m.kind != metadata.Internal {
		return nil
	}
	text := fmt.Sprintf("%d\t%s\n", m.dev.Size(), m.path)
	if m.store != nil && m.store.SB.DeviceUUID != 0 {
		text += fmt.Sprintf("uuid:\t%016X\n", m.store.SB.DeviceUUID)
	}
	return c.writeSize(m.minor, text)
}

func (c *call) writeSize(minor int, text string) error {
	file := c.lastSize(minor)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("note the size of minor %d's disk: %w", minor, err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("note the size of minor %d's disk: %w", minor, err)
	}
	return nil
}

// notedSize reads what noteSize, or drbdmeta, kept; 0 if there is nothing of use.
func (c *call) notedSize(minor int) int64 {
	text, err := os.ReadFile(c.lastSize(minor))
	if err != nil {
		return 0
	}
	var size int64
	if _, err := fmt.Sscanf(string(text), "%d\t", &size); err != nil {
		return 0
	}
	return size
}
