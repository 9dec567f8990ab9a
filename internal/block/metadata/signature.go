package metadata

import (
	"bytes"
	"encoding/binary"
)

// ProbeSize is how much of a disk's beginning Recognise wants to see, in bytes.
const ProbeSize = 128 << 10

// Content is what a disk holds already.
type Content struct {
	// Name is for people: ext4 filesystem, LVM physical volume, some data.
	Name string
	// Used is how many bytes of the disk it takes, 0 when that is not known.
	Used int64
}

// signature is a mark at a fixed place.
type signature struct {
	offset int
	mark   string
	name   string
	used   func(p []byte) int64
}

// Recognise looks at the beginning of a disk and tells what is there. The formats are as libblkid(3) and the respective
// on-disk documentation describe them. found is false for a disk that begins with zeros only.
func Recognise(p []byte) (c Content, found bool) {
	for _, s := range [...]signature{
		{0x438, "\x53\xef", "", extUsed},
		{0, "XFSB", "xfs filesystem", xfsUsed},
		{0x10040, "_BHRfS_M", "btrfs filesystem", btrfsUsed},
		{4086, "SWAPSPACE2", "swap space signature", nil},
		{0, "LUKS\xba\xbe", "LUKS container", nil},
		{512, "LABELONE", "LVM physical volume", nil},
		{512, "EFI PART", "GPT partition table", nil},
		{4096, "\xfc\x4e\x2b\xa9", "md raid member", nil},
	} {
		if len(p) < ProbeSize || string(p[s.offset:s.offset+len(s.mark)]) != s.mark {
			continue
		}
		c.Name = s.name
		if s.name == "" {
			c.Name = extName(p)
		}
		if s.used != nil {
			c.Used = max(s.used(p), 0)
		}
		return c, true
	}
	switch {
	case dosPartitions(p):
		return Content{Name: "DOS partition table"}, true
	case len(bytes.TrimLeft(p, "\x00")) > 0:
		return Content{Name: "some data"}, true
	}
	return c, false
}

const extSuper = 1024

// extName tells the generations of ext apart by their features: a journal, extents.
func extName(p []byte) string {
	const compat, incompat, journal, extents = extSuper + 0x5c, extSuper + 0x60, 0x4, 0x40
	switch {
	case binary.LittleEndian.Uint32(p[incompat:])&extents != 0:
		return "ext4 filesystem"
	case binary.LittleEndian.Uint32(p[compat:])&journal != 0:
		return "ext3 filesystem"
	}
	return "ext2 filesystem"
}

func extUsed(p []byte) int64 {
	const maxShift = 16
	shift := binary.LittleEndian.Uint32(p[extSuper+0x18:])
	if shift > maxShift {
		return 0
	}
	return int64(binary.LittleEndian.Uint32(p[extSuper+4:])) << (10 + shift)
}

func xfsUsed(p []byte) int64 {
	return int64(binary.BigEndian.Uint32(p[4:])) * int64(binary.BigEndian.Uint64(p[8:])&(1<<40-1))
}

func btrfsUsed(p []byte) int64 { return int64(binary.LittleEndian.Uint64(p[0x10070:])) }

// dosPartitions: the boot signature, and a partition that is not empty.
func dosPartitions(p []byte) bool {
	const table, entry, entries = 446, 16, 4
	if len(p) < SectorSize || p[510] != 0x55 || p[511] != 0xaa {
		return false
	}
	for i := range entries {
		if p[table+i*entry+4] != 0 {
			return true
		}
	}
	return false
}
