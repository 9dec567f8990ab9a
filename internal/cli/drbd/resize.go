package drbd

import (
	"fmt"
	"io"
	"os"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
)

// resize has a device in use take the size its disks have room for, or --size.
func (c *call) resize() error {
	do := api.VolumeDo{Verb: api.VolumeResize}
	if text, given := c.values["--size"]; given {
		size, err := sizeWord(text)
		if err != nil || size <= 0 {
			return fail(exitUsage, "resize: --size='%s' is not a size, such as 10G, 20480s or 20480 (sectors)", text)
		}
		do.SizeBytes = size
	}
	_, do.AssumePeerHasSpace = c.values["--assume-peer-has-space"]
	_, do.AssumeClean = c.values["--assume-clean"]
	for name := range c.values {
		switch name {
		case "--size", "--assume-peer-has-space", "--assume-clean":
		default:
			return fail(exitUsage, "resize: option '%s' is not supported; --size, --assume-peer-has-space and --assume-clean are", name)
		}
	}
	return c.each(func(t target) error {
		if err := c.request(t, do); err != nil {
			return err
		}
		return c.noteRunningSize(t)
	})
}

// sizeWord reads a size in bytes as drbdsetup does: without a suffix digits count sectors.
func sizeWord(text string) (int64, error) {
	if strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }) < 0 {
		text += "s"
	}
	return resfile.ParseSize(text)
}

// noteRunningSize keeps the size of a disk in use, by which its metadata is found should it grow while it is at rest.
func (c *call) noteRunningSize(t target) error {
	all, err := c.states(t)
	for _, v := range all {
		if err == nil && v.up && v.Meta.Kind == resfile.MetaInternal {
			err = c.noteSizeOf(v)
		}
	}
	return err
}

func (c *call) noteSizeOf(v volumeState) error {
	f, err := os.Open(v.Volume.Disk)
	if err != nil {
		return fmt.Errorf("note the size of %s: %w", v.Volume.Disk, err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("note the size of %s: %w", v.Volume.Disk, err)
	}
	return c.writeSize(v.Minor, fmt.Sprintf("%d\t%s\nuuid:\t%s\n", size, v.Volume.Disk, v.status.DeviceUUID))
}
