package drbd

import (
	"fmt"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/block/metadata"
)

// getGI prints the generation identifiers and the flags: from the running volume, else from the disk.
func (c *call) getGI() error {
	return c.eachState(func(t target, s volumeState) error {
		return c.identifiers(t, s, func(gi string, _ *metadata.Superblock) string { return gi + "\n" })
	})
}

// showGI prints the same with an explanation.
func (c *call) showGI() error {
	return c.eachState(func(t target, s volumeState) error { return c.identifiers(t, s, explain) })
}

func (c *call) identifiers(t target, s volumeState, text func(gi string, sb *metadata.Superblock) string) error {
	if s.up && s.status.Disk != "Diskless" {
		_, err := fmt.Fprint(c.Stdout, text(liveIdentifiers(s.status), nil))
		return err
	}
	return c.eachMetadata(t, func(m *metaDisk) error {
		_, err := fmt.Fprint(c.Stdout, text(storedIdentifiers(&m.store.SB), &m.store.SB))
		return err
	})
}

// liveIdentifiers says of a running volume what its metadata would.
func liveIdentifiers(v api.VolumeStatus) string {
	return fmt.Sprintf("%s:%s:%s:%s:%d:%d:%d:%d:0:%d:%d", hex16(v.CurrentUUID), hex16(v.BitmapUUID), hex16(v.History[0]), hex16(v.History[1]),
		bit(v.Disk != "Inconsistent"), bit(v.Disk == "UpToDate" || v.Disk == "Consistent"), bit(v.Role == "Primary"),
		bit(connection(v.Conn) == ""), bit(v.PeerDisk == "Outdated" || v.PeerDisk == "Inconsistent"), bit(v.CrashedPrimary))
}

// hex16 is a UUID as the dumps have it.
func hex16(s string) string {
	const digits = 16
	return strings.Repeat("0", max(digits-len(s), 0)) + strings.ToUpper(s)
}

func storedIdentifiers(sb *metadata.Superblock) string {
	has := func(f metadata.Flags) int { return bit(sb.Flags&f != 0) }
	return fmt.Sprintf("%v:%d:%d:%d:%d:%d:%d:%d", sb.UUIDs, has(metadata.Consistent), has(metadata.WasUpToDate), has(metadata.PrimaryInd),
		has(metadata.ConnectedInd), has(metadata.FullSync), has(metadata.PeerOutdated), has(metadata.CrashedPrimary))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// explain draws arrows at the identifiers; about a disk it also says what the flags mean.
func explain(gi string, sb *metadata.Superblock) string {
	text := `
       +--<  Current data generation UUID  >-
       |               +--<  Bitmap's base data generation UUID  >-
       |               |                 +--<  younger history UUID  >-
       |               |                 |         +-<  older history  >-
       V               V                 V         V
` + gi + "\n"
	if sb == nil {
		return text + "                                                                    ^ ^ ^ ^ ^ ^ ^\n"
	}
	return text + `                                                                    ^ ^ ^ ^ ^ ^ ^
                                      -<  Data consistency flag  >--+ | | | | | |
                             -<  Data was/is currently up-to-date  >--+ | | | | |
                                  -<  Node was/is currently primary  >--+ | | | |
                                  -<  Node was/is currently connected  >--+ | | |
         -<  Node was in the progress of setting all bits in the bitmap  >--+ | |
                        -<  The peer's disk was out-dated or inconsistent  >--+ |
      -<  This node was a crashed primary, and has not seen its peer since   >--+

` + summary(sb)
}

func summary(sb *metadata.Superblock) string {
	words := "Secondary"
	if sb.Flags&metadata.PrimaryInd != 0 {
		words = "Primary"
	}
	if sb.Flags&metadata.CrashedPrimary != 0 {
		words = "crashed " + words
	}
	if sb.Flags&metadata.ConnectedInd != 0 {
		words += ", Connected"
	} else {
		words += ", StandAlone"
	}
	words += ", " + diskWord(sb)
	if sb.Flags&metadata.FullSync != 0 {
		words += ", need full sync"
	}
	if sb.Flags&metadata.PeerOutdated != 0 {
		words += ", peer Outdated"
	}
	state := "clean"
	if sb.Unclean {
		state = "need apply-al"
	}
	size := "zero size device -- never seen peer yet?"
	if n := sb.LastAgreedSize; n > 0 {
		size = fmt.Sprintf("last agreed size: %s (%d sectors)\nlast agreed max bio size: %d Byte", roundSize(n), n, sb.PeerMaxBIO)
	}
	return fmt.Sprintf("flags: %s\nmeta-data: %s\n%s\n", words, state, size)
}

// roundSize is a number of sectors in the largest unit of which there are at least ten, rounded.
func roundSize(sectors uint64) string {
	kib := float64(sectors) / 2
	const units = "KMGTP"
	i := 0
	for kib >= 10000 && i < len(units)-1 {
		kib /= 1024
		i++
	}
	return fmt.Sprintf("%.0f %cB", kib, units[i])
}
