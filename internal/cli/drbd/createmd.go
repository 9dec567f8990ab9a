package drbd

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"holdfast/internal/block/backing"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/metastore"
	"holdfast/internal/block/resfile"
)

// drbdmeta's exit codes.
const (
	exitCancelled = 1
	exitTooSmall  = 10
	exitOccupied  = 40
)

// createOptions are those of create-md.
type createOptions struct {
	stripes metadata.Stripes
	maxBIO  uint32 // bytes
}

// createMD writes new metadata: the disk is Inconsistent and of no generation afterwards, its data is left alone.
func (c *call) createMD() error {
	return c.each(func(t target) error { return c.eachDisk(t, c.create) })
}

// createOptions reads --al-stripes, --al-stripe-size-kB and --peer-max-bio-size.
func (c *call) createOptions() (createOptions, error) {
	o := createOptions{stripes: metadata.DefaultStripes()}
	for _, name := range slices.Sorted(maps.Keys(c.values)) {
		n, err := resfile.ParseSize(c.values[name])
		if err != nil || n < 0 || n > math.MaxUint32 {
			return o, fail(exitUsage, "%s %s: a number is expected", name, c.values[name])
		}
		switch name {
		case "--al-stripes":
			o.stripes.Count = uint32(n)
		case "--al-stripe-size-kB":
			o.stripes.Blocks = uint32(n / (metadata.BlockSize >> 10))
		case "--peer-max-bio-size":
			o.maxBIO = uint32(n)
		}
	}
	const least, most = 8, 65536 * 4 // blocks of the ring
	switch total := uint64(o.stripes.Count) * uint64(o.stripes.Blocks); {
	case total < least:
		return o, fail(exitTooSmall, "invalid (too small) al-stripe* settings")
	case total > most:
		return o, fail(exitTooSmall, "invalid (too large) al-stripe* settings")
	}
	return o, nil
}

func (c *call) create(m *metaDisk) error {
	o, err := c.createOptions()
	if err != nil {
		return err
	}
	l, err := metadata.NewLayout(m.kind, m.dev.Size(), m.index, o.stripes)
	if err != nil {
		return fail(exitTooSmall, "%s is only %d bytes. That's not enough.\n%s", m.path, m.dev.Size(), m.because(err))
	}
	if err := c.mayCreate(m, l); err != nil {
		return err
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("draw a device UUID: %w", err)
	}
	sb := metadata.NewSuperblock(l, binary.BigEndian.Uint64(random[:])|1)
	sb.PeerMaxBIO = o.maxBIO
	fmt.Fprintf(c.Stderr, "initializing bitmap (%d KB) to all zero\n", l.BitmapSize>>10)
	fmt.Fprintln(c.Stdout, "initializing activity log")
	if err := metastore.Format(m.dev, l, sb); err != nil {
		return fmt.Errorf("create-md %s: %w", m.path, err)
	}
	fmt.Fprintln(c.Stdout, "Writing meta data...\nNew drbd meta data block successfully created.")
	return c.noteSize(m)
}

// because says an error with the place in the configuration, if there is one.
func (m *metaDisk) because(err error) string {
	if m.what == "" {
		return err.Error()
	}
	return fmt.Sprintf("%s: %v", m.what, err)
}

// mayCreate asks before it overwrites metadata or what looks like data, and refuses to cut a filesystem short.
func (c *call) mayCreate(m *metaDisk, l metadata.Layout) error {
	if err := m.read(); err != nil && m.store != nil {
		return err
	}
	if m.store != nil {
		return c.mayOverwrite(m)
	}
	p := backing.Buffer(metadata.ProbeSize)
	if err := m.dev.ReadAt(p[:min(int64(len(p)), m.dev.Size()&^(metadata.SectorSize-1))], 0); err != nil {
		return fmt.Errorf("look at what is on %s: %w", m.path, err)
	}
	content, found := metadata.Recognise(p)
	if !found {
		return nil
	}
	fmt.Fprintf(c.Stdout, "md_offset %d\nal_offset %d\nbm_offset %d\n\nFound %s\n", l.Superblock, l.AL, l.Bitmap, content.Name)
	switch {
	case content.Used > l.Data && m.kind == metadata.Internal:
		fmt.Fprint(c.Stdout, sizes(content, l), truncated)
		return &failure{code: exitOccupied}
	case content.Used > 0 && m.kind == metadata.Internal:
		fmt.Fprint(c.Stdout, sizes(content, l), guess)
	default:
		fmt.Fprint(c.Stdout, "\n ==> This might destroy existing data! <==\n")
	}
	if c.confirm("Do you want to proceed?") {
		return nil
	}
	fmt.Fprintln(c.Stdout, "Operation canceled.")
	return &failure{code: exitCancelled}
}

func sizes(content metadata.Content, l metadata.Layout) string {
	return fmt.Sprintf("%12d kB data area apparently used\n%12d kB left usable by current configuration\n", content.Used>>10, l.Data>>10)
}

const truncated = `
Device size would be truncated, which
would corrupt data and result in
'access beyond end of device' errors.
You need to either
   * use external meta data (recommended)
   * shrink that filesystem first
   * zero out the device (destroy the filesystem)
Operation refused.

`

const guess = `
Even though it looks like this would place the new meta data into
unused space, you still need to confirm, as this is only a guess.
`

func (c *call) mayOverwrite(m *metaDisk) error {
	question := "Do you really want to overwrite the existing meta-data?"
	if m.kind == metadata.Internal {
		fmt.Fprintf(c.Stdout, "You want me to create a v08 style flexible-size internal meta data block.\n"+
			"There appears to be a v08 flexible-size internal meta data block\n"+
			"already in place on %s at byte offset %d\n", m.path, m.offset)
	} else {
		fmt.Fprint(c.Stdout, "\nValid meta data seems to be in place.")
		question = "Do you really want to overwrite?"
	}
	if c.confirm(question) {
		return nil
	}
	fmt.Fprintln(c.Stdout, "Operation cancelled.")
	return &failure{code: exitCancelled}
}

// confirm asks for the word yes.
func (c *call) confirm(question string) bool {
	fmt.Fprintf(c.Stderr, "\n%s\n", question)
	switch {
	case c.force:
		fmt.Fprintln(c.Stderr, "*** confirmation forced via --force option ***")
		return true
	case !c.Terminal:
		fmt.Fprintln(c.Stderr, "stdin not a TTY, not waiting for confirmation")
		return false
	}
	fmt.Fprint(c.Stderr, "[need to type 'yes' to confirm] ")
	line, err := bufio.NewReader(c.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	fmt.Fprintln(c.Stderr)
	return strings.TrimSpace(line) == "yes"
}

// wipeMD removes the superblock; the data is left alone.
func (c *call) wipeMD() error {
	return c.each(func(t target) error { return c.eachDisk(t, c.wipe) })
}

func (c *call) wipe(m *metaDisk) error {
	if err := m.read(); err != nil {
		return err
	}
	if m.store == nil {
		fmt.Fprintln(c.Stderr, "There appears to be no drbd meta data to wipe out?")
		return nil
	}
	if !c.confirm("Do you really want to wipe out the DRBD meta data?") {
		fmt.Fprintln(c.Stdout, "Operation cancelled.")
		return &failure{code: exitCancelled}
	}
	if err := m.store.Wipe(); err != nil {
		return fmt.Errorf("wipe-md %s: %w", m.path, err)
	}
	fmt.Fprintln(c.Stdout, "Wiping meta data...\nDRBD meta data block successfully wiped out.")
	return nil
}
