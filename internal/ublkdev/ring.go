package ublkdev

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's io_uring(7), as far as commands to a driver need it: structures and numbers of linux/io_uring.h, entries of
// 128 bytes. Machines we run on are little-endian.
const (
	setupCoopTaskrun  = 1 << 8
	setupSQE128       = 1 << 10
	setupSingleIssuer = 1 << 12
	enterGetEvents    = 1 << 0
	offRings          = 0
	offSQEs           = 0x10000000
	featureSingleMmap = 1 << 0
	opRead            = 22
	opCommand         = 46
	entrySize         = 128
	commandOffset     = 48 // of the command's own bytes in an entry
)

type ringParams struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wqFD uint32
	_                                                                  [3]uint32
	sq                                                                 sqOffsets
	cq                                                                 cqOffsets
}

type sqOffsets struct {
	head, tail, mask, entries, flags, dropped, array, _ uint32
	_                                                   uint64
}

type cqOffsets struct {
	head, tail, mask, entries, overflow, cqes, flags, _ uint32
	_                                                   uint64
}

// completion is what the kernel says of an entry.
type completion struct {
	user   uint64
	result int32
	flags  uint32
}

// Ring hands commands to the kernel and takes its answers. It is used by one goroutine at a time.
type Ring struct {
	fd      int
	rings   []byte
	entries []byte

	sqTail, sqArray unsafe.Pointer
	cqHead, cqTail  unsafe.Pointer
	cqes            unsafe.Pointer
	sqMask, cqMask  uint32
	size            uint32
	pending         uint32 // entries not yet handed over
	tail, head      uint32
}

// newRing makes a ring for n commands at a time.
func newRing(n int, flags uint32) (*Ring, error) {
	p := ringParams{flags: flags}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(n), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring: %w (kernel 6.0 or later, and sysctl kernel.io_uring_disabled=0, are needed)", errno)
	}
	r := &Ring{fd: int(fd), size: p.sqEntries}
	unix.CloseOnExec(r.fd)
	if err := r.mapMemory(&p); err != nil {
		r.Close()
		return nil, fmt.Errorf("io_uring: %w", err)
	}
	return r, nil
}

func (r *Ring) mapMemory(p *ringParams) error {
	if p.features&featureSingleMmap == 0 {
		return errors.New("this kernel's rings are in two parts")
	}
	length := max(p.sq.array+p.sqEntries*4, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(completion{})))
	var err error
	if r.rings, err = unix.Mmap(r.fd, offRings, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("map the rings: %w", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*entrySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("map the entries: %w", err)
	}
	at := func(offset uint32) unsafe.Pointer { return unsafe.Pointer(&r.rings[offset]) }
	r.sqTail, r.sqArray, r.sqMask = at(p.sq.tail), at(p.sq.array), *(*uint32)(at(p.sq.mask))
	r.cqHead, r.cqTail, r.cqes, r.cqMask = at(p.cq.head), at(p.cq.tail), at(p.cq.cqes), *(*uint32)(at(p.cq.mask))
	return nil
}

// Close gives the ring back; what is under way is cancelled.
func (r *Ring) Close() {
	if r.rings != nil {
		_ = unix.Munmap(r.rings) // they are whole mappings of ours
	}
	if r.entries != nil {
		_ = unix.Munmap(r.entries)
	}
	unix.Close(r.fd)
}

// next gives the next entry, cleared; nil if the ring is full.
func (r *Ring) next() []byte {
	if r.pending == r.size {
		return nil
	}
	slot := r.tail & r.sqMask
	*(*uint32)(unsafe.Add(r.sqArray, uintptr(slot)*4)) = slot
	e := r.entries[slot*entrySize : (slot+1)*entrySize]
	clear(e)
	r.tail++
	r.pending++
	return e
}

// entry is the first half of the kernel's struct io_uring_sqe.
type entry struct {
	opcode   uint8
	flags    uint8
	priority uint16
	fd       int32
	command  uint64 // or the offset
	address  uint64
	length   uint32
	rwFlags  uint32
	user     uint64
}

// Command queues a driver's command with its own bytes; user comes back with the answer.
func (r *Ring) Command(fd int, number uint32, user uint64, own []byte) bool {
	e := r.next()
	if e == nil {
		return false
	}
	*(*entry)(unsafe.Pointer(unsafe.SliceData(e))) = entry{opcode: opCommand, fd: int32(fd), command: uint64(number), user: user}
	copy(e[commandOffset:], own)
	return true
}

// Read queues a read of 8 bytes, as an eventfd gives them, into memory that stays where it is.
func (r *Ring) Read(fd int, into *uint64, user uint64) bool {
	e := r.next()
	if e == nil {
		return false
	}
	*(*entry)(unsafe.Pointer(unsafe.SliceData(e))) = entry{opcode: opRead, fd: int32(fd), address: uint64(uintptr(unsafe.Pointer(into))), length: 8, user: user}
	return true
}

// Enter hands over what is queued and, if wait is set, waits for an answer.
func (r *Ring) Enter(wait bool) error {
	atomic.StoreUint32((*uint32)(r.sqTail), r.tail)
	least := uintptr(0)
	if wait {
		least = 1
	}
	n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.pending), least, enterGetEvents, 0, 0)
	if errno == unix.EINTR || errno == unix.EAGAIN || errno == unix.EBUSY {
		return nil // the caller comes again
	}
	if errno != 0 {
		return fmt.Errorf("io_uring_enter: %w", errno)
	}
	r.pending -= uint32(n)
	return nil
}

// Answer takes the next answer, if there is one.
func (r *Ring) Answer() (user uint64, result int32, ok bool) {
	if r.head == atomic.LoadUint32((*uint32)(r.cqTail)) {
		return 0, 0, false
	}
	c := *(*completion)(unsafe.Add(r.cqes, uintptr(r.head&r.cqMask)*unsafe.Sizeof(completion{})))
	r.head++
	atomic.StoreUint32((*uint32)(r.cqHead), r.head)
	return c.user, c.result, true
}
