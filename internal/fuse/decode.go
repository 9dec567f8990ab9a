package fuse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// message is one decoded request: the header's fields that matter, and those of its operation.
type message struct {
	op     uint32
	unique uint64
	node   uint64

	offset uint64 // READ, WRITE, FALLOCATE, READDIR
	length uint64 // READ, WRITE, FALLOCATE, READDIR: bytes; SETATTR: the new size
	flags  uint32 // FSYNC: fsync flags; SETATTR: valid mask; FALLOCATE: mode
	name   []byte // LOOKUP, without its NUL; points into the buffer

	init initIn
}

// initIn is the kernel's half of the negotiation.
type initIn struct {
	major, minor, readahead uint32
	flags                   uint64
}

// errShort is returned for a request shorter than its structure.
var errShort = errors.New("fuse: request is shorter than its structure")

// decode reads one request from b, which holds exactly what one read(2) of /dev/fuse returned. It allocates nothing
// unless it fails. The message points into b.
func decode(b []byte, m *message) error {
	*m = message{}
	if len(b) < inHeaderSize {
		return errShort
	}
	ne := binary.NativeEndian
	if n := ne.Uint32(b); int64(n) != int64(len(b)) {
		return fmt.Errorf("fuse: header says %d bytes, %d were read", n, len(b))
	}
	m.op, m.unique, m.node = ne.Uint32(b[4:]), ne.Uint64(b[8:]), ne.Uint64(b[16:])
	extensions := int(ne.Uint16(b[36:])) * 8
	body := b[inHeaderSize:]
	if extensions > len(body) {
		return errShort
	}
	return decodeBody(body[:len(body)-extensions], m)
}

func decodeBody(b []byte, m *message) error {
	switch m.op {
	case opWrite:
		return decodeWrite(b, m)
	case opRead, opReaddir:
		return decodeRead(b, m)
	case opFsync:
		return decodeFsync(b, m)
	case opFallocate:
		return decodeFallocate(b, m)
	case opLookup:
		return decodeLookup(b, m)
	case opSetattr:
		return decodeSetattr(b, m)
	case opInit:
		return decodeInit(b, m)
	}
	return nil
}

func decodeWrite(b []byte, m *message) error {
	if len(b) < writeInSize {
		return errShort
	}
	ne := binary.NativeEndian
	m.offset, m.length = ne.Uint64(b[8:]), uint64(ne.Uint32(b[16:]))
	if uint64(len(b)-writeInSize) != m.length {
		return fmt.Errorf("fuse: write of %d bytes carries %d", m.length, len(b)-writeInSize)
	}
	return checkRange(m)
}

func decodeRead(b []byte, m *message) error {
	if len(b) < readInSize {
		return errShort
	}
	ne := binary.NativeEndian
	m.offset, m.length = ne.Uint64(b[8:]), uint64(ne.Uint32(b[16:]))
	return checkRange(m)
}

func decodeFsync(b []byte, m *message) error {
	if len(b) < fsyncInSize {
		return errShort
	}
	m.flags = binary.NativeEndian.Uint32(b[8:])
	return nil
}

func decodeFallocate(b []byte, m *message) error {
	if len(b) < fallocateInSize {
		return errShort
	}
	ne := binary.NativeEndian
	m.offset, m.length, m.flags = ne.Uint64(b[8:]), ne.Uint64(b[16:]), ne.Uint32(b[24:])
	return checkRange(m)
}

func decodeLookup(b []byte, m *message) error {
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return errors.New("fuse: name without an end")
	}
	m.name = b[:end]
	return nil
}

func decodeSetattr(b []byte, m *message) error {
	if len(b) < 24 {
		return errShort
	}
	ne := binary.NativeEndian
	m.flags, m.length = ne.Uint32(b), ne.Uint64(b[16:])
	return nil
}

func decodeInit(b []byte, m *message) error {
	if len(b) < initInMinSize {
		return errShort
	}
	ne := binary.NativeEndian
	m.init = initIn{major: ne.Uint32(b), minor: ne.Uint32(b[4:]), readahead: ne.Uint32(b[8:]), flags: uint64(ne.Uint32(b[12:]))}
	if m.init.flags&initExt != 0 && len(b) >= initInMinSize+4 {
		m.init.flags |= uint64(ne.Uint32(b[16:])) << 32
	}
	return nil
}

// checkRange refuses a range that does not fit a signed 64-bit offset; everything after may add without overflow.
func checkRange(m *message) error {
	const top = 1<<63 - 1
	if m.offset > top || m.length > top-m.offset {
		return fmt.Errorf("fuse: range %d+%d is beyond the largest file", m.offset, m.length)
	}
	return nil
}
