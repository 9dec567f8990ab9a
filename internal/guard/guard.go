// Package guard is the process that outlives the others of its host (`holdfast guard`). It holds what the
// kernel devices of the volumes need (a /dev/fuse descriptor, a socket), so that a volume process can be replaced under a
// mounted file system, and it knows until when the node's lease lasts and enforces the end alone: it ends the devices (aborts
// the FUSE connection, cuts and disconnects the NBD device, stops the ublk device), kills everything in the resources' cgroups, and, where the installation has opted into it, resets the host if processes remain. It needs
// nobody for that: its memory is locked, its thread runs before others, and nothing it does then touches a disk.
//
// The contract of its socket is in internal/api/guard.go; package deadline judges, this package acts.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/clock"
	"holdfast/internal/guard/deadline"
	"holdfast/internal/guard/leasepage"
	"holdfast/internal/paths"
)

// Config says where the guard works.
type Config struct {
	Root  paths.Root
	Clock clock.Source
	Log   *slog.Logger
	// Reset is the installation's policy for a host that cannot be stopped; nil reads it from guard.json (LoadPolicy).
	Reset *Policy
}

// ErrRunning is what Run's error wraps when a guard of this root runs already.
var ErrRunning = errors.New("a guard is running already")

// guard is the running process.
type guard struct {
	cfg   Config
	log   *slog.Logger // does not wait for what it writes to
	page  *leasepage.Page
	reset resetter

	mu      sync.Mutex
	machine *deadline.Machine
	held    map[string]*held
	timer   int // timerfd
	leaving bool
	// announced is the deadline whose end has been logged.
	announced clock.Boottime

	listener *net.UnixListener
	clients  map[*net.UnixConn]bool
	serving  sync.WaitGroup
}

// Run is the guard's life. It returns when ctx is done and no lease is armed: an armed guard that is asked to go stays until
// the deadline, which nobody extends then, or until it is disarmed.
func Run(ctx context.Context, cfg Config) error {
	g, unlock, err := start(cfg)
	if err != nil {
		return fmt.Errorf("start the guard: %w", err)
	}
	defer unlock()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch()
	}()
	g.serving.Add(1)
	go g.accept()
	select {
	case <-ctx.Done():
		g.leave()
		<-watched
	case <-watched:
	}
	return g.stop()
}

// start prepares everything that enforcement will need, while disks and memory still answer.
func start(cfg Config) (g *guard, unlock func(), err error) {
	if err := os.MkdirAll(cfg.Root.Run(), 0o755); err != nil {
		return nil, nil, err
	}
	unlock, err = lock(cfg.Root)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	policy, err := cfg.policy()
	if err != nil {
		return nil, nil, err
	}
	g = &guard{cfg: cfg, log: slog.New(newAsyncHandler(cfg.Log.Handler())), held: map[string]*held{}, clients: map[*net.UnixConn]bool{}}
	if g.reset, err = policy.resetter(); err != nil {
		return nil, nil, err
	}
	if g.page, err = leasepage.Create(cfg.Root.LeasePage()); err != nil {
		return nil, nil, err
	}
	g.machine = deadline.New(g.page.Deadline(), g.page.Session(), policy.after())
	if g.timer, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make a timer: %w", err)
	}
	hardenProcess(g.log)
	if g.listener, err = listen(cfg.Root.GuardSocket()); err != nil {
		return nil, nil, err
	}
	g.log.Info("guard is up", "socket", cfg.Root.GuardSocket(), "state", g.machine.State(), "reset", policy.Reset)
	return g, unlock, nil
}

func (c Config) policy() (Policy, error) {
	if c.Reset != nil {
		return *c.Reset, nil
	}
	return LoadPolicy(c.Root)
}

// lock makes sure that there is one guard for this root. The kernel drops the lock with the process.
func lock(root paths.Root) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(root.Run(), "guard.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (it listens on %s)", ErrRunning, root.GuardSocket())
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// listen replaces the socket that an earlier guard left; the lock says that it is gone.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (g *guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaving = true
	if g.machine.State() == deadline.Armed {
		g.log.Warn("asked to end while a lease is armed; staying until it is over or disarmed")
	}
	g.wake()
}

// stop gives everything back. Descriptors still held are closed: their devices fail unless their processes live.
func (g *guard) stop() error {
	errs := []error{g.listener.Close()}
	g.mu.Lock()
	for c := range g.clients {
		c.Close()
	}
	for name := range g.held {
		g.drop(name)
	}
	g.mu.Unlock()
	g.serving.Wait()
	unix.Close(g.timer)
	g.reset.close()
	return errors.Join(append(errs, g.page.Close())...)
}
