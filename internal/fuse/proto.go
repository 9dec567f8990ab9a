// Package fuse speaks the kernel's FUSE protocol over /dev/fuse for a file system of one directory with one regular file
// of fixed size, which is what a block device served from user space needs. There is no library between: a request is
// read, decoded and handed to a File without an allocation, its payload page-aligned so that it can go to a disk
// opened with O_DIRECT, and its answer is written from whatever goroutine has it.
//
// The protocol's facts (opcodes, structures, flags) are those of the kernel's public header linux/fuse.h, version 7.x,
// little- or big-endian as the machine is. A mount can be made without a mount point (see Mount), and a connection can
// be carried on by another process that holds its descriptor (see Adopt).
//
// A process that serves a file must not open that file with os.OpenFile: the runtime adds what it opens to its poller,
// which asks the file system whether the file can be polled, and while the question waits for an answer the poller, and
// with it every thread that should answer, stands still. Conn.OpenFile and unix.Open do not ask.
package fuse

import "time"

// The protocol version offered to the kernel; it speaks the lower of the two minors. 7.31 is the oldest whose structures
// this package uses (kernel 5.4).
const (
	protoMajor    = 7
	protoMinor    = 41
	protoMinorMin = 31
)

// Sizes of the fixed structures, in bytes.
const (
	inHeaderSize    = 40
	outHeaderSize   = 16
	writeInSize     = 40
	readInSize      = 40
	initInMinSize   = 16
	initOutSize     = 64
	attrSize        = 88
	attrOutSize     = 16 + attrSize
	entryOutSize    = 40 + attrSize
	openOutSize     = 16
	statfsOutSize   = 80
	direntHeadSize  = 24
	fallocateInSize = 32
	fsyncInSize     = 16
)

// Request codes (enum fuse_opcode).
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42
	opFallocate   = 43
)

// Notifications to the kernel: notifyInvalInode has it forget what it knows of an inode, notifyResend queue again every
// request that was read from the descriptor and not answered.
const (
	notifyInvalInode = 2
	notifyResend     = 7
)

// INIT flags; those from bit 32 on travel in the second word.
const (
	initAsyncRead    uint64 = 1 << 0
	initBigWrites    uint64 = 1 << 5
	initAsyncDIO     uint64 = 1 << 15
	initParallelDirs uint64 = 1 << 18
	initAbortError   uint64 = 1 << 21
	initMaxPages     uint64 = 1 << 22
	initExt          uint64 = 1 << 30
	initHasResend    uint64 = 1 << 39
)

// Flags of the answer to OPEN.
const (
	fopenDirectIO             = 1 << 0
	fopenParallelDirectWrites = 1 << 6
)

// fattrSize is set in SETATTR's valid mask by a truncation.
const fattrSize = 1 << 3

// fsyncDatasync is set in FSYNC's flags by fdatasync(2).
const fsyncDatasync = 1 << 0

// The node numbers of the two inodes.
const (
	rootNode = 1
	fileNode = 2
)

// Limits of a connection.
const (
	// MaxTransfer is the largest payload of one read or write, in bytes: 256 pages of 4 KiB.
	MaxTransfer = 1 << 20
	maxPages    = MaxTransfer / pageSize
	pageSize    = 4096
	// attrValidSeconds is how long the kernel may trust names and attributes: it is told when the size changes.
	attrValidSeconds = 1 << 30
	// DefaultDepth is how many requests the kernel may have in flight when Config.Depth is 0.
	DefaultDepth = 128
	// DefaultReaders is the number of reading threads when Config.Readers is 0.
	DefaultReaders = 4
	maxDepth       = 4096
	maxReaders     = 64
	// spareSlots are request buffers beyond Depth and the readers' own, for the requests that the kernel does not
	// count as background ones (FSYNC, FALLOCATE, names and attributes).
	spareSlots = 16
	// closeWait bounds Close's wait for the readers, which leave as soon as the kernel has ended the connection.
	closeWait = 5 * time.Second
)
