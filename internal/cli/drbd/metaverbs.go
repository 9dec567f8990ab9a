package drbd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/metastore"
)

// drbdmeta's exit code for a disk that is Inconsistent and is to be outdated.
const exitInconsistent = 5

// offline runs f on the metadata of each volume named, none of which may be attached.
func offline(f func(*call, *metaDisk) error) func(*call) error {
	return func(c *call) error {
		return c.each(func(t target) error {
			return c.eachMetadata(t, func(m *metaDisk) error { return f(c, m) })
		})
	}
}

// applyAL takes the extents a crashed Primary may have written to for out of sync.
func (c *call) applyAL(m *metaDisk) error {
	added, err := m.store.ApplyAL()
	if err != nil {
		return fmt.Errorf("apply-al %s: %w", m.path, err)
	}
	if added > 0 {
		fmt.Fprintf(c.Stderr, "Marked additional %s as out-of-sync based on AL.\n", roundSize(uint64(added)/metadata.SectorSize))
	}
	return c.noteSize(m)
}

// outdateDisk notes that the peer has newer data.
func (c *call) outdateDisk(m *metaDisk) error {
	err := m.store.Outdate()
	if errors.Is(err, metastore.ErrInconsistent) {
		return fail(exitInconsistent, "%v", err)
	}
	return err
}

func (c *call) invalidateDisk(m *metaDisk) error { return m.store.Invalidate() }

// outdate asks the running volume, and otherwise changes the metadata.
func (c *call) outdate() error { return c.runningOr(api.VolumeOutdate, (*call).outdateDisk) }

// invalidate asks the running volume, and otherwise changes the metadata.
func (c *call) invalidate() error { return c.runningOr(api.VolumeInvalidate, (*call).invalidateDisk) }

func (c *call) runningOr(v api.VolumeVerb, f func(*call, *metaDisk) error) error {
	return c.eachState(func(t target, s volumeState) error {
		if s.up && s.status.Disk != "Diskless" {
			return c.do(t, v)
		}
		return c.eachMetadata(t, func(m *metaDisk) error { return f(c, m) })
	})
}

// eachState runs f for every volume of every target, with what it says of itself if there is a daemon to ask.
func (c *call) eachState(f func(target, volumeState) error) error {
	return c.each(func(t target) error {
		all, err := c.states(t)
		if isNoDaemon(err) {
			for _, v := range t.volumes {
				all = append(all, volumeState{Volume: v})
			}
			err = nil
		}
		for _, s := range all {
			if err == nil {
				err = f(t.one(s.Volume), s)
			}
		}
		return err
	})
}

// checkResize notes the size of a disk with internal metadata, or, if the disk has grown since, moves the metadata to its end.
func (c *call) checkResize() error {
	return c.each(func(t target) error { return c.eachDisk(t, c.checkSize) })
}

func (c *call) checkSize(m *metaDisk) error {
	if err := m.read(); err != nil {
		return err
	}
	if m.store != nil || m.kind != metadata.Internal {
		return c.noteSize(m)
	}
	was := c.notedSize(m.minor)
	if was == 0 || was >= m.dev.Size() {
		return fail(exitUsage, "no suitable meta data found :(\n%s: nothing is known of an earlier size of %s; drbdadm check-resize notes "+
			"it, before a disk is resized", m.whatOr(), m.path)
	}
	fmt.Fprintln(c.Stderr, "Moving the internal meta data to its proper location")
	store, err := metastore.Move(m.dev, was)
	if errors.Is(err, metadata.ErrNoMetadata) {
		return fail(exitUsage, "no suitable meta data found :(\n%s: none at the end of the first %d bytes of %s either", m.whatOr(), was, m.path)
	}
	if err != nil {
		return fmt.Errorf("check-resize %s: %w", m.path, err)
	}
	m.store = store
	fmt.Fprintln(c.Stdout, "Internal drbd meta data successfully moved.")
	return c.noteSize(m)
}

func (m *metaDisk) whatOr() string {
	if m.what == "" {
		return m.path
	}
	return m.what
}

// setGI replaces generation identifiers and flags by those of a text as get-gi prints it; parts that are missing at its end
// stay as they are. It is for repairs, and asks.
func (c *call) setGI(text string) func(*metaDisk) error {
	return func(m *metaDisk) error {
		sb := m.store.SB
		if err := parseIdentifiers(text, &sb); err != nil {
			return fail(exitTooSmall, "%v", err)
		}
		before := storedIdentifiers(&m.store.SB)
		if !c.confirm("Write new GI to disk?") {
			fmt.Fprintln(c.Stdout, "Operation cancelled.")
			return &failure{code: exitCancelled}
		}
		fmt.Fprintf(c.Stdout, "previously %s\nset GI to  %s\n", before, storedIdentifiers(&sb))
		m.store.SB = sb
		return m.store.Save()
	}
}

// parseIdentifiers reads UUID:UUID:UUID:UUID:FLAG:... as far as it goes.
func parseIdentifiers(text string, sb *metadata.Superblock) error {
	flags := [...]metadata.Flags{metadata.Consistent, metadata.WasUpToDate, metadata.PrimaryInd, metadata.ConnectedInd,
		metadata.FullSync, metadata.PeerOutdated, metadata.CrashedPrimary}
	uuids := uuidFields(&sb.UUIDs)
	parts := strings.Split(text, ":")
	if len(parts) > len(uuids)+len(flags) {
		return fmt.Errorf("'%s': at most %d UUIDs and %d flags are expected", text, len(uuids), len(flags))
	}
	for i, part := range parts {
		if i < len(uuids) {
			n, err := strconv.ParseUint(part, 16, 64)
			if err != nil {
				return fmt.Errorf("'%s' in '%s' is not a UUID of up to 16 hexadecimal digits", part, text)
			}
			*uuids[i] = n
			continue
		}
		switch f := flags[i-len(uuids)]; part {
		case "0":
			sb.Flags &^= f
		case "1":
			sb.Flags |= f
		default:
			return fmt.Errorf("'%s' in '%s' is not a flag, 0 or 1", part, text)
		}
	}
	return nil
}

func uuidFields(u *generation.Set) [4]*uint64 {
	return [...]*uint64{&u.Current, &u.Bitmap, &u.History[0], &u.History[1]}
}

// setGIVerb takes the identifiers from the command line: `drbdadm -- UUID:... set-gi RESOURCE/VOLUME`.
func (c *call) setGIVerb() error {
	text := c.identifiersWord
	if text == "" {
		return fail(exitUsage, "set-gi: the identifiers are expected: drbdadm -- UUID:UUID:... set-gi RESOURCE/VOLUME")
	}
	return c.each(func(t target) error { return c.eachMetadata(t, c.setGI(text)) })
}
