package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Limits of the supervision.
const (
	// stopCommandLimit bounds a service's Stop command: the daemon's hands over all it runs.
	stopCommandLimit = 180 * time.Second

	startLimit = 60 * time.Second // a service that is not Ready by then has failed to start
	stopLimit  = 30 * time.Second // after SIGTERM, then it is killed
	// bootReadyLimit is how long a boot waits for one service: a service that never gets ready does not keep it from going on.
	bootReadyLimit = 5 * time.Second
	readyEvery     = 50 * time.Millisecond
	briefLife      = time.Second // a service that lived shorter is restarted with a growing delay
	restartDelay   = 50 * time.Millisecond
	restartMax     = 2 * time.Second
)

// unit is one service and the process that runs it.
type unit struct {
	Service
	reaper *reaper

	// turn serialises start and stop, which wait; mu guards what follows.
	turn sync.Mutex

	mu     sync.Mutex
	wanted bool // it has been started and not been stopped since
	pid    int  // 0 while no process runs
	ended  chan struct{}
	last   string // how it ended last
}

func newUnit(s Service, r *reaper) *unit { return &unit{Service: s, reaper: r} }

// output opens the service's console log for appending.
func (u *unit) output() (*os.File, error) {
	return os.OpenFile(filepath.Join(ConsoleDir, u.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}

// start starts the service unless it runs and waits, at most for the limit, until it is Ready.
func (u *unit) start(limit time.Duration) error {
	u.turn.Lock()
	defer u.turn.Unlock()
	if u.running() {
		return nil
	}
	out, err := u.output()
	if err != nil {
		return err
	}
	defer out.Close()
	if u.Oneshot {
		return u.startOnce(out)
	}
	if err := u.launch(out); err != nil {
		return fmt.Errorf("start %s: %w", u.Name, err)
	}
	return u.awaitReady(out, limit)
}

func (u *unit) startOnce(out *os.File) error {
	if err := u.reaper.run(u.Argv, out, startLimit); err != nil {
		return fmt.Errorf("start %s: %w", u.Name, err)
	}
	u.mu.Lock()
	u.wanted = true
	u.mu.Unlock()
	return nil
}

// launch starts the process and the goroutine that sees it end.
func (u *unit) launch(out *os.File) error {
	pid, exited, err := u.reaper.spawn(u.Argv, u.Env, out)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	u.mu.Lock()
	u.wanted, u.pid, u.ended = true, pid, ended
	u.mu.Unlock()
	go u.watch(exited, ended)
	return nil
}

// watch sees the process end and, if nobody asked for that and Restart says so, starts it again: at once the first time,
// later each time the longer after the quicker it dies.
func (u *unit) watch(exited <-chan syscall.WaitStatus, ended chan struct{}) {
	for delay := time.Duration(0); ; {
		began := time.Now()
		again := u.noteEnd(<-exited)
		if !again {
			close(ended)
			return
		}
		if time.Since(began) > briefLife {
			delay = 0
		}
		time.Sleep(delay)
		delay = min(max(2*delay, restartDelay), restartMax)
		if exited = u.respawn(); exited == nil {
			close(ended)
			return
		}
	}
}

func (u *unit) noteEnd(status syscall.WaitStatus) (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pid, u.last = 0, describeExit(status)
	if u.wanted && u.Restart {
		return true
	}
	u.wanted = false
	return false
}

// respawn returns nil when the service has been stopped meanwhile or cannot be started.
func (u *unit) respawn() <-chan syscall.WaitStatus {
	out, err := u.output()
	if err != nil {
		return nil
	}
	defer out.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.wanted {
		return nil
	}
	pid, exited, err := u.reaper.spawn(u.Argv, u.Env, out)
	if err != nil {
		u.wanted, u.last = false, err.Error()
		return nil
	}
	u.pid = pid
	return exited
}

func (u *unit) awaitReady(out *os.File, limit time.Duration) error {
	for end := time.Now().Add(limit); len(u.Ready) > 0; time.Sleep(readyEvery) {
		if u.reaper.run(u.Ready, out, limit) == nil {
			return nil
		}
		if !u.running() {
			return fmt.Errorf("start %s: it ended: %s; see %s", u.Name, u.lastEnd(), out.Name())
		}
		if time.Now().After(end) {
			return fmt.Errorf("start %s: not ready within %v; see %s", u.Name, limit, out.Name())
		}
	}
	return nil
}

// stop stops the service and waits until its process has gone.
func (u *unit) stop() error {
	u.turn.Lock()
	defer u.turn.Unlock()
	u.mu.Lock()
	wasWanted, pid, ended := u.wanted, u.pid, u.ended
	u.wanted = false
	u.mu.Unlock()
	if !wasWanted && pid == 0 {
		return nil
	}
	out, err := u.output()
	if err != nil {
		return err
	}
	defer out.Close()
	if u.Oneshot {
		return u.stopOnce(out)
	}
	return u.end(pid, ended, out)
}

func (u *unit) stopOnce(out *os.File) error {
	if len(u.Stop) == 0 {
		return nil
	}
	if err := u.reaper.run(u.Stop, out, stopCommandLimit); err != nil {
		return fmt.Errorf("stop %s: %w", u.Name, err)
	}
	return nil
}

// end runs Stop, asks the process to end, and kills it when it does not. Only the process itself is killed, as with
// systemd's KillMode=process: what a service started in sessions of their own is meant to outlive it.
func (u *unit) end(pid int, ended <-chan struct{}, out *os.File) error {
	if len(u.Stop) > 0 {
		if err := u.reaper.run(u.Stop, out, stopCommandLimit); err != nil {
			fmt.Fprintf(out, "stop %s: %v\n", u.Name, err)
		}
	}
	signalProcess(pid, syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(stopLimit):
	}
	signalProcess(pid, syscall.SIGKILL)
	<-ended
	return fmt.Errorf("stop %s: it did not end within %v and was killed", u.Name, stopLimit)
}

func signalProcess(pid int, sig syscall.Signal) {
	if pid > 0 {
		_ = syscall.Kill(pid, sig) // gone already is as good
	}
}

func (u *unit) running() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.wanted
}

func (u *unit) lastEnd() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

// status describes the service for people and tests.
func (u *unit) status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Status{Name: u.Name, Active: u.wanted, PID: u.pid, Last: u.last, AtBoot: u.AtBoot}
}
