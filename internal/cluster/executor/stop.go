package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/process"
	"holdfast/internal/cluster"
)

// StopAll ends everything that runs here, for good: operations under way are cut short, then resources are demoted and
// stopped by their agents, the last started first, and whatever processes are left in their cgroups are killed. When ctx
// is done it goes straight to killing; with a ctx that is done from the start no agent is asked at all, as after the end
// of a lease. Afterwards the executor is paused and knows of nothing. The error names the resources that could not be
// stopped, and processes that did not die.
func (e *Executor) StopAll(ctx context.Context) error {
	hard := ctx.Err() != nil
	todo := e.pause(ctx)
	if hard {
		todo = nil
	}
	var errs []error
	for _, a := range slices.Backward(todo) {
		if err := e.stopOne(ctx, a); err != nil {
			errs = append(errs, err)
		}
	}
	if err := e.killCgroups(); err != nil {
		errs = append(errs, err)
	}
	e.mu.Lock()
	e.reset(0)
	e.mu.Unlock()
	return errors.Join(errs...)
}

// Pause refuses new operations and cuts short those under way, without waiting: the lease is over. Resume with the same
// session would carry on.
func (e *Executor) Pause() {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	e.pause(done)
}

// pause refuses new operations, cuts short those under way and waits for their end (at most until ctx is done). It
// returns the resources that run.
func (e *Executor) pause(ctx context.Context) []*active {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.paused = true
	for {
		busy := false
		for _, l := range e.lanes {
			if l.running != nil {
				busy = true
				if l.stop != nil {
					l.stop()
				}
			}
		}
		if !busy || ctx.Err() != nil {
			return slices.Clone(e.table.Active)
		}
		changed := e.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(cluster.OrphanPoll): // one that was about to start
		case <-ctx.Done():
		}
		e.mu.Lock()
	}
}

func (e *Executor) stopOne(ctx context.Context, a *active) error {
	op := a.Request.Op
	who, err := e.cfg.Agents.Agent(op.Spec)
	if err != nil {
		return fmt.Errorf("stop %s: %w", op.Resource, err)
	}
	actions := []string{"stop"}
	if a.Promoted {
		actions = []string{"demote", "stop"}
	}
	for _, action := range actions {
		if ctx.Err() != nil {
			return fmt.Errorf("stop %s: no time left: %w", op.Resource, ctx.Err())
		}
		op.Action, op.Interval, op.Started = action, 0, nil
		op.Timeout = max(op.Timeout, cluster.DefaultOpTimeout)
		bound, cancel := context.WithTimeout(ctx, op.Timeout)
		r := who.Run(bound, op)
		cancel()
		err = nil // a stop that succeeds makes up for a demotion that did not
		if r.Status != agent.Done || (r.Code != agent.OK && r.Code != agent.NotRunning) {
			err = fmt.Errorf("%s %s: code %d, status %d: %s", action, op.Resource, r.Code, r.Status, r.ExitReason)
		}
	}
	return err
}

// killCgroups kills what is left below resource/ and removes the cgroups.
func (e *Executor) killCgroups() error {
	base := filepath.Join(e.cfg.Root.Cgroup(), "resource")
	end := time.Now().Add(cluster.HardStopGrace)
	for {
		dirs, err := resourceCgroups(base)
		if err != nil || len(dirs) == 0 {
			return err
		}
		var left []int
		for _, dir := range dirs {
			left = append(left, killCgroup(dir)...)
		}
		if time.Now().After(end) && len(left) > 0 {
			return fmt.Errorf("processes %v of resources are still there %v after they were killed", left, cluster.HardStopGrace)
		}
		if len(left) > 0 {
			time.Sleep(cluster.OrphanPoll)
			continue
		}
		if time.Now().After(end) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// resourceCgroups lists the cgroups, deepest first; none when there is no cgroup filesystem.
func resourceCgroups(base string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(base, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() && path != base {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	return dirs, err
}

// killCgroup kills the members, or removes an empty cgroup; it returns who is left.
func killCgroup(dir string) []int {
	members := process.Members(dir)
	if len(members) == 0 {
		_ = os.Remove(dir)
		return nil
	}
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	return members
}
