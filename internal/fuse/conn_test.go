package fuse

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needFUSE skips where the kernel or our rights do not allow a mount.
func needFUSE(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		t.Skipf("/dev/fuse: %v", err)
	}
}

// memory is a file in memory. While hold is set, requests are kept unanswered.
type memory struct {
	mu      sync.Mutex
	data    []byte
	syncs   int
	punched []int64
	hold    bool
	held    []*Request
	fail    error
	arrived chan Op
}

func newMemory(size int) *memory {
	return &memory{data: make([]byte, size), arrived: make(chan Op, 1024)}
}

func (f *memory) Size() int64 { return int64(len(f.data)) }

func (f *memory) Submit(r *Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arrived <- r.Op
	if f.hold {
		f.held = append(f.held, r)
		return
	}
	f.do(r)
}

// at copies content out: under the lock, because the race detector cannot see an order that the kernel gives.
func (f *memory) at(off, n int) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.Clone(f.data[off : off+n])
}

func (f *memory) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *memory) do(r *Request) {
	switch r.Op {
	case Read:
		copy(r.Data, f.data[r.Offset:])
	case Write:
		copy(f.data[r.Offset:], r.Data)
	case Sync:
		f.syncs++
	case Allocate:
		f.punched = append(f.punched, r.Offset, r.Length)
		clear(f.data[r.Offset : r.Offset+r.Length])
	}
	r.Reply(f.fail)
}

func mountMemory(t *testing.T, cfg Config, f File) *Conn {
	t.Helper()
	needFUSE(t)
	c, err := Mount(cfg, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestMountedFile(t *testing.T) {
	f := newMemory(4 << 20)
	dir := filepath.Join(t.TempDir(), "mnt")
	mountMemory(t, Config{Dir: dir, FileName: "data"}, f)
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != "data" {
		t.Fatalf("directory: %v, %v", names, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a name that is not there: %v", err)
	}
	path := filepath.Join(dir, "data")
	info, err := os.Stat(path)
	if err != nil || info.Size() != f.Size() || !info.Mode().IsRegular() {
		t.Fatalf("stat: %+v, %v", info, err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	checkContent(t, f, file)
	if err := file.Truncate(512); !errors.Is(err, os.ErrPermission) {
		t.Errorf("truncate: %v", err)
	}
	if _, err := file.WriteAt([]byte{1}, f.Size()); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write beyond the end: %v", err)
	}
	f.set(func() { f.fail = unix.ENOMEM })
	if err := file.Sync(); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("failing fsync: %v", err)
	}
}

func checkContent(t *testing.T, f *memory, file *os.File) {
	t.Helper()
	want := make([]byte, 3<<20)
	for i := range want {
		want[i] = byte(i * 31 >> 3)
	}
	if _, err := file.WriteAt(want, 4096); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := file.ReadAt(got, 4096); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) || !bytes.Equal(want, f.at(4096, len(want))) {
		t.Error("read back differs")
	}
	err := file.Sync()
	f.set(func() {
		if err != nil || f.syncs != 1 {
			t.Errorf("fsync: %v, %d arrived", err, f.syncs)
		}
	})
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 8192); err != nil {
		t.Error(err)
	}
	f.set(func() {
		if len(f.punched) != 2 || f.punched[0] != 4096 || f.punched[1] != 8192 {
			t.Errorf("punched %v", f.punched)
		}
	})
	if n, err := file.ReadAt(got, f.Size()-100); n != 100 || err == nil {
		t.Errorf("read over the end: %d, %v", n, err)
	}
}

func TestDetachedMountIsInNoNamespace(t *testing.T) {
	f := newMemory(1 << 20)
	c := mountMemory(t, Config{Source: "holdfast-detached-test"}, f)
	fd, err := c.OpenFile()
	if err != nil {
		t.Fatal(err)
	}
	c.DropMount()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte("holdfast-detached-test")) {
		t.Errorf("visible in mountinfo (%v)", err)
	}
	if _, err := unix.Pwrite(fd, []byte("hello"), 10); err != nil {
		t.Error(err)
	}
	if string(f.at(10, 5)) != "hello" {
		t.Error("the write did not arrive")
	}
	unix.Close(fd)
	wait(t, c.Done(), "the connection's end after the last close")
}

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("no sign of %s", what)
	}
}

func TestAbortFailsRequestsInFlight(t *testing.T) {
	f := newMemory(1 << 20)
	f.hold = true
	c := mountMemory(t, Config{}, f)
	fd, err := c.OpenFile()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	failed := make(chan error, 1)
	go func() {
		_, err := unix.Pwrite(fd, make([]byte, 512), 0)
		failed <- err
	}()
	<-f.arrived
	if err := c.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, unix.ECONNABORTED) {
		t.Errorf("write in flight: %v", err)
	}
	wait(t, c.Done(), "the readers' end")
	f.set(func() {
		for _, r := range f.held {
			f.do(r) // the late answer goes nowhere, and hurts nobody
		}
	})
}

// A second reader of the descriptor, as another process would be, gets what the first had read and not answered.
func TestAdoptAsksAgain(t *testing.T) {
	first := newMemory(1 << 20)
	first.hold = true
	c := mountMemory(t, Config{Readers: 1}, first)
	if !c.CanResume() {
		t.Skip("this kernel cannot resend (6.9 is needed)")
	}
	file, err := c.OpenFile()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	failed := make(chan error, 1)
	go func() {
		_, err := unix.Pwrite(file, []byte("kept"), 0)
		failed <- err
	}()
	<-first.arrived
	second := newMemory(1 << 20)
	fd, err := unix.Dup(c.FD())
	if err != nil {
		t.Fatal(err)
	}
	adopted, err := Adopt(Config{Readers: 1}, second, fd, c.Number())
	if err != nil {
		t.Fatal(err)
	}
	defer adopted.Close()
	select {
	case op := <-second.arrived:
		if op != Write {
			t.Fatalf("operation %d was resent", op)
		}
	case <-first.arrived: // here both read; the kernel gives the request to either
		first.set(func() { first.do(first.held[1]) })
		second = first
	}
	err = <-failed
	if got := string(second.at(0, 4)); err != nil || got != "kept" {
		t.Errorf("write across the change: %v, stored %q", err, got)
	}
}

func TestRequestsAllocateNothing(t *testing.T) {
	f := &null{size: 1 << 20}
	c := mountMemory(t, Config{}, f)
	fd, err := c.OpenFile()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	if n := testing.AllocsPerRun(200, func() {
		_, werr := unix.Pwrite(fd, b, 8192)
		_, rerr := unix.Pread(fd, b, 8192)
		if werr != nil || rerr != nil {
			t.Fatal(werr, rerr)
		}
	}); n >= 1 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}

// null answers everything at once.
type null struct{ size int64 }

func (n *null) Size() int64       { return n.size }
func (n *null) Submit(r *Request) { r.Reply(nil) }

func TestManyConcurrentRequests(t *testing.T) {
	f := newMemory(8 << 20)
	f.arrived = make(chan Op, 1<<20)
	c := mountMemory(t, Config{Depth: 4, Readers: 2}, f)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			fd, err := c.OpenFile()
			if err != nil {
				t.Error(err)
				return
			}
			defer unix.Close(fd)
			b, got := bytes.Repeat([]byte{byte(w + 1)}, 64<<10), make([]byte, 64<<10)
			for i := range 20 {
				off := int64(w)*(512<<10) + int64(i%8)*(64<<10)
				if _, err := unix.Pwrite(fd, b, off); err != nil {
					t.Error(err)
				}
				if _, err := unix.Pread(fd, got, off); err != nil || !bytes.Equal(b, got) {
					t.Error("read back differs", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestConfigRefuses(t *testing.T) {
	for _, cfg := range []Config{{Depth: -1}, {Depth: maxDepth + 1}, {Readers: maxReaders + 1}, {FileName: string(make([]byte, 300))}} {
		if c, err := Mount(cfg, newMemory(512)); err == nil {
			c.Close()
			t.Errorf("%+v accepted", cfg)
		}
	}
}
