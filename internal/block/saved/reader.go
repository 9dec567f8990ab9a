package saved

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Errors of a file that cannot be used.
var (
	ErrNotOurs = errors.New("this is no file of `holdfast drbd heal`")
	// ErrIncomplete: the file ends before its end record. It was broken off before anything on the disk was changed.
	ErrIncomplete = errors.New("the file was broken off while it was written: the disk it was to save has not been changed")
	ErrDamaged    = errors.New("the file is damaged")
)

// Block is a saved piece of the disk.
type Block struct {
	Offset, Length int64
	// Content is nil for zeroes. It is valid until the next call of the Reader.
	Content []byte
}

// Reader reads a file.
type Reader struct {
	r      io.Reader
	header Header
	buf    []byte
	totals Totals
	ended  bool // the last record was an end
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != Magic {
		return nil, readError(err, ErrNotOurs)
	}
	out := &Reader{r: r}
	tag, payload, err := out.record()
	if errors.Is(err, io.EOF) {
		err = ErrIncomplete
	}
	if err != nil {
		return nil, err
	}
	if tag != "head" {
		return nil, fmt.Errorf("%w: it begins with %q", ErrDamaged, tag)
	}
	err = json.Unmarshal(payload, &out.header)
	if err == nil {
		err = out.header.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	return out, nil
}

// readError keeps what the reader itself had to say apart from a file that ends.
func readError(err, ended error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ended
	}
	return err
}

// Header says whose blocks the file holds.
func (r *Reader) Header() Header { return r.header }

// Totals is what was read so far.
func (r *Reader) Totals() Totals { return r.totals }

// Next returns the next block, and io.EOF after the last one of a whole file.
func (r *Reader) Next() (Block, error) {
	for {
		tag, payload, err := r.record()
		if errors.Is(err, io.EOF) && !r.ended {
			err = ErrIncomplete
		}
		if err != nil {
			return Block{}, err
		}
		r.ended = tag == "end "
		if !r.ended {
			return r.block(tag, payload)
		}
		if err := r.checkEnd(payload); err != nil {
			return Block{}, err
		}
	}
}

func (r *Reader) checkEnd(payload []byte) error {
	if len(payload) != 16 {
		return fmt.Errorf("%w: an end of %d bytes", ErrDamaged, len(payload))
	}
	said := Totals{binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])}
	if said != r.totals {
		return fmt.Errorf("%w: %d records of %d bytes, %d of %d were written", ErrDamaged, r.totals.Records, r.totals.Bytes, said.Records, said.Bytes)
	}
	return nil
}

func (r *Reader) block(tag string, payload []byte) (Block, error) {
	var b Block
	switch {
	case tag == "data" && len(payload) > 8:
		b.Content = payload[8:]
		b.Length = int64(len(b.Content))
	case tag == "zero" && len(payload) == 16:
		b.Length = int64(binary.BigEndian.Uint64(payload[8:]))
	default:
		return Block{}, fmt.Errorf("%w: a record %q of %d bytes", ErrDamaged, tag, len(payload))
	}
	b.Offset = int64(binary.BigEndian.Uint64(payload))
	if b.Offset < 0 || b.Length <= 0 || b.Length > MaxData || (b.Offset|b.Length)%sector != 0 || b.Offset > r.header.Size-b.Length {
		return Block{}, fmt.Errorf("%w: %d bytes at %d of a volume of %d", ErrDamaged, b.Length, b.Offset, r.header.Size)
	}
	r.totals.Records++
	r.totals.Bytes += uint64(b.Length)
	return b, nil
}

// record reads one; io.EOF where a record could begin, ErrIncomplete within one.
func (r *Reader) record() (tag string, payload []byte, err error) {
	var head [frame]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return "", nil, io.EOF
		}
		return "", nil, readError(err, ErrIncomplete)
	}
	tag = string(head[:4])
	n := binary.BigEndian.Uint32(head[4:])
	if n > limit(tag) {
		return "", nil, fmt.Errorf("%w: a record %q of %d bytes", ErrDamaged, tag, n)
	}
	if need := int(n) + sumBytes; cap(r.buf) < need {
		r.buf = make([]byte, need)
	}
	r.buf = r.buf[:int(n)+sumBytes]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return "", nil, readError(err, ErrIncomplete)
	}
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, r.buf[:n])
	if sum != binary.BigEndian.Uint32(r.buf[n:]) {
		return "", nil, fmt.Errorf("%w: checksum of a record %q", ErrDamaged, tag)
	}
	return tag, r.buf[:n:n], nil
}

// limit is the most a record's payload may have.
func limit(tag string) uint32 {
	switch tag {
	case "head":
		return maxHeader
	case "data":
		return 8 + MaxData
	}
	return 16
}
