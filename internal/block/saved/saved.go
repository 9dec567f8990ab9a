// Package saved holds the format of the file that `holdfast drbd heal` writes before a split brain's losing side is overwritten:
// the blocks of that side, with what is needed to make the disk again what it was. DESIGN S8.
//
// A file is Magic and then records, numbers big-endian: a tag of 4 bytes, the length of the payload (4), the payload, and a
// CRC-32C of all of these (4).
//
//	head  JSON of Header, once, first
//	data  offset (8), then content: 512-byte sectors, at most MaxData bytes
//	zero  offset (8), length (8): zeroes
//	end   data and zero records so far (8), their bytes (8)
//
// A file is whole if its last record is an end; more records and another end may follow an end. Offsets are in bytes of the
// volume's data area.
package saved

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
)

// Magic begins every file; its last digit is the version.
const Magic = "HFSIDE01"

const (
	// MaxData is the most content of one data record, in bytes.
	MaxData = 1 << 20
	// maxHeader bounds the header's JSON.
	maxHeader = 64 << 10

	sector   = 512
	frame    = 8 // tag and length
	sumBytes = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says whose blocks the file holds.
type Header struct {
	// ID is random, made with the file; the volume remembers it for the undo.
	ID       string `json:"id"`
	Resource string `json:"resource"`
	Node     string `json:"node"` // the losing side
	Peer     string `json:"peer"` // the side that was kept
	// DeviceUUID is the losing disk's identity, Size its volume's in bytes.
	DeviceUUID uint64 `json:"device_uuid"`
	Size       int64  `json:"size"`
	// UUIDs and Flags are the superblock's before anything was changed.
	UUIDs generation.Set `json:"uuids"`
	Flags metadata.Flags `json:"flags"`
	// Whole: every block of the volume is saved, not only those that may differ from the peer's.
	Whole bool `json:"whole"`
	// At is the wall clock when it was begun, nanoseconds since 1970.
	At int64 `json:"at"`
}

// check finds what no file of ours has.
func (h *Header) check() error {
	if h.Size <= 0 || h.Size%sector != 0 {
		return fmt.Errorf("a volume of %d bytes", h.Size)
	}
	if h.ID == "" || h.Resource == "" || h.Node == "" {
		return errors.New("no name of file, resource or node")
	}
	return nil
}

// Totals counts what a file holds.
type Totals struct{ Records, Bytes uint64 }

// Writer writes a file. Its errors are the underlying writer's; after one nothing more may be written.
type Writer struct {
	w      io.Writer
	buf    []byte
	totals Totals
}

// NewWriter begins a file.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("saved side: %w", err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("saved side: %w", err)
	}
	if _, err := io.WriteString(w, Magic); err != nil {
		return nil, err
	}
	out := &Writer{w: w}
	return out, out.record("head", text)
}

// Add saves the content at an offset; zeroes take no room.
func (w *Writer) Add(offset int64, content []byte) error {
	for len(content) > 0 {
		n := min(len(content), MaxData)
		if err := w.add(offset, content[:n]); err != nil {
			return err
		}
		offset, content = offset+int64(n), content[n:]
	}
	return nil
}

func (w *Writer) add(offset int64, content []byte) error {
	w.totals.Records++
	w.totals.Bytes += uint64(len(content))
	at := binary.BigEndian.AppendUint64(nil, uint64(offset))
	if allZero(content) {
		return w.record("zero", binary.BigEndian.AppendUint64(at, uint64(len(content))))
	}
	return w.record("data", at, content)
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// End makes what was written so far whole.
func (w *Writer) End() error {
	p := binary.BigEndian.AppendUint64(nil, w.totals.Records)
	return w.record("end ", binary.BigEndian.AppendUint64(p, w.totals.Bytes))
}

// Totals is what was added so far.
func (w *Writer) Totals() Totals { return w.totals }

// record writes one in a single call.
func (w *Writer) record(tag string, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	w.buf = binary.BigEndian.AppendUint32(append(w.buf[:0], tag...), uint32(n))
	for _, p := range parts {
		w.buf = append(w.buf, p...)
	}
	w.buf = binary.BigEndian.AppendUint32(w.buf, crc32.Checksum(w.buf, castagnoli))
	_, err := w.w.Write(w.buf)
	return err
}
