package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/guest"
)

// hostNamespaces are all the namespaces a host has of its own.
const hostNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// commandNamespaces are those a command is started from. With a delegating cgroup mount it keeps the machine's cgroup
// namespace, and differs from the host's other processes only in what its /proc/self/cgroup shows.
func (l *Lab) commandNamespaces() int {
	if l.delegating {
		return hostNamespaces &^ unix.CLONE_NEWCGROUP
	}
	return hostNamespaces
}

// pipeGrace is how long Wait goes on reading the output of a command that has ended but left somebody holding its pipe.
const pipeGrace = 500 * time.Millisecond

// Cmd is a command to run in a host. It is an exec.Cmd whose Start, Run, Output and CombinedOutput enter the host first;
// the name is looked up in the host's PATH, the working directory is /root and the environment the host's, unless Dir and
// Env are set. Everything else works as in os/exec.
type Cmd struct {
	*exec.Cmd
	host *Host
	ctx  context.Context
}

// Command prepares a command. When ctx ends the process is killed.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	cmd := exec.CommandContext(ctx, "/", args...) // with a slash, so that nothing is looked up outside the host
	cmd.Path, cmd.Err = name, nil
	cmd.Args[0] = name
	cmd.Dir, cmd.Env = "/root", guest.Environment()
	cmd.WaitDelay = pipeGrace
	return &Cmd{Cmd: cmd, host: h, ctx: ctx}
}

// Start starts the command in the host's namespaces and cgroup.
func (c *Cmd) Start() error {
	if err := c.start(); err != nil {
		return fmt.Errorf("host %s: start %s: %w", c.host.name, c.Args[0], err)
	}
	return nil
}

func (c *Cmd) start() error {
	group, err := c.host.running()
	if err != nil {
		return err
	}
	dir, err := group.openUnfrozen()
	if err != nil {
		return err
	}
	defer dir.Close()
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(dir.Fd())
	return c.host.inside(c.host.lab.commandNamespaces(), func() error {
		path, err := lookPath(c.Path)
		if err != nil {
			return err
		}
		c.Path = path
		return c.Cmd.Start()
	})
}

// Run starts the command and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and standard error, mixed as they came.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Result is how a command ended.
type Result struct {
	Stdout string
	Stderr string
	// Code is its exit code, or 128 and the signal that killed it, as a shell gives it.
	Code int
}

// Exec runs a command to its end. A command that ran is no error, whatever its exit code; that it could not be started
// or that ctx ended is.
func (h *Host) Exec(ctx context.Context, cmd ...string) (Result, error) {
	if len(cmd) == 0 {
		return Result{}, fmt.Errorf("host %s: no command given", h.name)
	}
	var stdout, stderr strings.Builder
	c := h.Command(ctx, cmd[0], cmd[1:]...)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	if c.ProcessState != nil {
		result.Code = ExitCode(c.ProcessState)
	}
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return result, fmt.Errorf("host %s: %s: %w", h.name, strings.Join(cmd, " "), context.Cause(ctx))
	}
	if errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		return result, nil
	}
	return result, err
}

// ExitCode is a process's exit code as a shell gives it: 128 and the signal for one that was killed.
func ExitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// inside runs f on a thread that has entered the given namespaces of the host. The thread is not used again.
func (h *Host) inside(namespaces int, f func() error) error {
	pidfd, err := h.pidfd()
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	done := make(chan error, 1)
	go onOwnThread(func() { done <- enterAnd(pidfd, namespaces, f) })
	return <-done
}

// onOwnThread runs f on a thread that ends with it. It must be the whole of its goroutine. The process's first thread
// cannot end, and stands for the process in /proc/self: f never gets that one.
func onOwnThread(f func()) {
	runtime.LockOSThread() // never unlocked for f: the thread ends with the goroutine
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // runs elsewhere, since this thread is locked
		defer close(done)
		onOwnThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

func enterAnd(pidfd, namespaces int, f func() error) error {
	// A thread that shares its root directory with others may not change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("separate the thread: %w", err)
	}
	if err := unix.Setns(pidfd, namespaces); err != nil {
		return fmt.Errorf("enter the host: %w", err)
	}
	return f()
}

// lookPath finds a program in the host's PATH; it runs inside.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(guest.SearchPath) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}
