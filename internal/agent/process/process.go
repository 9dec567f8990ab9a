// Package process runs one command of an external agent: in a session of its own, in the cgroup of its resource, with
// bounded output, and with an end that neither a hung child nor a grandchild that keeps the pipes can put off.
//
// What the command leaves running after it has ended is the resource itself and is let live, in the resource's cgroup.
// On a timeout the command's own session is killed, and nothing else: daemons of earlier operations have sessions of
// their own.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SearchPath is PATH for agents: the system's directories, whatever the daemon's own is.
const SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Limits of a command.
const (
	// OutputMax is how much of standard output, and of standard error, is kept: the first half and the last half.
	OutputMax = 64 << 10
	// PipeWait is how long output may be awaited after the command itself has ended; then a grandchild holds the pipe.
	PipeWait = 200 * time.Millisecond
	// KillWait is how long a killed command may take to disappear before it is reported as unkillable and left.
	KillWait = 5 * time.Second
)

// Command is what to run.
type Command struct {
	Path string
	Args []string // without the name
	Env  []string // the whole environment, NAME=value
	// Cgroup is the cgroup v2 directory to start in; empty for the caller's own.
	Cgroup string
	// Started, if set, is told the process id once the command runs.
	Started func(pid int)
}

// Exit is how a command ended. Err is set when it could not be started or did not end; Code is its exit code, or -1
// when a signal ended it.
type Exit struct {
	Code           int
	Signal         syscall.Signal
	Stdout, Stderr []byte
	Err            error
	// Ctx is why it was killed before its end: context.DeadlineExceeded or context.Canceled.
	Ctx  error
	Exec time.Duration
}

// Run runs the command to its end, or until ctx is done; then it kills the command's session.
func Run(ctx context.Context, c Command) Exit {
	out, errs := newTail(OutputMax), newTail(OutputMax)
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = c.Env, out, errs, "/"
	cmd.WaitDelay = PipeWait
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	begin := time.Now()
	if ctx.Err() != nil {
		return Exit{Code: -1, Ctx: ctx.Err()} // not begun at all
	}
	if err := startIn(cmd, c.Cgroup); err != nil {
		return Exit{Code: -1, Err: fmt.Errorf("run %s: %w", c.Path, err)}
	}
	if c.Started != nil {
		c.Started(cmd.Process.Pid)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	exit := await(ctx, cmd, ended, c.Cgroup)
	exit.Exec = time.Since(begin)
	exit.Stdout, exit.Stderr = out.bytes(), errs.bytes()
	return exit
}

// startIn starts cmd inside the cgroup (clone3 with CLONE_INTO_CGROUP), so that there is no moment in which a child
// could be forked outside it.
func startIn(cmd *exec.Cmd, cgroup string) error {
	if cgroup == "" {
		return cmd.Start()
	}
	dir, err := openCgroup(cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	return cmd.Start()
}

func openCgroup(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make the resource's cgroup: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return nil, fmt.Errorf("look at cgroup %s: %w", path, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, fmt.Errorf("%s is not on a cgroup v2 filesystem; mount cgroup2 there, so that what a resource starts can be found and stopped", path)
	}
	return os.Open(path)
}

// await waits for the end. After ctx is done it kills, and waits KillWait more: a process in uninterruptible sleep
// (a frozen device under it) may never go.
func await(ctx context.Context, cmd *exec.Cmd, ended <-chan error, cgroup string) Exit {
	select {
	case err := <-ended:
		return exitOf(cmd, err)
	case <-ctx.Done():
	}
	KillSession(cmd.Process.Pid, cgroup)
	select {
	case err := <-ended:
		exit := exitOf(cmd, err)
		exit.Ctx = ctx.Err()
		return exit
	case <-time.After(KillWait):
		return Exit{Code: -1, Ctx: ctx.Err(),
			Err: fmt.Errorf("process %d of %s has not ended %v after SIGKILL", cmd.Process.Pid, cmd.Path, KillWait)}
	}
}

func exitOf(cmd *exec.Cmd, err error) Exit {
	state := cmd.ProcessState
	if state == nil {
		return Exit{Code: -1, Err: fmt.Errorf("wait for %s: %w", cmd.Path, err)}
	}
	exit := Exit{Code: state.ExitCode()}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		exit.Signal = ws.Signal()
	}
	var code *exec.ExitError
	if err != nil && !errors.As(err, &code) && !errors.Is(err, exec.ErrWaitDelay) {
		exit.Err = fmt.Errorf("wait for %s: %w", cmd.Path, err)
	}
	return exit
}
