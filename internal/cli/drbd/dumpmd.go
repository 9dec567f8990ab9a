package drbd

import (
	"fmt"
	"strings"

	"holdfast/internal/block/metadata"
)

// dumpMD prints the metadata in the text that `drbdmeta restore-md` reads.
func (c *call) dumpMD() error {
	return c.each(func(t target) error { return c.eachMetadata(t, c.dumpMeta) })
}

func (c *call) dumpMeta(m *metaDisk) error {
	bits, err := m.store.Bitmap()
	if err != nil {
		return err
	}
	at := c.now()
	fmt.Fprintf(c.Stdout, "# DRBD meta data dump\n# %s [%d]\n# %s> %s\n#\n\n", at.Format("2006-01-02 15:04:05 -0700"), at.Unix(), c.Hostname, m.command("dump-md"))
	_, err = fmt.Fprint(c.Stdout, dumpText(m.store.Layout, &m.store.SB, bits))
	return err
}

// dumpText is the dump after its heading.
func dumpText(l metadata.Layout, sb *metadata.Superblock, bits *metadata.Bitmap) string {
	var b strings.Builder
	b.WriteString("version \"v08\";\n\n")
	if sb.Unclean {
		b.WriteString("This_is_an_unclean_meta_data_dump._Don't_trust_the_bitmap.\n" +
			"# You should \"apply-al\" first, if you plan to restore this.\n\n")
	}
	fmt.Fprintf(&b, "# md_size_sect %d\n# md_offset %d\n# al_offset %d\n# bm_offset %d\n\n", sb.MDSize, l.Superblock, l.AL, l.Bitmap)
	u := sb.UUIDs
	fmt.Fprintf(&b, "uuid {\n    0x%016X; 0x%016X; 0x%016X; 0x%016X;\n    flags 0x%08X;\n}\n", u.Current, u.Bitmap, u.History[0], u.History[1], 0)
	fmt.Fprintf(&b, "# al-extents %d;\nla-size-sect %d;\nbm-byte-per-bit %d;\ndevice-uuid 0x%016X;\nla-peer-max-bio-size %d;\n"+
		"al-stripes %d;\nal-stripe-size-4k %d;\n", sb.ALExtents, sb.LastAgreedSize, sb.BytesPerBit, sb.DeviceUUID, sb.PeerMaxBIO, sb.ALStripes, sb.ALStripe4K)
	fmt.Fprintf(&b, "# bm-bytes %d;\nbm {\n", bits.Pages()*metadata.BlockSize)
	dumpBitmap(&b, bits)
	fmt.Fprintf(&b, "}\n# bits-set %d;\n", bits.Count())
	return b.String()
}

// dumpBitmap writes the words of all pages, four in a line, longer repetitions as a count.
func dumpBitmap(b *strings.Builder, bits *metadata.Bitmap) {
	const perLine, perMark, perWord = 4, 32, 64 * 4 // words, words, KiB of data
	total := bits.Pages() * metadata.BlockSize / 8
	word := func(i int) uint64 {
		if i < bits.Words() {
			return bits.Word(i)
		}
		return 0
	}
	for i := 0; i < total; {
		if i%perMark == 0 {
			fmt.Fprintf(b, "   # at %dkB\n", i*perWord)
		}
		same := 1
		for i+same < total && word(i+same) == word(i) {
			same++
		}
		if n := same / perLine * perLine; n > perLine {
			fmt.Fprintf(b, "    %d times 0x%016X;\n", n, word(i))
			i += n
			continue
		}
		b.WriteString("   ")
		for range perLine {
			fmt.Fprintf(b, " 0x%016X;", word(i))
			i++
		}
		b.WriteString("\n")
	}
}
