package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// Keeper leaves devices with the guard, and leaves them again when the guard has been replaced: a guard that does
// not know a device could not abort it at the deadline. It is what a volume process gives its front end.
type Keeper struct {
	root paths.Root
	log  *slog.Logger

	mu     sync.Mutex
	client *Client // nil while none is connected
	held   map[string]kept
	stop   chan struct{}
	ended  chan struct{}
}

// kept is a device left with the guard, and our copy of its descriptor.
type kept struct {
	device api.GuardHeld
	fd     int
}

// NewKeeper starts one. It needs no guard to be there yet; Hold and Get do.
func NewKeeper(root paths.Root, log *slog.Logger) *Keeper {
	k := &Keeper{root: root, log: log, held: map[string]kept{}, stop: make(chan struct{}), ended: make(chan struct{})}
	go k.watch()
	return k
}

// Close ends the watch. What the guard holds, it keeps.
func (k *Keeper) Close() error {
	close(k.stop)
	<-k.ended
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.held {
		k.forget(name)
	}
	if k.client == nil {
		return nil
	}
	return k.client.Close()
}

// Hold is Client.Hold, for this guard and those after it, until Release.
func (k *Keeper) Hold(name string, device api.GuardHeld, fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	own, err := copyOf(name, fd)
	if err != nil {
		return err
	}
	if err := k.with(func(c *Client) error { return c.Hold(name, device, fd) }); err != nil {
		closeIf(own)
		return err
	}
	k.forget(name)
	k.held[name] = kept{device, own}
	return nil
}

// copyOf is a descriptor of our own, -1 for none.
func copyOf(name string, fd int) (int, error) {
	if fd < 0 {
		return -1, nil
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("copy the descriptor of %s: %w", name, err)
	}
	return own, nil
}

// Get is Client.Get; what it returns is held on as after Hold.
func (k *Keeper) Get(name string) (device api.GuardHeld, fd int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	err = k.with(func(c *Client) (err error) {
		device, fd, err = c.Get(name)
		return err
	})
	if err != nil || device.Kind() == "" {
		return api.GuardHeld{}, -1, err
	}
	own, err := copyOf(name, fd)
	if err != nil {
		closeIf(fd)
		return api.GuardHeld{}, -1, err
	}
	k.forget(name)
	k.held[name] = kept{device, own}
	return device, fd, nil
}

// Release is Client.Release.
func (k *Keeper) Release(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(name)
	return k.with(func(c *Client) error { return c.Release(name) })
}

func (k *Keeper) forget(name string) {
	if h, ok := k.held[name]; ok {
		closeIf(h.fd)
		delete(k.held, name)
	}
}

// with runs f with a connected client, and once more with another if the connection fails. Called with the lock.
func (k *Keeper) with(f func(*Client) error) error {
	var err error
	for range 2 {
		if err = k.connect(); err != nil {
			return err
		}
		var refused *RefusedError
		if err = f(k.client); err == nil || errors.As(err, &refused) {
			return err
		}
		k.client = nil // a client whose connection failed has closed itself
	}
	return err
}

// connect dials if need be, and tells a new guard what the last one held.
func (k *Keeper) connect() error {
	if k.client != nil {
		return nil
	}
	c, err := Dial(k.root)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(k.held)) {
		h := k.held[name]
		err := c.Hold(name, h.device, h.fd)
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			k.log.Warn("the new guard does not take a device over", "name", name, "err", err)
			k.forget(name)
		case err != nil:
			return errors.Join(err, c.Close())
		default:
			k.log.Info("left a device with a new guard", "name", name, "device", h.device.Describe())
		}
	}
	k.client = c
	return nil
}

// watch notices a guard's end and finds the next.
func (k *Keeper) watch() {
	defer close(k.ended)
	ticks := time.NewTicker(keeperLook)
	defer ticks.Stop()
	missing := false
	for {
		select {
		case <-k.stop:
			return
		case <-ticks.C:
		}
		err := k.look()
		if err != nil && !missing {
			k.log.Warn("there is no guard; nobody enforces this node's lease until the daemon has started another", "err", err)
		}
		missing = err != nil
	}
}

func (k *Keeper) look() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.held) == 0 {
		return nil
	}
	return k.with(func(c *Client) error {
		_, err := c.Status()
		return err
	})
}
