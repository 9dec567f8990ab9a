package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/paths"
)

// Policy is what an installation wants done with a host on which killed processes remain after the lease. It is read from
// guard.json in the configuration directory, whose keys are the ones below; without the file nothing is done.
type Policy struct {
	// Reset is how: "none" (the default: the state is failed, and others must not count the node as fenced by it),
	// "watchdog" (a watchdog device is opened and fed from the start, and starved) or "sysrq" (the kernel reboots at once).
	Reset string `json:"reset"`
	// AfterMS is how long after the deadline, in milliseconds; 0 is deadline.DefaultResetAfter.
	AfterMS int `json:"reset_after_ms,omitempty"`
	// Watchdog and Sysrq are the files; empty for /dev/watchdog and /proc/sysrq-trigger.
	Watchdog string `json:"watchdog,omitempty"`
	Sysrq    string `json:"sysrq,omitempty"`
}

// The ways to reset a host.
const (
	ResetNone     = "none"
	ResetWatchdog = "watchdog"
	ResetSysrq    = "sysrq"
)

// LoadPolicy reads guard.json below root.Etc(). A file that cannot be understood is an error: guessing either way could
// leave a node unfenced, or reset a host nobody wanted reset.
func LoadPolicy(root paths.Root) (Policy, error) {
	path := filepath.Join(root.Etc(), "guard.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Policy{Reset: ResetNone}, nil
	}
	if err != nil {
		return Policy{}, fmt.Errorf("read the guard's policy: %w", err)
	}
	p := Policy{Reset: ResetNone}
	if err := json.Unmarshal(text, &p); err != nil {
		return Policy{}, fmt.Errorf("%s: %w", path, err)
	}
	if p.AfterMS < 0 {
		return Policy{}, fmt.Errorf("%s: reset_after_ms is %d; it cannot be negative", path, p.AfterMS)
	}
	switch p.Reset {
	case ResetNone, ResetWatchdog, ResetSysrq:
		return p, nil
	}
	return Policy{}, fmt.Errorf("%s: reset is %q; it can be none, watchdog or sysrq", path, p.Reset)
}

func (p Policy) after() time.Duration { return time.Duration(p.AfterMS) * time.Millisecond }

// resetter is a way to reset the host. alive is called at least every idleNap by the thread that enforces.
type resetter interface {
	alive()
	reset() error
	close()
}

func (p Policy) resetter() (resetter, error) {
	switch p.Reset {
	case ResetSysrq:
		return openSysrq(p.Sysrq)
	case ResetWatchdog:
		return openWatchdog(p.Watchdog)
	}
	return noReset{}, nil
}

// noReset is the default.
type noReset struct{}

func (noReset) alive() {}
func (noReset) close() {}
func (noReset) reset() error {
	return errors.New(`the installation has not opted into it ("reset" in guard.json); stop the processes or the host by hand`)
}

// sysrq asks the kernel to reboot at once, without a sync: what the disks have is what counts.
type sysrq struct{ fd int }

func openSysrq(path string) (resetter, error) {
	if path == "" {
		path = "/proc/sysrq-trigger"
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s for the policy sysrq: %w", path, err)
	}
	return &sysrq{fd: fd}, nil
}

func (*sysrq) alive()   {}
func (s *sysrq) close() { unix.Close(s.fd) }

func (s *sysrq) reset() error {
	_, err := unix.Write(s.fd, []byte("b"))
	return err
}

// watchdog resets the host when it has not been fed for its timeout, so also when the guard itself hangs or dies.
type watchdog struct {
	fd      int
	starved bool
}

func openWatchdog(path string) (resetter, error) {
	if path == "" {
		path = "/dev/watchdog"
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s for the policy watchdog: %w", path, err)
	}
	w := &watchdog{fd: fd}
	if err := w.timeout(watchdogTimeout); err != nil && !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EOPNOTSUPP) {
		w.close()
		return nil, fmt.Errorf("set the timeout of %s: %w", path, err)
	}
	return w, nil
}

func (w *watchdog) timeout(seconds int) error {
	return unix.IoctlSetPointerInt(w.fd, unix.WDIOC_SETTIMEOUT, seconds)
}

// alive feeds it; any byte but V will do.
func (w *watchdog) alive() {
	if !w.starved {
		_, _ = unix.Write(w.fd, []byte{0}) // if feeding fails the host is reset, which is what the policy asks for
	}
}

func (w *watchdog) reset() error {
	w.starved = true
	return w.timeout(watchdogFinal)
}

// close disarms it, unless it is to fire: V before the last close is the driver interface's word for that.
func (w *watchdog) close() {
	if w.starved {
		return
	}
	_, _ = unix.Write(w.fd, []byte("V")) // a driver without that word fires all the same
	unix.Close(w.fd)
}
