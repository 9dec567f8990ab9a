package loopdev

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func needLoop(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	if err := unix.Access(controlPath, unix.R_OK|unix.W_OK); err != nil {
		t.Skipf("%s: %v", controlPath, err)
	}
}

func attachFile(t *testing.T, size int64) (*Device, error) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return Attach(Config{FD: int(f.Fd()), Name: "loopdev-test", Buffered: true})
}

func TestAttachFindDetach(t *testing.T) {
	needLoop(t)
	d, err := attachFile(t, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	backing, err := d.Backing()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Find(d.Number, backing)
	if err != nil || again == nil || again.Path != d.Path {
		t.Fatalf("find: %+v, %v", again, err)
	}
	again.Release()
	if other, err := Find(d.Number, backing+1); other != nil || err != nil {
		t.Errorf("found as attached to another file system: %+v, %v", other, err)
	}
	gone, err := d.Detach()
	if err != nil || !gone {
		t.Fatalf("detach: gone %v, %v", gone, err)
	}
	if there, err := Find(d.Number, backing); there != nil || err != nil {
		t.Errorf("found after detach: %+v, %v", there, err)
	}
}

// An open that is no claim does not keep Detach from succeeding, but the device stays until it is closed.
func TestDetachWithAnOpenDevice(t *testing.T) {
	needLoop(t)
	d, err := attachFile(t, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	fd, err := unix.Open(d.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := d.Detach(); err != nil || gone {
		t.Errorf("gone %v, %v", gone, err)
	}
	unix.Close(fd)
	if !d.awaitGone() {
		t.Error("the device outlives its last user")
	}
}

// Those who attach at the same time each get a device of their own.
func TestConcurrentAttach(t *testing.T) {
	needLoop(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	numbers := map[int]bool{}
	for i := range 8 {
		wg.Go(func() {
			d, err := attachFile(t, int64(i+1)<<16)
			if err != nil {
				t.Error(err)
				return
			}
			size, err := os.ReadFile(sysfs(d.Number, "size"))
			mu.Lock()
			defer mu.Unlock()
			t.Cleanup(d.Release)
			if err != nil || strings.TrimSpace(string(size)) != fmt.Sprint((i+1)<<7) {
				t.Errorf("%s has %s sectors (%v)", d.Path, size, err)
			}
			if numbers[d.Number] {
				t.Errorf("%s was given twice", d.Path)
			}
			numbers[d.Number] = true
		})
	}
	wg.Wait()
}
