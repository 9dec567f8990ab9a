package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/controller"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/paths"
)

// session is this node's part in a running cluster, from `cluster start` to `cluster stop` or the end of the daemon.
type session struct {
	d     *Daemon
	node  string
	root  paths.Root
	log   *slog.Logger
	conf  *founding
	raft  *raftlog.Node
	links links

	pulse    *pulse
	keeper   *keeper
	tenures  *tenures
	executor *executor.Executor
	brain    *controller.Controller
	scores   *scores

	// read is set once this daemon has made a linearizable read: before it, no volume is told what the log says (S3).
	read atomic.Bool
	// lease is the session volumes are promoted in, 0 while none is held.
	lease atomic.Uint64
	// leave is set when the DC has moved everything away from this node.
	leave atomic.Bool

	kin kin

	noting sync.Mutex
	notes  map[string]volumeNote // by volume

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startSession joins the cluster this host is configured for.
func (d *Daemon) startSession(conf *founding) (*session, error) {
	s := &session{d: d, node: d.node, root: d.root, log: d.log, conf: conf}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	s.raft, err = raftlog.Open(raftlog.Config{
		Dir: d.root.Lib(), Name: d.node, Clock: d.clock, Log: d.log.With("part", "raft"), Send: s.sendRaft,
		MayTransfer: func() bool { return s.pulse.calm() },
	})
	if err != nil {
		return nil, fmt.Errorf("join cluster %s: %w", conf.Name, err)
	}
	if err := s.found(); err != nil {
		return nil, errors.Join(err, s.raft.Stop())
	}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.raft.Stop())
	}
	return s, nil
}

// found bootstraps the log of a founder; a member taken in later gets its log from the leader.
func (s *session) found() error {
	var founders []raftlog.Founder
	mine := false
	for _, m := range s.conf.Founders {
		founders = append(founders, raftlog.Founder{Name: m.Name, Incarnation: m.Incarnation})
		mine = mine || m.Name == s.node && m.Incarnation == s.raft.Incarnation()
	}
	if !mine {
		return nil
	}
	return s.raft.Bootstrap(founders)
}

// run starts the parts. The order matters to none of them.
func (s *session) run() {
	ctx := s.ctx
	s.raft.Start()
	for _, part := range []func(context.Context){s.join, s.pulse.run, s.keeper.run, s.watch, s.feedBalancer, s.think, s.reconsider, s.watchPeer} {
		s.wg.Go(func() { part(ctx) })
	}
	s.wg.Go(func() {
		select {
		case <-ctx.Done():
		case err := <-s.raft.Fatal():
			// S: a log that cannot be written ends the daemon. What runs goes on until the lease ends.
			s.log.Error("the cluster's log has failed", "err", err)
			s.d.fail(fmt.Errorf("the cluster's log has failed: %w", err))
		}
	})
}

// stop ends the session's parts; resources and volumes are not touched.
func (s *session) stop() error {
	s.cancel()
	s.wg.Wait()
	s.executor.Close()
	return s.raft.Stop()
}

// think runs the controller.
func (s *session) think(ctx context.Context) {
	if err := s.brain.Run(ctx); err != nil && ctx.Err() == nil {
		s.d.fail(fmt.Errorf("the controller has failed: %w", err))
	}
}

// join makes this host known to the cluster: a founder puts the cluster's record into an empty log, a host whose log is
// new asks to be taken in.
func (s *session) join(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.joinOnce(ctx)
		if err == nil {
			return
		}
		s.log.Info("not joined yet", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(joinRetry):
		}
	}
}

func (s *session) joinOnce(ctx context.Context) error {
	if m, ok := s.raft.View().Members[s.node]; !ok || m.Incarnation != s.raft.Incarnation() {
		if err := s.introduce(ctx); err != nil {
			return err
		}
	}
	attempt, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if _, err := s.raft.ReadIndex(attempt); err != nil {
		return err
	}
	s.read.Store(true)
	s.d.volumes.pushAll()
	return nil
}

// introduce proposes the cluster's first record, or asks a member to admit this host.
func (s *session) introduce(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if s.raft.Founded() && len(s.raft.Status().Voters) > 0 && s.raft.View().Cluster.UUID == "" {
		return s.propose(attempt, s.conf.first())
	}
	me := s.conf.self(s.node)
	me.Incarnation = s.raft.Incarnation()
	var last error
	for _, m := range s.conf.Peers {
		if m.Name == s.node {
			continue
		}
		if last = s.links.Call(attempt, m.Name, callAdmit, me, nil); last == nil {
			return s.raft.WaitFor(attempt, func(v *state.View, _ raftlog.Status) bool {
				return v.Members[s.node].Incarnation == s.raft.Incarnation()
			})
		}
	}
	return fmt.Errorf("no member has taken this host in: %w", last)
}

// propose puts a command into the log; a refusal is a *state.Refusal.
func (s *session) propose(ctx context.Context, c state.Command) error {
	if _, err := s.raft.Propose(ctx, c); err != nil {
		return fmt.Errorf("%s: %w", state.Verb(c), err)
	}
	return nil
}

// watch tells the volumes and the timeline what changes in the log.
func (s *session) watch(ctx context.Context) {
	old := s.raft.View()
	leader := ""
	for {
		changed := s.raft.Changed()
		view := s.raft.View()
		if now, term := s.raft.Leader(); now != leader {
			leader = now
			s.d.timeline.Event("leader", map[string]any{"peer": now, "term": term})
		}
		if view != old {
			s.compare(old, view)
			old = view
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// reconsider looks again at volumes that are not in the log: a proposal may have failed, or there was no lease when the status
// came, and a volume at rest has nothing new to say.
func (s *session) reconsider(ctx context.Context) {
	again := time.NewTicker(reconsiderEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		for _, name := range s.d.volumes.running() {
			st := s.d.volumes.status(name)
			if peer, err := s.d.peerInCluster(name); err == nil && st != nil {
				s.tenures.consider(name, peer, st)
			}
		}
	}
}

// compare acts on the differences of two views.
func (s *session) compare(old, view *state.View) {
	if fmt.Sprint(old.Members) != fmt.Sprint(view.Members) {
		s.learnMembers(view)
	}
	for _, name := range view.MemberNames() {
		was, is := old.Leases[name], view.Leases[name]
		if was.State != is.State || was.Session != is.Session {
			s.d.timeline.Event("lease."+string(is.State), map[string]any{"peer": name, "session": is.Session})
		}
	}
	for _, name := range s.d.volumes.running() {
		if !old.Volumes[name].SameView(view.Volumes[name]) {
			s.d.volumes.push(name)
		}
	}
}

// learnMembers keeps links to the members as they are now, and remembers them for the next start.
func (s *session) learnMembers(view *state.View) {
	s.conf.Peers = nil
	for _, name := range view.MemberNames() {
		s.conf.Peers = append(s.conf.Peers, view.Members[name])
	}
	if len(s.conf.Peers) == 0 {
		return
	}
	s.d.net.know(s.conf.Peers)
	if err := s.conf.save(s.root); err != nil {
		s.log.Error("members not noted", "err", err)
	}
}

// view is what a volume process is to be told now.
func (s *session) view(resource string) (api.VolumeView, bool) {
	if !s.read.Load() {
		return api.VolumeView{}, false
	}
	view := s.raft.View().VolumeView(resource, s.node)
	view.TLS = s.d.tlsFiles()
	return view, true
}

const joinRetry = 200 * time.Millisecond
