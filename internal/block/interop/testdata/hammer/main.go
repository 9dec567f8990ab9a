// Command hammer writes random data of all sizes to a block device for a while, from several threads at once, with flushes
// and, if asked, discards: the application of the interop tests, inside the virtual machine.
//
//	hammer DEVICE SECONDS SEED [discard]
package main

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sector  = 512
	most    = 1 << 20 // bytes of one write
	threads = 3
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hammer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: hammer DEVICE SECONDS SEED [discard]")
	}
	seconds, err1 := strconv.Atoi(args[1])
	seed, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	size, err := unix.Seek(fd, 0, 2)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	var all sync.WaitGroup
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	failures := make([]error, threads)
	for i := range threads {
		t := &thread{fd: fd, size: size, rng: rand.New(rand.NewSource(int64(seed*threads + i))), discard: len(args) > 3}
		all.Add(1)
		go func() {
			defer all.Done()
			failures[i] = t.run(until)
		}()
	}
	all.Wait()
	return errors.Join(append(failures, unix.Fsync(fd))...)
}

type thread struct {
	fd      int
	size    int64
	rng     *rand.Rand
	discard bool
	writes  int
}

func (t *thread) run(until time.Time) error {
	buf, err := unix.Mmap(-1, 0, most, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	t.rng.Read(buf)
	for time.Now().Before(until) {
		if err := t.step(buf); err != nil {
			return fmt.Errorf("write %d: %w", t.writes, err)
		}
	}
	fmt.Println(t.writes, "writes")
	return nil
}

// step writes once. Every write differs from all others in its first and last bytes.
func (t *thread) step(buf []byte) error {
	n := int64(1+t.rng.Intn(16)) * sector
	switch t.rng.Intn(8) {
	case 0:
		n = int64(1+t.rng.Intn(most/sector)) * sector
	case 1, 2:
		n = 4096
	}
	off := t.rng.Int63n((t.size-n)/sector+1) * sector
	t.writes++
	if t.discard && t.rng.Intn(10) == 0 {
		return t.trim(off, n)
	}
	t.rng.Read(buf[:16])
	t.rng.Read(buf[n-16 : n])
	if _, err := unix.Pwrite(t.fd, buf[:n], off); err != nil {
		return err
	}
	if t.rng.Intn(20) == 0 {
		return unix.Fsync(t.fd)
	}
	return nil
}

func (t *thread) trim(off, n int64) error {
	what := [2]uint64{uint64(off), uint64(n)}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(t.fd), unix.BLKDISCARD, uintptr(unsafe.Pointer(&what[0]))); e != 0 {
		return fmt.Errorf("discard: %w", e)
	}
	return nil
}
