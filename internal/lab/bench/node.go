package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/paths"
)

// node is one host: a root directory with a guard and a volume process.
type node struct {
	name    string
	program string // the holdfast program
	root    paths.Root
	disk    string
	tls     *api.TLSFiles
	guard   *exec.Cmd
	volume  *exec.Cmd
	session *session
	log     *os.File
}

// inHost starts the program as a host of that name: the name is all that a volume process knows of its host, and a UTS
// namespace of its own gives it one.
func (n *node) inHost(ctx context.Context, args ...string) *exec.Cmd {
	script := `echo "$1" >/proc/sys/kernel/hostname && shift && exec "$@"`
	c := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, "sh", n.name, n.program, "--root", string(n.root)}, args...)...)
	c.Env = append([]string{"HOLDFAST_FRONTEND=fuse"}, os.Environ()...) // unless the caller says otherwise
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS, Pdeathsig: syscall.SIGKILL}
	c.Stderr = n.log
	return c
}

// prepare makes the root, the disk, the configuration and the metadata, and starts the guard.
func (n *node) prepare(ctx context.Context, config string, size int64) error {
	for _, dir := range []string{n.root.DRBDDir(), n.root.Lib(), n.root.Run(), filepath.Join(string(n.root), "dev")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(n.root.DRBDDir(), resource+".res"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := writeFile(n.disk, size); err != nil {
		return err
	}
	var err error
	if n.log, err = os.Create(filepath.Join(string(n.root), "log")); err != nil {
		return err
	}
	if out, err := n.run(ctx, "drbd", "create-md", "--force", resource); err != nil {
		return fmt.Errorf("%s: create-md: %w: %s", n.name, err, out)
	}
	n.guard = n.inHost(ctx, "guard")
	if err := n.guard.Start(); err != nil {
		return fmt.Errorf("%s: start the guard: %w", n.name, err)
	}
	return n.lease(ctx)
}

func (n *node) run(ctx context.Context, args ...string) ([]byte, error) {
	c := n.inHost(ctx, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return bytes.TrimSpace(out.Bytes()), err
}

// leaseFor is how long the guard's lease lasts; the run ends the guard before.
const leaseFor = 24 * time.Hour

// lease gives the guard a lease, as the daemon does.
func (n *node) lease(ctx context.Context) error {
	c, err := dialSocket(ctx, n.root.GuardSocket())
	if err != nil {
		return fmt.Errorf("%s: reach the guard: %w", n.name, err)
	}
	defer c.Close()
	deadline := clock.System{}.Boottime().Add(leaseFor)
	request := api.GuardRequest{Version: api.GuardProtocol, Do: "lease", Session: 1, Deadline: int64(deadline)}
	var reply api.GuardReply
	if err := errors.Join(api.WriteFrame(c, request), api.ReadFrame(c, &reply)); err != nil {
		return fmt.Errorf("%s: give the guard a lease: %w", n.name, err)
	}
	if reply.Error != "" {
		return fmt.Errorf("%s: the guard refuses a lease: %s", n.name, reply.Error)
	}
	return nil
}

// start runs the volume process and opens its session.
func (n *node) start(ctx context.Context, r *record) error {
	n.volume = n.inHost(ctx, "volume", resource)
	if err := n.volume.Start(); err != nil {
		return fmt.Errorf("%s: start the volume: %w", n.name, err)
	}
	s, err := dialVolume(ctx, n.root.VolumeSocket(resource), func(w api.VolumeWant) { r.want(n, w) })
	if err != nil {
		return err
	}
	return r.change(func() { n.session = s })
}

// kill ends the volume process as a crash of its host would.
func (n *node) kill(r *record) error {
	n.end(n.volume)
	n.volume = nil
	return r.change(func() {
		if n.session != nil {
			n.session.conn.Close()
			n.session = nil
		}
	})
}

func (n *node) end(c *exec.Cmd) {
	if c == nil || c.Process == nil {
		return
	}
	_ = c.Process.Kill() // it may have ended
	_ = c.Wait()         // its exit code says that it was killed
}

// stop ends everything of the host.
func (n *node) stop() {
	n.end(n.volume)
	n.end(n.guard)
	if n.log != nil {
		n.log.Close()
	}
}

// device is the path of the kernel's device.
func (n *node) device() (string, error) {
	return filepath.EvalSymlinks(filepath.Join(string(n.root), "dev/drbd1"))
}

// memory is the volume process's resident memory in KiB, now and at its highest.
func (n *node) memory() (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.volume.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "VmRSS: %d", &now)
		fmt.Sscanf(line, "VmHWM: %d", &peak)
	}
	return now, peak, nil
}
