// Package leasepage is the page of memory through which the guard tells the volume processes of its host until when the
// node's lease lasts (paths.Root.LeasePage). One process writes it, the guard; the others map it and read one word
// before each completion, which costs no system call.
//
// Format, native byte order: byte 0, the deadline (int64, CLOCK_BOOTTIME nanoseconds, 0 = unarmed); byte 8, the lease
// session it belongs to (uint64), for a guard that starts again. The file is one page; it lives in /run and so never
// outlasts the boot whose clock it speaks of.
package leasepage

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/internal/clock"
)

const (
	pageSize      = 4096
	sessionOffset = 8
)

// Page is the mapped file. Its methods may be called from any goroutine until Close.
type Page struct {
	memory []byte
}

// Open maps an existing page for reading. It fails with os.ErrNotExist before any guard has run since the boot.
func Open(path string) (*Page, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the lease page: %w", err)
	}
	defer f.Close()
	return mapFile(f, unix.PROT_READ)
}

// Create maps the page for writing, keeping what it holds, and makes it if it is not there. Readers that have it mapped
// keep seeing the same page, since the file is never replaced.
func Create(path string) (*Page, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the lease page: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() < pageSize {
		err = f.Truncate(pageSize)
	}
	if err != nil {
		return nil, fmt.Errorf("size the lease page %s: %w", path, err)
	}
	return mapFile(f, unix.PROT_READ|unix.PROT_WRITE)
}

func mapFile(f *os.File, protection int) (*Page, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat the lease page: %w", err)
	}
	if info.Size() < pageSize {
		return nil, fmt.Errorf("lease page %s is %d bytes long, not %d: its guard has not finished making it, or it is no lease page", f.Name(), info.Size(), pageSize)
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, pageSize, protection, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the lease page %s: %w", f.Name(), err)
	}
	return &Page{memory: memory}, nil
}

func (p *Page) deadline() *int64 { return (*int64)(unsafe.Pointer(&p.memory[0])) }
func (p *Page) session() *uint64 { return (*uint64)(unsafe.Pointer(&p.memory[sessionOffset])) }

// Deadline is the CLOCK_BOOTTIME reading from which on nothing may be completed; 0 if the guard is not armed.
func (p *Page) Deadline() clock.Boottime { return clock.Boottime(atomic.LoadInt64(p.deadline())) }

// Session is the lease session of the deadline.
func (p *Page) Session() uint64 { return atomic.LoadUint64(p.session()) }

// Store sets both, the deadline last. Only the guard calls it, on a page from Create.
func (p *Page) Store(deadline clock.Boottime, session uint64) {
	atomic.StoreUint64(p.session(), session)
	atomic.StoreInt64(p.deadline(), int64(deadline))
}

// ErrClosed is returned by a second Close.
var ErrClosed = errors.New("lease page is closed already")

// Close unmaps the page; nothing may use it afterwards.
func (p *Page) Close() error {
	if p.memory == nil {
		return ErrClosed
	}
	err := unix.Munmap(p.memory)
	p.memory = nil
	if err != nil {
		return fmt.Errorf("unmap the lease page: %w", err)
	}
	return nil
}
