package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
	"holdfast/internal/paths"
)

// balancerFeed keeps the balancer process running while this host serves a rule, and tells it what the cluster knows.
type balancerFeed struct {
	root  paths.Root
	spawn *spawner
	log   *slog.Logger

	mu     sync.Mutex
	conn   net.Conn
	status api.BalancerStatus
}

func newBalancerFeed(root paths.Root, spawn *spawner, log *slog.Logger) *balancerFeed {
	return &balancerFeed{root: root, spawn: spawn, log: log}
}

// push sends an update and takes the status that answers it. Without a process one is started, if there is anything to
// serve; a process that serves nothing any more keeps running, it costs nothing.
func (b *balancerFeed) push(u api.BalancerUpdate) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.connect(len(u.Rules) > 0); err != nil || b.conn == nil {
		return err
	}
	err := b.exchange(u)
	if err != nil {
		b.conn.Close()
		b.conn = nil
	}
	return err
}

// connect finds or starts the process; the caller holds mu.
func (b *balancerFeed) connect(needed bool) error {
	if b.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("unix", b.root.BalancerSocket(), time.Second)
	if err == nil {
		b.conn = conn
		return nil
	}
	if !needed {
		return nil
	}
	ended := make(chan error, 1)
	if _, err := b.spawn.start("balancer", func(err error) { ended <- err }, "balancer", "run"); err != nil {
		return err
	}
	deadline := time.Now().Add(volumeStartTimeout)
	for {
		if b.conn, err = net.DialTimeout("unix", b.root.BalancerSocket(), time.Second); err == nil {
			return nil
		}
		b.conn = nil
		if time.Now().After(deadline) {
			return fmt.Errorf("the balancer does not listen: %w", err)
		}
		select {
		case why := <-ended:
			return fmt.Errorf("the balancer ended (%v): see balancer.log", why)
		case <-time.After(childPoll):
		}
	}
}

func (b *balancerFeed) exchange(u api.BalancerUpdate) error {
	if err := b.conn.SetDeadline(time.Now().Add(balancerAnswer)); err != nil {
		return err
	}
	if err := api.WriteFrame(b.conn, u); err != nil {
		return err
	}
	var st api.BalancerStatus
	if err := api.ReadFrame(b.conn, &st); err != nil {
		return err
	}
	b.status = st
	return nil
}

// last is the status the balancer answered last.
func (b *balancerFeed) last() api.BalancerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

// feedBalancer tells the balancer of every change in the log, and regularly while nothing changes that the view still
// holds.
func (s *session) feedBalancer(ctx context.Context) {
	for {
		changed := s.raft.Changed()
		view := s.raft.View()
		if err := s.d.balancer.push(s.balancerUpdate(view)); err != nil && ctx.Err() == nil {
			s.log.Warn("balancer not told", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(balancerEvery):
		}
	}
}

// balancerUpdate is the cluster as a balancer on this host must see it.
func (s *session) balancerUpdate(view *state.View) api.BalancerUpdate {
	u := api.BalancerUpdate{Version: 1, Rules: []api.BalancerRule{}, Primary: map[string]string{}, Epoch: map[string]uint64{}, Lost: view.Lost(), ConfirmedUntil: int64(s.pulse.deadline())}
	for _, name := range view.RuleNames() {
		if r := view.Rules[name]; slices.Contains(r.Hosts, s.node) {
			u.Rules = append(u.Rules, r)
		}
	}
	for _, name := range view.VolumeNames() {
		v := view.Volumes[name]
		if v.Primary != "" && view.LeaseLive(v.Primary, v.PrimarySession) {
			u.Primary[name], u.Epoch[name] = v.Primary, v.Epoch
		}
	}
	return u
}

func (d *Daemon) balancerRules(context.Context, api.Empty) (api.BalancerRules, error) {
	s, err := d.needSession()
	if err != nil {
		return api.BalancerRules{}, err
	}
	out := api.BalancerRules{Rules: []api.BalancerRule{}}
	view := s.raft.View()
	for _, name := range view.RuleNames() {
		out.Rules = append(out.Rules, view.Rules[name])
	}
	return out, nil
}

func (d *Daemon) balancerSet(ctx context.Context, r api.BalancerRule) (api.Empty, error) {
	return d.change(ctx, &state.BalancerSet{Rule: r})
}

func (d *Daemon) balancerRemove(ctx context.Context, r api.BalancerRule) (api.Empty, error) {
	return d.change(ctx, &state.BalancerRemove{Name: r.Name})
}

func (d *Daemon) balancerStatus(context.Context, api.Empty) (api.BalancerStatus, error) {
	return d.balancer.last(), nil
}

// change proposes a command for a local caller.
func (d *Daemon) change(ctx context.Context, c state.Command) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	attempt, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	err = s.propose(attempt, c)
	var refused *state.Refusal
	if errors.As(err, &refused) {
		return api.Empty{}, &api.Error{Code: 1, Message: refused.Reason}
	}
	return api.Empty{}, err
}
