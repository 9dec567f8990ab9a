package labdisk

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/blockdev"
)

const testSize = 64 << 20

func needDevices(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("block devices need root")
	}
	for _, path := range []string{"/dev/fuse", "/dev/loop-control"} {
		if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
			t.Skipf("%s: %v", path, err)
		}
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
}

func newDisk(t *testing.T, cfg Config) *Disk {
	t.Helper()
	cfg.Name, cfg.Path, cfg.Size = "test", filepath.Join(t.TempDir(), "disk"), testSize
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// on switches a disk on and opens it past the page cache.
func on(t *testing.T, d *Disk) *os.File {
	t.Helper()
	if err := d.PowerOn(); err != nil {
		t.Fatal(err)
	}
	return openDevice(t, d)
}

func openDevice(t *testing.T, d *Disk) *os.File {
	t.Helper()
	dev, err := d.Device()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(dev.Path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) // most tests have closed it
	return f
}

// aligned is memory that O_DIRECT takes.
func aligned(t *testing.T, fill byte) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	for i := range b {
		b[i] = fill
	}
	return b
}

func expect(t *testing.T, f *os.File, off int64, want byte) {
	t.Helper()
	b := aligned(t, 0xee)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, bytes.Repeat([]byte{want}, len(b))) {
		t.Errorf("at %d: %d..., want %d", off, b[0], want)
	}
}

func write(t *testing.T, f *os.File, off int64, v byte) {
	t.Helper()
	if _, err := f.WriteAt(aligned(t, v), off); err != nil {
		t.Fatal(err)
	}
}

func TestPowerCutLosesWhatWasNotFlushed(t *testing.T) {
	needDevices(t)
	d := newDisk(t, Config{})
	f := on(t, d)
	write(t, f, 0, 1)
	write(t, f, 8192, 1)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, f, 8192, 2)
	write(t, f, 16384, 2)
	expect(t, f, 8192, 2)
	if err := d.PowerOff(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(aligned(t, 3), 0); !errors.Is(err, unix.EIO) {
		t.Errorf("write after the cut: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("flush after the cut: %v", err)
	}
	again := on(t, d)
	expect(t, again, 0, 1)
	expect(t, again, 8192, 1)
	expect(t, again, 16384, 0)
	if _, err := f.WriteAt(aligned(t, 4), 0); !errors.Is(err, unix.EIO) {
		t.Errorf("the old device writes to the disk that is on again: %v", err)
	}
	if s := d.Stats(); s.LostSectors != 16 || s.KeptSectors != 0 || s.PowerOns != 2 || !s.On {
		t.Errorf("stats %+v", s)
	}
}

func TestUnplugLosesNothing(t *testing.T) {
	needDevices(t)
	d := newDisk(t, Config{})
	f := on(t, d)
	write(t, f, 0, 1)
	if dev, err := d.Device(); err != nil || dev.Path != f.Name() {
		t.Fatalf("device %v, %v", dev, err)
	}
	hold := exec.Command("sleep", "1000")
	hold.ExtraFiles = []*os.File{f}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the other process to hold the device", func() bool {
		dev, err := d.Device()
		if err != nil {
			return false
		}
		uses, err := blockdev.Users(dev.Path)
		return err == nil && len(uses) == 1 && strings.Contains(uses[0], "sleep")
	})
	if err := d.Unplug(); err == nil || !strings.Contains(err.Error(), "sleep") {
		t.Errorf("unplug of a disk in use: %v", err)
	}
	_ = hold.Process.Kill()
	_ = hold.Wait()
	expect(t, f, 0, 1)
	f.Close()
	if err := d.Unplug(); err != nil {
		t.Fatal(err)
	}
	if err := d.Unplug(); !errors.Is(err, ErrOff) {
		t.Errorf("second unplug: %v", err)
	}
	expect(t, on(t, d), 0, 1)
	if err := d.PowerOn(); !errors.Is(err, ErrOn) {
		t.Errorf("second power-on: %v", err)
	}
}

func waitFor(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !there(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestFaults(t *testing.T) {
	needDevices(t)
	d := newDisk(t, Config{})
	f := on(t, d)
	write(t, f, 0, 1)
	one := aligned(t, 7)
	tries := map[string]func() error{
		"read":  func() error { _, err := f.ReadAt(one, 0); return err },
		"write": func() error { _, err := f.WriteAt(one, 4096); return err },
		"flush": f.Sync,
	}
	cases := map[string]struct {
		fault Fault
		fails string
	}{
		"healthy":      {Fault{}, ""},
		"reads fail":   {Fault{FailReads: true}, "read"},
		"writes fail":  {Fault{FailWrites: true}, "write"},
		"flushes fail": {Fault{FailFlushes: true}, "flush"},
		"full":         {Fault{Full: true}, "write"},
		"slow":         {Fault{Delay: time.Millisecond}, ""},
	}
	for name, c := range cases {
		d.Set(c.fault)
		for op, try := range tries {
			if err := try(); (err != nil) != (op == c.fails) {
				t.Errorf("%s: %s gives %v", name, op, err)
			}
		}
	}
	d.Heal()
	for op, try := range tries {
		if err := try(); err != nil {
			t.Errorf("healed: %s gives %v", op, err)
		}
	}
}

func TestHangEndsByHealAndByPowerCut(t *testing.T) {
	needDevices(t)
	d := newDisk(t, Config{})
	f := on(t, d)
	for _, end := range []struct {
		by   func()
		want error
	}{
		{d.Heal, nil},
		{func() {
			if err := d.PowerOff(0); err != nil {
				t.Error(err)
			}
		}, unix.EIO},
	} {
		d.Set(Fault{Hang: true})
		b, done := aligned(t, 5), make(chan error, 1)
		go func() {
			_, err := f.WriteAt(b, 0)
			done <- err
		}()
		waitFor(t, "the write to hang", func() bool {
			d.mu.RLock()
			defer d.mu.RUnlock()
			return len(d.hung) == 1
		})
		end.by()
		if err := <-done; !errors.Is(err, end.want) {
			t.Errorf("the hung write: %v, want %v", err, end.want)
		}
	}
}

// A journalling file system finds after the cut what it had made durable, and is consistent.
func TestFilesystemSurvivesPowerCuts(t *testing.T) {
	needDevices(t, "mkfs.ext4", "mount", "fsck.ext4")
	d := newDisk(t, Config{Seed: 3, CacheBytes: 1 << 20})
	if err := d.PowerOn(); err != nil {
		t.Fatal(err)
	}
	run(t, d, "mkfs.ext4", "-q")
	dir := t.TempDir()
	for round, keep := range []float64{0, 0.5, 0.9} {
		run(t, d, "mount", dir)
		name := filepath.Join(dir, "synced"+string(rune('a'+round)))
		writeFile(t, name, true)
		writeFile(t, filepath.Join(dir, "unsynced"), false)
		if err := d.PowerOff(keep); err != nil {
			t.Fatal(err)
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		if err := d.PowerOn(); err != nil {
			t.Fatal(err)
		}
		run(t, d, "mount", dir) // replays the journal
		for r := range round + 1 {
			b, err := os.ReadFile(filepath.Join(dir, "synced"+string(rune('a'+r))))
			if err != nil || !bytes.Equal(b, bytes.Repeat([]byte("synced"), 50000)) {
				t.Errorf("round %d: what was synced in round %d: %d bytes, %v", round, r, len(b), err)
			}
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
		run(t, d, "fsck.ext4", "-f", "-n")
	}
}

// run runs a program with the disk's device as its argument, before the last one for mount.
func run(t *testing.T, d *Disk, name string, args ...string) {
	t.Helper()
	dev, err := d.Device()
	if err != nil {
		t.Fatal(err)
	}
	if name == "mount" {
		args = []string{dev.Path, args[0]}
		t.Cleanup(func() { _ = unix.Unmount(args[1], unix.MNT_DETACH) }) // usually unmounted
	} else {
		args = append(args, dev.Path)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func writeFile(t *testing.T, name string, sync bool) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte("synced"), 50000)); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestControlSocket(t *testing.T) {
	needDevices(t)
	d := newDisk(t, Config{})
	path := filepath.Join(t.TempDir(), "disk.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Serve(l) }()
	r, err := Ask(path, Command{Do: "power-on"})
	if err != nil || !strings.HasPrefix(r.Device, "/dev/loop") || !r.Stats.On {
		t.Fatalf("power-on: %+v, %v", r, err)
	}
	f := openDevice(t, d)
	if _, err := Ask(path, Command{Do: "fail", What: []string{"flush"}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("flush: %v", err)
	}
	for _, bad := range []Command{{Do: "explode"}, {Do: "fail", What: []string{"seek"}}, {Do: "power-off", Keep: 2}} {
		if _, err := Ask(path, bad); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
	if _, err := Ask(path, Command{Do: "power-off"}); err != nil {
		t.Error(err)
	}
	if _, err := Ask(path, Command{Do: "power-off"}); err == nil || !strings.Contains(err.Error(), "off") {
		t.Errorf("second power-off: %v", err)
	}
	l.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	for name, cfg := range map[string]Config{
		"no size":      {Path: path},
		"odd size":     {Path: path, Size: 1000},
		"no directory": {Path: filepath.Join(path, "x"), Size: 4096},
	} {
		if d, err := Open(cfg); err == nil {
			d.Close()
			t.Errorf("%s: accepted", name)
		}
		os.Remove(path)
	}
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(Config{Path: path, Size: 8192}); err == nil {
		d.Close()
		t.Error("another disk's file was accepted")
	}
}
