package fuseloop

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/loopdev"
)

// BenchmarkDevice writes 4 KiB at random offsets past the page cache, on a plain loop device and on ours over the same
// file: what matters is the ratio of the two.
func BenchmarkDevice(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("block devices need root")
	}
	old := runtime.GOMAXPROCS(runtime.NumCPU())
	defer runtime.GOMAXPROCS(old)
	path := filepath.Join(b.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const size = 256 << 20
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		b.Fatal(err)
	}
	plain, err := loopdev.Attach(loopdev.Config{FD: int(f.Fd()), Name: "bench", BlockSize: 4096, Buffered: true})
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Release()
	ours, err := Open(kernel.Config{Name: "bench", Target: &fileTarget{f: f, size: size}})
	if err != nil {
		b.Fatal(err)
	}
	defer ours.Close()
	for _, depth := range []int{1, 32} {
		for _, d := range []struct{ name, path string }{{"plain", plain.Path}, {"fuseloop", ours.DevicePath()}} {
			b.Run(d.name+"/depth="+map[int]string{1: "1", 32: "32"}[depth], func(b *testing.B) { writeRandomly(b, d.path, depth, size) })
		}
	}
}

func writeRandomly(b *testing.B, path string, depth int, size int64) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Munmap(page)
	b.SetBytes(4096)
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range depth {
		wg.Go(func() {
			at := uint64(w + 1)
			for range b.N/depth + 1 {
				at = at*6364136223846793005 + 1442695040888963407
				if _, err := unix.Pwrite(fd, page, int64(at>>20)%(size/4096)*4096); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
