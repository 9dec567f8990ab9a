package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/block"
)

// The transmission phase of the NBD protocol (doc/proto.md of the NBD project, "Transmission phase"): fixed-size requests,
// a write's data behind its request; simple replies, a read's data behind its reply. Integers are big-endian.
const (
	requestMagic = 0x25609513
	replyMagic   = 0x67446698
	requestSize  = 28
	replySize    = 16
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6
)

// Flags of a command. All others are refused: they have to be negotiated, and the kernel's client negotiates none.
const (
	flagFUA    = 1 << 0
	flagNoHole = 1 << 1
)

// header is a decoded request.
type header struct {
	flags   uint16
	command uint16
	cookie  uint64
	offset  uint64
	length  uint32
}

// errProtocol is what decode's error wraps: after it the stream cannot be followed any more.
var errProtocol = errors.New("not the NBD protocol")

// decode reads a request of requestSize bytes. It fails if the client cannot be understood or cannot be answered in the same
// stream; what check finds wrong can be.
func decode(b []byte) (header, error) {
	be := binary.BigEndian
	if magic := be.Uint32(b); magic != requestMagic {
		return header{}, fmt.Errorf("%w: a request begins with %#x", errProtocol, magic)
	}
	h := header{flags: be.Uint16(b[4:]), command: be.Uint16(b[6:]), cookie: be.Uint64(b[8:]), offset: be.Uint64(b[16:]), length: be.Uint32(b[24:])}
	if h.command == cmdWrite && h.length > block.MaxIO {
		return header{}, fmt.Errorf("%w: a write of %d bytes, more than the %d announced", errProtocol, h.length, block.MaxIO)
	}
	return h, nil
}

// encode is decode's inverse.
func (h header) encode(b []byte) {
	be := binary.BigEndian
	be.PutUint32(b, requestMagic)
	be.PutUint16(b[4:], h.flags)
	be.PutUint16(b[6:], h.command)
	be.PutUint64(b[8:], h.cookie)
	be.PutUint64(b[16:], h.offset)
	be.PutUint32(b[24:], h.length)
}

// check says why a request is refused; nil if it can be carried out on a device of size bytes.
func (h header) check(size int64, readOnly bool) error {
	allowed := uint16(flagFUA)
	if h.command == cmdWriteZeroes {
		allowed |= flagNoHole
	}
	if h.flags&^allowed != 0 {
		return unix.EINVAL
	}
	switch h.command {
	case cmdFlush:
		if h.offset != 0 || h.length != 0 {
			return unix.EINVAL
		}
		return nil
	case cmdRead:
		if h.length > block.MaxIO {
			return unix.EOVERFLOW
		}
	case cmdWrite, cmdTrim, cmdWriteZeroes:
		if readOnly {
			return unix.EPERM
		}
	default:
		return unix.EINVAL
	}
	return h.checkRange(size)
}

func (h header) checkRange(size int64) error {
	switch {
	case h.length == 0 || h.length%sector != 0 || h.offset%sector != 0:
		return unix.EINVAL
	case h.offset > uint64(size) || uint64(h.length) > uint64(size)-h.offset:
		if h.command == cmdRead || h.command == cmdTrim {
			return unix.EINVAL
		}
		return unix.ENOSPC
	}
	return nil
}

const sector = 512

// errnoOf is the protocol's number for an error: 0 for nil. The protocol has numbers of its own for a few errors and means
// that others are EIO.
func errnoOf(err error) uint32 {
	if err == nil {
		return 0
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		switch errno {
		case unix.EPERM, unix.ENOMEM, unix.EINVAL, unix.ENOSPC, unix.EOVERFLOW, unix.EOPNOTSUPP, unix.ESHUTDOWN:
			return uint32(errno)
		}
	}
	return uint32(unix.EIO)
}

// putReply writes the header of an answer.
func putReply(b []byte, cookie uint64, errno uint32) {
	be := binary.BigEndian
	be.PutUint32(b, replyMagic)
	be.PutUint32(b[4:], errno)
	be.PutUint64(b[8:], cookie)
}
