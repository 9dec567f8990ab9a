// Command front is what the front ends' tests run inside the virtual machine, beside the real holdfast.
//
//	front lease MS               arm the guard with a lease that ends in MS milliseconds, and wait until it is enforced
//	front clear                  let devices be held again after that
//	front verify DEVICE FILE SEED   write and read back until FILE exists, several threads, every error ends it
//	front zeroes DEVICE OFFSET LENGTH   discard (BLKDISCARD), then zero (BLKZEROOUT) a range, and read it
//	front sync DEVICE fsync|dsync N   so many writes, each followed by fsync, or with O_DSYNC
//	front flood DEVICE N         N threads write at the same time, each to a block of its own, and read it back
//	front wait DEVICE            a write and a flush that must fail with EIO, however long they wait
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/internal/clock"
	"holdfast/internal/guard"
	"holdfast/internal/paths"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "front:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "lease":
		return lease(args[1])
	case len(args) == 1 && args[0] == "clear":
		return clearLease()
	case len(args) == 4 && args[0] == "verify":
		return verify(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "zeroes":
		return zeroes(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "sync":
		return syncs(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "flood":
		return flood(args[1], args[2])
	case len(args) == 2 && args[0] == "wait":
		return wait(args[1])
	}
	return errors.New("usage: front lease|clear|verify|zeroes|sync|flood|wait ...")
}

func lease(text string) error {
	ms, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	g, err := guard.Dial(paths.Root("/"))
	if err != nil {
		return err
	}
	session, err := fresh(g)
	if err != nil {
		return err
	}
	now := clock.System{}.Boottime
	end := now().Add(time.Duration(ms) * time.Millisecond)
	if err := g.Lease(session, end); err != nil {
		return err
	}
	for {
		s, err := g.Status()
		if err != nil {
			return err
		}
		if s.State == "enforced" {
			fmt.Printf("enforced %d ms after the deadline\n", now().Sub(end).Milliseconds())
			return nil
		}
		if now().Sub(end) > time.Minute {
			return fmt.Errorf("a minute after the deadline: %+v", s)
		}
		time.Sleep(time.Millisecond)
	}
}

// fresh lets devices be held again after an earlier test's lease was enforced, and gives a session for the next.
func fresh(g *guard.Client) (uint64, error) {
	s, err := g.Status()
	if err != nil {
		return 0, err
	}
	if s.State == "enforced" {
		return s.Session + 1, g.Clear(s.Session + 1)
	}
	return s.Session + 1, nil
}

func clearLease() error {
	g, err := guard.Dial(paths.Root("/"))
	if err != nil {
		return err
	}
	_, err = fresh(g)
	return err
}

const (
	block   = 4096
	threads = 4
	most    = 64 // blocks of one request
)

func open(device string) (fd int, size int64, err error) {
	if fd, err = unix.Open(device, unix.O_RDWR|unix.O_DIRECT, 0); err != nil {
		return -1, 0, fmt.Errorf("open %s: %w", device, err)
	}
	size, err = unix.Seek(fd, 0, 2)
	return fd, size, err
}

func aligned(n int) []byte {
	raw := make([]byte, n+block)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (block - 1))
	return raw[off : off+n]
}

// verify gives each thread a part of the device, in which it writes random ranges, flushes now and then, and reads ranges
// back: each block must be what was last written there.
func verify(device, stop, seed string) error {
	n, err := strconv.Atoi(seed)
	if err != nil {
		return err
	}
	fd, size, err := open(device)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	var stopped atomic.Bool
	go func() {
		for {
			if _, err := os.Stat(stop); err == nil {
				stopped.Store(true)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	errs := make([]error, threads)
	workers := make([]*worker, threads)
	blocks := size / block / threads
	for i := range threads {
		w := &worker{fd: fd, first: int64(i) * blocks, rng: rand.New(rand.NewSource(int64(n*threads + i))), seen: make([]uint32, blocks), data: aligned(most * block)}
		workers[i] = w
		all.Add(1)
		go func() {
			defer all.Done()
			errs[i] = w.run(&stopped)
			if errs[i] != nil {
				stopped.Store(true)
			}
		}()
	}
	all.Wait()
	writes, reads, flushes, longest := 0, 0, 0, time.Duration(0)
	for _, w := range workers {
		writes, reads, flushes, longest = writes+w.writes, reads+w.reads, flushes+w.flushes, max(longest, w.longest)
	}
	fmt.Printf("writes %d reads %d flushes %d longest %d ms\n", writes, reads, flushes, longest.Milliseconds())
	return errors.Join(errs...)
}

type worker struct {
	fd                     int
	first                  int64 // block
	rng                    *rand.Rand
	seen                   []uint32 // checksum of each block's content; 0: unknown
	data                   []byte
	writes, reads, flushes int
	longest                time.Duration
}

func (w *worker) run(stopped *atomic.Bool) error {
	for !stopped.Load() {
		begun := time.Now()
		var err error
		switch w.rng.Intn(8) {
		case 0:
			err = unix.Fsync(w.fd)
			w.flushes++
		case 1, 2, 3:
			err = w.read()
		default:
			err = w.write()
		}
		if err != nil {
			return err
		}
		w.longest = max(w.longest, time.Since(begun))
	}
	return w.whole()
}

func (w *worker) span() (from, n int) {
	n = 1 + w.rng.Intn(most)
	if w.rng.Intn(2) == 0 {
		n = 1
	}
	return w.rng.Intn(len(w.seen) - n), n
}

func (w *worker) write() error {
	from, n := w.span()
	p := w.data[:n*block]
	w.rng.Read(p)
	if w.rng.Intn(16) == 0 {
		clear(p)
	}
	at := (w.first + int64(from)) * block
	if got, err := unix.Pwrite(w.fd, p, at); err != nil || got != len(p) {
		return fmt.Errorf("write %d at %d: %d, %w", len(p), at, got, err)
	}
	for i := range n {
		w.seen[from+i] = sum(p[i*block : (i+1)*block])
	}
	w.writes++
	return nil
}

func sum(p []byte) uint32 { return max(crc32.ChecksumIEEE(p), 1) }

func (w *worker) read() error {
	from, n := w.span()
	w.reads++
	return w.check(from, n)
}

func (w *worker) check(from, n int) error {
	p, at := w.data[:n*block], (w.first+int64(from))*block
	if got, err := unix.Pread(w.fd, p, at); err != nil || got != len(p) {
		return fmt.Errorf("read %d at %d: %d, %w", len(p), at, got, err)
	}
	for i := range n {
		b := p[i*block : (i+1)*block]
		if want := w.seen[from+i]; want != 0 && want != sum(b) {
			return fmt.Errorf("block %d is not what was written: begins with %#x", w.first+int64(from+i), binary.BigEndian.Uint64(b))
		}
	}
	return nil
}

func (w *worker) whole() error {
	for from := 0; from < len(w.seen); from += most {
		if err := w.check(from, min(most, len(w.seen)-from)); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	return nil
}

func zeroes(device, offset, length string) error {
	fd, _, err := open(device)
	if err != nil {
		return err
	}
	off, err1 := strconv.ParseInt(offset, 10, 64)
	n, err2 := strconv.ParseInt(length, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	p := aligned(int(n))
	for i := range p {
		p[i] = 0xa5
	}
	if _, err := unix.Pwrite(fd, p, off); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	r := [2]uint64{uint64(off), uint64(n)}
	for _, c := range []struct {
		name   string
		number uintptr
	}{{"BLKDISCARD", 0x1277}, {"BLKZEROOUT", 0x127f}} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), c.number, uintptr(unsafe.Pointer(&r))); errno != 0 {
			return fmt.Errorf("%s: %w", c.name, errno)
		}
	}
	if _, err := unix.Pread(fd, p, off); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	for i, b := range p {
		if b != 0 {
			return fmt.Errorf("byte %d is %#x after zeroing", i, b)
		}
	}
	return nil
}

func wait(device string) error {
	fd, _, err := open(device)
	if err != nil {
		return err
	}
	fmt.Println("open")
	p := aligned(block)
	for n := 0; ; n++ {
		_, err := unix.Pwrite(fd, p, int64(n%64)*block)
		if err == nil {
			err = unix.Fsync(fd)
		}
		if errors.Is(err, unix.EIO) {
			fmt.Println("failed as it must, after", n)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func syncs(device, how, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	flags := unix.O_RDWR | unix.O_DIRECT
	if how == "dsync" {
		flags |= unix.O_DSYNC
	}
	fd, err := unix.Open(device, flags, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", device, err)
	}
	p := aligned(block)
	for i := range n {
		if _, err := unix.Pwrite(fd, p, int64(i)*block); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if how == "fsync" {
			if err := unix.Fsync(fd); err != nil {
				return fmt.Errorf("fsync: %w", err)
			}
		}
	}
	return nil
}

func flood(device, threads string) error {
	n, err := strconv.Atoi(threads)
	if err != nil {
		return err
	}
	fd, _, err := open(device)
	if err != nil {
		return err
	}
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			out, in := aligned(block), aligned(block)
			for round := range 8 {
				for j := range out {
					out[j] = byte(i + j + round)
				}
				if _, err := unix.Pwrite(fd, out, int64(i)*block); err != nil {
					errs[i] = fmt.Errorf("write: %w", err)
					return
				}
				if _, err := unix.Pread(fd, in, int64(i)*block); err != nil || !bytes.Equal(in, out) {
					errs[i] = fmt.Errorf("block %d: read something else: %w", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
