package guest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reaper starts processes and collects every child of PID 1, its own and the orphans it inherits. os/exec waits for its
// children itself and would race with that, so PID 1 uses only this.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

// newReaper starts collecting; it never ends.
func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan syscall.WaitStatus{}}
	died := make(chan os.Signal, 1) // one is enough: collect takes all the dead there are
	signal.Notify(died, unix.SIGCHLD)
	go func() {
		for range died {
			r.collect()
		}
	}()
	return r
}

func (r *reaper) collect() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.mu.Lock()
		if c, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			c <- status
		}
		r.mu.Unlock()
	}
}

// spawn starts argv in a session of its own, with both outputs going to the file, and returns its pid and the channel its
// exit status will come on.
func (r *reaper) spawn(argv, env []string, output *os.File) (int, <-chan syscall.WaitStatus, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, nil, err
	}
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Env:   append(Environment(), env...),
		Dir:   "/root",
		Files: []uintptr{null.Fd(), output.Fd(), output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	r.mu.Lock() // so that the child is known before it can be collected
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", path, err)
	}
	c := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = c
	return pid, c, nil
}

// run runs argv to its end, at most for the given time, then kills its process group.
func (r *reaper) run(argv []string, output *os.File, limit time.Duration) error {
	pid, exited, err := r.spawn(argv, nil, output)
	if err != nil {
		return err
	}
	select {
	case status := <-exited:
		if status.ExitStatus() != 0 {
			return fmt.Errorf("%s: %s", argv[0], describeExit(status))
		}
		return nil
	case <-time.After(limit):
		_ = syscall.Kill(-pid, syscall.SIGKILL) // it may have ended meanwhile
		return fmt.Errorf("%s: not done within %v", argv[0], limit)
	}
}

func describeExit(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
