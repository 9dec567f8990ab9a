package drbd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/block/saved"
)

// eachSaved reads a whole file of saved blocks.
func eachSaved(path string, f func(saved.Block) error) (saved.Header, saved.Totals, error) {
	file, err := os.Open(path)
	if err != nil {
		return saved.Header{}, saved.Totals{}, fail(exitSystem, "open %s: %v", path, cause(err))
	}
	defer file.Close()
	r, err := saved.NewReader(bufio.NewReaderSize(file, saved.MaxData))
	if err != nil {
		return saved.Header{}, saved.Totals{}, fail(exitFailed, "%s: %v", path, err)
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), r.Totals(), nil
		}
		if err == nil {
			err = f(b)
		}
		if err != nil {
			return r.Header(), r.Totals(), fail(exitFailed, "%s: %v", path, err)
		}
	}
}

func nothing(saved.Block) error { return nil }

// healShow reads the file and tells what is in it.
func (c *call) healShow(path string) error {
	h, n, err := eachSaved(path, nothing)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(struct {
			saved.Header
			Records uint64 `json:"records"`
			Bytes   uint64 `json:"bytes"`
		}{h, n.Records, n.Bytes})
	}
	what := "the blocks that differed"
	if h.Whole {
		what = "the whole volume"
	}
	_, err = fmt.Fprintf(c.Stdout, "%s of %s, given up for %s at %s: %s, %s of %s, in %d pieces\ndisk %016X, generations %s\n", h.Resource, h.Node, h.Peer,
		time.Unix(0, h.At).UTC().Format(time.RFC3339), what, amount(int64(n.Bytes)), amount(h.Size), n.Records, h.DeviceUUID, h.UUIDs)
	return err
}

// healExtract puts the blocks onto a copy of the disk.
func (c *call) healExtract(path, onto string) error {
	if onto == "" {
		return fail(exitUsage, "drbdadm: heal --extract needs --onto=PATH, a copy of the disk")
	}
	if err := c.notOurs(onto); err != nil {
		return err
	}
	h, n, err := eachSaved(path, nothing) // a damaged file changes nothing
	if err != nil {
		return err
	}
	f, err := os.OpenFile(onto, os.O_RDWR, 0)
	if err != nil {
		return fail(exitSystem, "open %s: %v", onto, cause(err))
	}
	defer f.Close()
	switch size, err := f.Seek(0, io.SeekEnd); {
	case err != nil:
		return fail(exitSystem, "%s: %v", onto, err)
	case size < h.Size:
		return fail(exitTooSmall, "%s has %d bytes, the volume had %d: a copy of the whole disk is expected", onto, size, h.Size)
	}
	if c.dryRun {
		_, err := fmt.Fprintf(c.Stdout, "%s would be written onto %s. Nothing was changed.\n", amount(int64(n.Bytes)), onto)
		return err
	}
	zeroes := make([]byte, saved.MaxData)
	if _, _, err := eachSaved(path, func(b saved.Block) error {
		content := b.Content
		if content == nil {
			content = zeroes[:b.Length]
		}
		_, err := f.WriteAt(content, b.Offset)
		return err
	}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fail(exitSystem, "write %s: %v", onto, cause(err))
	}
	_, err = fmt.Fprintf(c.Stdout, "%s written onto %s\n", amount(int64(n.Bytes)), onto)
	return err
}

// notOurs refuses the devices and disks of this host's volumes: there, blocks are written back by --undo.
func (c *call) notOurs(path string) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	real := func(p string) string {
		if q, err := filepath.EvalSymlinks(p); err == nil {
			return q
		}
		return p
	}
	for _, r := range conf.On(c.Hostname) {
		self, _, err := r.For(c.Hostname)
		if err != nil {
			return fail(exitUsage, "%v", err)
		}
		for _, v := range self.Volumes {
			if real(path) == real(v.Disk) || real(path) == real(v.Path()) {
				return fail(exitFailed, "%s belongs to %s on this host: a copy of it is expected, or holdfast drbd heal --undo", path, r.Name)
			}
		}
	}
	return nil
}
