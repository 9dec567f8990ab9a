package fuse

import (
	"encoding/binary"
	"errors"
	"syscall"
)

// putOutHeader writes the header of an answer: its whole length, the negated errno, and the request's identity.
func putOutHeader(b []byte, length int, errno int32, unique uint64) {
	ne := binary.NativeEndian
	ne.PutUint32(b, uint32(length))
	ne.PutUint32(b[4:], uint32(errno))
	ne.PutUint64(b[8:], unique)
}

// errnoOf is the negated errno for err: 0 for nil, the errno it wraps, else EIO.
func errnoOf(err error) int32 {
	if err == nil {
		return 0
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno > 0 && errno < 4096 {
		return -int32(errno)
	}
	return -int32(syscall.EIO)
}

// attributes describes one of the two inodes.
type attributes struct {
	node uint64
	size uint64
	mode uint32
	link uint32
}

func putAttr(b []byte, a attributes) {
	clear(b[:attrSize])
	ne := binary.NativeEndian
	ne.PutUint64(b, a.node)
	ne.PutUint64(b[8:], a.size)
	ne.PutUint64(b[16:], a.size/512)
	ne.PutUint32(b[60:], a.mode)
	ne.PutUint32(b[64:], a.link)
	ne.PutUint32(b[80:], pageSize)
}

// putEntryOut answers LOOKUP; it returns the number of bytes used.
func putEntryOut(b []byte, a attributes) int {
	clear(b[:entryOutSize])
	ne := binary.NativeEndian
	ne.PutUint64(b, a.node)
	ne.PutUint64(b[16:], attrValidSeconds)
	ne.PutUint64(b[24:], attrValidSeconds)
	putAttr(b[40:], a)
	return entryOutSize
}

// putAttrOut answers GETATTR and SETATTR.
func putAttrOut(b []byte, a attributes) int {
	clear(b[:attrOutSize])
	binary.NativeEndian.PutUint64(b, attrValidSeconds)
	putAttr(b[16:], a)
	return attrOutSize
}

// putOpenOut answers OPEN and OPENDIR. The handle is the node: there is no state per open file, which is what lets
// another process carry the connection on.
func putOpenOut(b []byte, node uint64, flags uint32) int {
	clear(b[:openOutSize])
	ne := binary.NativeEndian
	ne.PutUint64(b, node)
	ne.PutUint32(b[8:], flags)
	return openOutSize
}

// putStatfsOut answers STATFS: a file system that is full, of the file's size.
func putStatfsOut(b []byte, size uint64) int {
	clear(b[:statfsOutSize])
	ne := binary.NativeEndian
	ne.PutUint64(b, size/pageSize)
	ne.PutUint64(b[24:], 1)
	ne.PutUint32(b[40:], pageSize)
	ne.PutUint32(b[44:], maxName)
	ne.PutUint32(b[48:], pageSize)
	return statfsOutSize
}

// dirent is one name of the root directory.
type dirent struct {
	node uint64
	kind uint32 // DT_DIR, DT_REG
	name string
}

// putDirents answers READDIR from entry number `from` with as many entries as fit into limit bytes.
func putDirents(b []byte, entries []dirent, from uint64, limit int) int {
	n := 0
	for i, e := range entries {
		size := (direntHeadSize + len(e.name) + 7) &^ 7
		if uint64(i) < from {
			continue
		}
		if n+size > limit || n+size > len(b) {
			break
		}
		putDirent(b[n:n+size], e, uint64(i)+1)
		n += size
	}
	return n
}

func putDirent(b []byte, e dirent, next uint64) {
	clear(b)
	ne := binary.NativeEndian
	ne.PutUint64(b, e.node)
	ne.PutUint64(b[8:], next)
	ne.PutUint32(b[16:], uint32(len(e.name)))
	ne.PutUint32(b[20:], e.kind)
	copy(b[direntHeadSize:], e.name)
}

// terms is what both ends agreed on in INIT.
type terms struct {
	minor  uint32
	resend bool // the kernel queues unanswered requests again when asked (6.9 and later)
}

// negotiate chooses the terms for what the kernel offers.
func negotiate(in initIn) (terms, error) {
	if in.major != protoMajor || in.minor < protoMinorMin {
		return terms{}, &versionError{in.major, in.minor}
	}
	return terms{minor: min(in.minor, protoMinor), resend: in.flags&initHasResend != 0}, nil
}

// putInitOut answers INIT.
func putInitOut(b []byte, in initIn, t terms, depth int) int {
	clear(b[:initOutSize])
	flags := in.flags & (initAsyncRead | initBigWrites | initAsyncDIO | initParallelDirs | initAbortError | initMaxPages | initExt | initHasResend)
	ne := binary.NativeEndian
	ne.PutUint32(b, protoMajor)
	ne.PutUint32(b[4:], t.minor)
	ne.PutUint32(b[8:], in.readahead)
	ne.PutUint32(b[12:], uint32(flags))
	ne.PutUint16(b[16:], uint16(depth))
	ne.PutUint16(b[18:], uint16(depth*3/4))
	ne.PutUint32(b[20:], MaxTransfer)
	ne.PutUint32(b[24:], 1)
	ne.PutUint16(b[28:], maxPages)
	ne.PutUint32(b[32:], uint32(flags>>32))
	return initOutSize
}
