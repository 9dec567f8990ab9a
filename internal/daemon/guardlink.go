package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/guard"
	"holdfast/internal/paths"
)

// guardLink talks to the guard, starting it when there is none and connecting anew when the connection fails.
type guardLink struct {
	root  paths.Root
	spawn *spawner
	log   *slog.Logger

	mu     sync.Mutex
	client *guard.Client
}

// connect returns a working client; the caller holds mu.
func (g *guardLink) connect() (*guard.Client, error) {
	if g.client != nil {
		return g.client, nil
	}
	c, err := guard.Dial(g.root)
	if err != nil {
		if c, err = g.launch(); err != nil {
			return nil, err
		}
	}
	g.client = c
	return c, nil
}

// launch starts a guard and waits until it listens.
func (g *guardLink) launch() (*guard.Client, error) {
	ended := make(chan error, 1)
	if _, err := g.spawn.start("guard", func(err error) { ended <- err }, "guard"); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(volumeStartTimeout)
	for {
		c, err := guard.Dial(g.root)
		if err == nil {
			return c, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the guard does not listen: %w", err)
		}
		select {
		case why := <-ended:
			return nil, fmt.Errorf("the guard ended (%v): see %s", why, filepath.Join(g.root.Log(), "guard.log"))
		case <-time.After(childPoll):
		}
	}
}

// with runs f with a client; a connection that failed (not a refusal) is dropped and f tried once more on another.
func (g *guardLink) with(f func(*guard.Client) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	for range 2 {
		var c *guard.Client
		if c, err = g.connect(); err != nil {
			return err
		}
		err = f(c)
		var refused *guard.RefusedError
		if err == nil || errors.As(err, &refused) {
			return err
		}
		g.log.Warn("guard connection lost", "err", err)
		c.Close()
		g.client = nil
	}
	return err
}

// ensure makes sure that a guard runs, and answers.
func (g *guardLink) ensure() error {
	_, err := g.status()
	return err
}

func (g *guardLink) lease(session uint64, deadline clock.Boottime) error {
	return g.with(func(c *guard.Client) error { return c.Lease(session, deadline) })
}

func (g *guardLink) clear(session uint64) error {
	return g.with(func(c *guard.Client) error { return c.Clear(session) })
}

func (g *guardLink) disarm() error {
	return g.with(func(c *guard.Client) error { return c.Disarm() })
}

func (g *guardLink) release(name string) error {
	return g.with(func(c *guard.Client) error { return c.Release(name) })
}

func (g *guardLink) status() (api.GuardReply, error) {
	var st api.GuardReply
	err := g.with(func(c *guard.Client) (err error) {
		st, err = c.Status()
		return err
	})
	return st, err
}
