package volume

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/backing"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/fuseloop"
	"holdfast/internal/block/resfile"
	"holdfast/internal/clock"
	"holdfast/internal/disk"
	"holdfast/internal/guard"
	"holdfast/internal/loopback"
	"holdfast/internal/paths"
)

// TestMain lets the test binary be the processes of a host: the guard, and a volume.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("VOLUME_TEST_PROCESS") {
	case "":
		os.Exit(m.Run())
	case "guard":
		err = guard.Run(context.Background(), guard.Config{Root: paths.Root(os.Getenv("VOLUME_TEST_ROOT")), Clock: clock.System{},
			Log: slog.New(slog.DiscardHandler), Reset: &guard.Policy{}})
	case "volume":
		err = volumeProcess()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// volumeProcess is `holdfast volume r0`, with the configuration and the disk of the test.
func volumeProcess() error {
	text, err := os.ReadFile(os.Getenv("VOLUME_TEST_CONFIG"))
	if err != nil {
		return err
	}
	cfg, err := resfile.Parse("test.res", text, nil)
	if err != nil {
		return err
	}
	res, _ := cfg.Resource("r0")
	root := paths.Root(os.Getenv("VOLUME_TEST_ROOT"))
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("VOLUME_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", "a", "pid", os.Getpid())
	}
	keeper := guard.NewKeeper(root, log)
	fuseloop.PrepareProcess(log)
	return Run(context.Background(), Config{Root: root, Resource: res, Node: "a", Clock: clock.System{}, Log: log,
		OpenDisk: func(string) (disk.Device, error) { return backing.Open(os.Getenv("VOLUME_TEST_DISK")) },
		Frontend: func(_ *resfile.Volume, t kernel.Target) (kernel.Frontend, error) {
			return fuseloop.Open(kernel.Config{Name: "r0", Target: t, Guard: keeper, Log: log})
		}})
}

// TestProcessDiesUnderAMountedFilesystem kills the Primary's process again and again while a program writes and syncs:
//
//	program - ext4 - loop - FUSE - volume a (a process, killed)   <--TCP-->   volume b
//	                          \- guard (a process, holds the descriptor)
func TestProcessDiesUnderAMountedFilesystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: loop devices and mounts")
	}
	text := resourceFile(loopback.Address(t), loopback.Address(t), "")
	cfg, err := resfile.Parse("test.res", []byte(text), nil)
	must(t, err)
	res, _ := cfg.Resource("r0")
	p := &pair{t: t, a: newNode(t, "a", res, 1), b: newNode(t, "b", res, 0xb0b)}
	p.a.realDisk(t, 64<<20)
	p.b.realDisk(t, 64<<20)
	setup := p.b.config
	p.b.config = func(c *Config) { setup(c); c.Frontend = nil }
	config := filepath.Join(t.TempDir(), "test.res")
	must(t, os.WriteFile(config, []byte(text), 0o600))
	process := func(kind string) *exec.Cmd {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), "VOLUME_TEST_PROCESS="+kind, "VOLUME_TEST_ROOT="+string(p.a.root), "VOLUME_TEST_CONFIG="+config,
			"VOLUME_TEST_DISK="+p.a.path)
		return c
	}
	startGuard(t, process("guard"), p.a.root)
	p.a.spawn = func() *exec.Cmd { return process("volume") }
	p.synced()
	dev, dir := filepath.Join(string(p.a.root), "dev/drbd1"), t.TempDir()
	run(t, "mkfs.ext4", "-q", dev)
	run(t, "mount", dev, dir)
	mounted := true
	t.Cleanup(func() {
		if mounted {
			exec.Command("umount", dir).Run()
		}
	})
	stop, lines := appendLines(t, filepath.Join(dir, "file"))
	for range 3 {
		awaitLines(t, p.a, lines, lines()+20)
		p.a.kill()
		p.a.start()
		p.a.view(api.VolumeView{})
		p.a.ok(api.VolumeDo{Verb: api.VolumeUp})
		p.a.until("Primary", func(s *api.VolumeStatus) bool { return s.Role == "Primary" })
	}
	n := stop()
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	run(t, "umount", dir)
	mounted = false
	p.a.ok(api.VolumeDo{Verb: api.VolumeDown})
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	checkLines(t, p, n)
}

func awaitLines(t *testing.T, n *node, lines func() int, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); lines() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the program hangs at line %d of %d; status %+v", lines(), want, n.last())
		}
	}
}

func startGuard(t *testing.T, c *exec.Cmd, root paths.Root) {
	t.Helper()
	must(t, os.MkdirAll(root.Run(), 0o755))
	c.Stderr = os.Stderr
	must(t, c.Start())
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	for deadline := time.Now().Add(patience); ; {
		if _, err := os.Stat(root.GuardSocket()); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the guard does not listen")
		}
		time.Sleep(time.Millisecond)
	}
}

// appendLines writes numbered lines, each synced, until stopped.
func appendLines(t *testing.T, path string) (stop func() int, count func() int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	done, ended := make(chan struct{}), make(chan error, 1)
	var n counter
	go func() {
		for {
			select {
			case <-done:
				ended <- f.Close()
				return
			default:
			}
			_, err := fmt.Fprintf(f, "line %d\n", n.get())
			if err == nil {
				err = f.Sync()
			}
			if err != nil {
				ended <- err
				return
			}
			n.add()
		}
	}()
	return func() int {
		close(done)
		if err := <-ended; err != nil {
			t.Errorf("the program got an error: %v", err)
		}
		return n.get()
	}, n.get
}

// checkLines mounts b's disk and looks for every line that was synced.
func checkLines(t *testing.T, p *pair, n int) {
	t.Helper()
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.b.ok(api.VolumeDo{Verb: api.VolumeDown})
	x, err := os.ReadFile(p.a.path)
	must(t, err)
	y, err := os.ReadFile(p.b.path)
	must(t, err)
	size := p.b.size()
	if !bytes.Equal(x[:size], y[:size]) {
		t.Error("the replicas differ")
	}
	dir := t.TempDir()
	run(t, "mount", "-t", "ext4", "-o", "loop", p.b.path, dir)
	defer exec.Command("umount", dir).Run()
	got, err := os.ReadFile(filepath.Join(dir, "file"))
	must(t, err)
	for i, line := range bytes.Split(bytes.TrimSpace(got), []byte("\n")) {
		if string(line) != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if have := bytes.Count(got, []byte("\n")); have != n {
		t.Errorf("%d lines, %d were synced", have, n)
	}
}
