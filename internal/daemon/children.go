package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/paths"
)

// spawner starts this binary's other processes so that they outlive the daemon: own session, own cgroup below self/,
// output to a log file of their own.
type spawner struct {
	root   paths.Root
	binary string
	log    *slog.Logger
}

// start runs `holdfast ARGS...` as the process called name and returns its pid. The process is reaped by a goroutine
// that calls ended (if not nil) with how it ended, should this daemon still live then.
func (s *spawner) start(name string, ended func(error), args ...string) (int, error) {
	out, err := s.output(name)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd := exec.Command(s.binary, append(args, "--root", string(s.root))...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if dir, err := s.cgroup(name); err != nil {
		s.log.Warn("process has no cgroup of its own", "process", name, "err", err)
	} else {
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the %s process: %w", name, err)
	}
	go func() {
		err := cmd.Wait()
		s.log.Info("process ended", "process", name, "pid", cmd.Process.Pid, "err", err)
		if ended != nil {
			ended(err)
		}
	}()
	s.log.Info("process started", "process", name, "pid", cmd.Process.Pid)
	return cmd.Process.Pid, nil
}

// output opens the process's log file for appending.
func (s *spawner) output(name string) (*os.File, error) {
	if err := os.MkdirAll(s.root.Log(), 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	path := filepath.Join(s.root.Log(), name+".log")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of the %s process: %w", name, err)
	}
	return f, nil
}

// cgroup makes self/NAME and opens its directory for clone3.
func (s *spawner) cgroup(name string) (*os.File, error) {
	dir := filepath.Join(s.root.Cgroup(), "self", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	return os.OpenFile(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// raisePriority makes this process one that is scheduled before the resources it watches: a daemon that waits behind a
// busy database for longer than a lease would have its host taken for dead.
func raisePriority(log *slog.Logger) {
	const nice = -15
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil && !errors.Is(err, unix.ESRCH) {
		log.Warn("running at normal priority; a busy host may be taken for dead", "err", err)
	}
}
