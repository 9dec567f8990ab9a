package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// Calls between members of a running cluster.
const (
	callAdmit    = "member.admit"     // state.Member: take the caller in with its new log
	callReasons  = "dc.reasons"       // why things are not running, from the DC
	callHandOver = "cluster.handover" // give up everything that runs, then the lease
	callHalt     = "cluster.halt"     // stop taking part
)

// targets are the nodes a request means: those named, or all members, or this host.
func (d *Daemon) targets(in api.NodesRequest) ([]string, error) {
	if len(in.Nodes) > 0 {
		return in.Nodes, nil
	}
	conf, err := loadFounding(d.root)
	if err != nil {
		return nil, err
	}
	if conf == nil {
		return nil, &api.Error{Code: 1, Message: "this host belongs to no cluster: pcs cluster setup --name NAME NODE ..."}
	}
	if !in.All {
		return []string{d.node}, nil
	}
	if s := d.current(); s != nil && len(s.raft.View().Members) > 0 {
		return s.raft.View().MemberNames(), nil
	}
	var names []string
	for _, m := range conf.Peers {
		names = append(names, m.Name)
	}
	return names, nil
}

// results asks every node and says what came of each.
func results(nodes []string, good string, ask func(node string) error) api.NodesReply {
	out := api.NodesReply{Results: make([]api.NodeResult, len(nodes))}
	_ = each(nodes, func(i int, node string) error {
		out.Results[i] = api.NodeResult{Node: node, OK: true, Message: good}
		if err := ask(node); err != nil {
			out.Results[i] = api.NodeResult{Node: node, Message: err.Error()}
		}
		return nil
	})
	return out
}

// start answers cluster.start.
func (d *Daemon) start(ctx context.Context, in api.NodesRequest) (api.NodesReply, error) {
	nodes, err := d.targets(in)
	if err != nil {
		return api.NodesReply{}, err
	}
	return results(nodes, "Starting Cluster...", func(node string) error {
		return d.net.contact(ctx, node, contactStart, api.Empty{}, nil)
	}), nil
}

// startHere answers contactStart.
func (d *Daemon) startHere(context.Context, api.Empty) (api.Empty, error) {
	conf, err := loadFounding(d.root)
	if err != nil {
		return api.Empty{}, err
	}
	if conf == nil {
		return api.Empty{}, errors.New("this host belongs to no cluster")
	}
	if err := os.Remove(d.stoppedFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return api.Empty{}, err
	}
	return api.Empty{}, d.join(conf)
}

// stop answers cluster.stop: first every node named hands over what it runs, then each stops taking part.
func (d *Daemon) stop(ctx context.Context, in api.NodesRequest) (api.NodesReply, error) {
	s, err := d.needSession()
	if err != nil {
		return api.NodesReply{}, err
	}
	nodes, err := d.targets(in)
	if err != nil {
		return api.NodesReply{}, err
	}
	if err := s.announceShutdown(ctx, nodes); err != nil {
		return api.NodesReply{}, fmt.Errorf("stop the cluster: %w", err)
	}
	handed := results(nodes, "", func(node string) error { return s.call(ctx, node, callHandOver, api.Empty{}, nil) })
	failed := map[string]string{}
	for _, r := range handed.Results {
		if !r.OK && !in.Force {
			failed[r.Node] = r.Message
		}
	}
	// A node that could not hand over goes on; those that did hold no lease any more and are of no use half stopped.
	return results(nodes, "Stopping Cluster...", func(node string) error {
		if why, ok := failed[node]; ok {
			return errors.New(why)
		}
		return s.call(ctx, node, callHalt, api.Empty{}, nil)
	}), nil
}

// announceShutdown sets the shutdown attribute of several nodes in one entry of the log, so that the scheduler sees them
// leave together and stops the replicas after the last write: one after the other, the standby's would be left behind.
func (s *session) announceShutdown(ctx context.Context, nodes []string) error {
	view := s.raft.View()
	var edits []state.StatusEdit
	for _, node := range nodes {
		if view.Members[node].Kind == state.Data && view.Leases[node].State == state.LeaseActive {
			edits = append(edits, shutdownEdit(node))
		}
	}
	if len(edits) < 2 {
		return nil // a node that leaves alone says so itself
	}
	return s.propose(ctx, &state.CIBStatus{Edits: edits})
}

func shutdownEdit(node string) state.StatusEdit {
	return state.StatusEdit{Transient: &state.AttributeEdit{Node: node, Name: "shutdown", Value: fmt.Sprint(time.Now().Unix())}}
}

// call asks a member, this host included.
func (s *session) call(ctx context.Context, node, method string, in, out any) error {
	if node == s.node {
		return s.d.net.local(ctx, method, in, out)
	}
	return s.links.Call(ctx, node, method, in, out)
}

// handOver answers callHandOver: it asks for this node's shutdown, waits until the cluster has moved everything away, and
// gives up the lease.
func (d *Daemon) handOver(ctx context.Context, _ api.Empty) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	d.timeline.Event("handover.begin", nil)
	if m := s.raft.View().Members[s.node]; m.Kind == state.Data {
		if err := s.shutDown(ctx); err != nil {
			return api.Empty{}, fmt.Errorf("hand over: %w", err)
		}
	}
	session := s.pulse.session()
	s.keeper.leave()
	if session != 0 {
		if err := s.propose(ctx, &state.LeaseEnd{Node: s.node, Session: session}); err != nil {
			return api.Empty{}, fmt.Errorf("give up the lease: %w", err)
		}
	}
	d.timeline.Event("handover.end", nil)
	return api.Empty{}, d.guard.disarm()
}

// shutDown sets the node's shutdown attribute, on which the scheduler moves everything away, and waits for the DC's word
// that nothing is left (the node is then no longer expected in the CIB).
func (s *session) shutDown(ctx context.Context) error {
	if s.pulse.session() == 0 {
		return nil
	}
	if err := s.propose(ctx, &state.CIBStatus{Edits: []state.StatusEdit{shutdownEdit(s.node)}}); err != nil {
		return err
	}
	return s.awaitLeave(ctx)
}

// awaitLeave waits for the DC's word that everything has been moved away.
func (s *session) awaitLeave(ctx context.Context) error {
	look := time.NewTicker(childPoll)
	defer look.Stop()
	for !s.leave.Load() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster has not moved everything away from %s: %w", s.node, ctx.Err())
		case <-look.C:
		}
	}
	return nil
}

// halt answers callHalt: the host stops taking part, until it is started again or boots.
func (d *Daemon) halt(context.Context, api.Empty) (api.Empty, error) {
	// Held from here on: a start that comes right after the answer must wait until the session has ended, and then join.
	d.joining.Lock()
	if err := os.WriteFile(d.stoppedFile(), nil, 0o644); err != nil {
		d.joining.Unlock()
		return api.Empty{}, err
	}
	// The answer goes out on a connection that the session's end closes.
	go func() {
		defer d.joining.Unlock()
		time.Sleep(haltDelay)
		if err := d.leaveSession(); err != nil {
			d.log.Error("cluster not left in order", "err", err)
		}
	}()
	return api.Empty{}, nil
}

// haltDelay lets the answer to the one who asked leave first.
const haltDelay = 100 * time.Millisecond

// destroy answers cluster.destroy.
func (d *Daemon) destroy(ctx context.Context, in api.NodesRequest) (api.NodesReply, error) {
	nodes, err := d.targets(in)
	if err != nil {
		return api.NodesReply{}, err
	}
	return results(nodes, "Succeeded", func(node string) error {
		return d.net.contact(ctx, node, contactDestroy, api.Empty{}, nil)
	}), nil
}

// destroyHere answers contactDestroy.
func (d *Daemon) destroyHere(context.Context, api.Empty) (api.Empty, error) {
	for _, name := range d.volumes.running() {
		if slices.ContainsFunc(d.volumes.states(name), func(st *api.VolumeStatus) bool { return st.Role == "Primary" }) {
			return api.Empty{}, fmt.Errorf("volume %s is Primary here; stop the cluster first: pcs cluster stop --all", name)
		}
	}
	return api.Empty{}, d.forget()
}

// memberAdd answers member.add: a witness or a follower, taken in while the cluster runs.
func (d *Daemon) memberAdd(ctx context.Context, in api.MemberRequest) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	ca, err := pki.LoadCA(d.root)
	if errors.Is(err, os.ErrNotExist) {
		return api.Empty{}, &api.Error{Code: 1, Message: "only a database host of the cluster can take in members; type this there"}
	}
	if err != nil {
		return api.Empty{}, err
	}
	if l := s.raft.View().Leases[in.Node]; l.State == state.LeaseActive {
		return api.Empty{}, &api.Error{Code: 1, Message: in.Node + " is a member already, and runs"}
	}
	return api.Empty{}, s.takeIn(ctx, ca, in)
}

// takeIn makes a host a member: a new one, or a replaced host under the name, and in the place, of the one it replaces.
func (s *session) takeIn(ctx context.Context, ca *pki.CA, in api.MemberRequest) error {
	var p prepared
	if err := s.d.net.contact(ctx, in.Node, contactPrepare, prepareRequest{Name: s.conf.Name}, &p); err != nil {
		return fmt.Errorf("%s: %w", in.Node, err)
	}
	p.Member.Kind = state.Follower
	var caKey []byte
	if in.Witness {
		p.Member.Kind = state.Witness
	}
	if old, known := s.raft.View().Members[in.Node]; known {
		p.Member.Kind = old.Kind
	}
	if p.Member.Kind == state.Data {
		caKey = ca.KeyPEM
	}
	if err := s.raft.Admit(ctx, p.Member); err != nil {
		return fmt.Errorf("take in %s: %w", in.Node, err)
	}
	f := &founder{d: s.d, ca: ca, ask: s.d.net.contact, conf: *s.conf}
	f.conf.Peers = nil
	view := s.raft.View()
	for _, name := range view.MemberNames() {
		f.conf.Peers = append(f.conf.Peers, view.Members[name])
	}
	if err := f.install(ctx, in.Node, p.CSR, caKey); err != nil {
		return fmt.Errorf("take in %s: %w", in.Node, err)
	}
	if err := s.d.net.contact(ctx, in.Node, contactStart, api.Empty{}, nil); err != nil {
		return fmt.Errorf("start %s: %w", in.Node, err)
	}
	return s.raft.WaitFor(ctx, func(v *state.View, _ raftlog.Status) bool {
		lease := v.Leases[in.Node]
		return lease.State == state.LeaseActive && (p.Member.Kind == state.Follower || v.Members[in.Node].Voter)
	})
}

// memberRemove answers member.remove.
func (d *Daemon) memberRemove(ctx context.Context, in api.MemberRequest) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	m, known := s.raft.View().Members[in.Node]
	if !known || m.Kind == state.Data {
		return api.Empty{}, &api.Error{Code: 1, Message: in.Node + " is no witness or follower of this cluster"}
	}
	for _, method := range []string{callHandOver, callHalt} {
		if err := s.call(ctx, in.Node, method, api.Empty{}, nil); err != nil {
			d.log.Warn("member removed without its consent", "node", in.Node, "err", err)
		}
	}
	return api.Empty{}, s.raft.Expel(ctx, in.Node)
}

// memberLead answers member.lead: who shall lead when it can. The leader hands over by itself.
func (d *Daemon) memberLead(ctx context.Context, in api.MemberRequest) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	return api.Empty{}, s.propose(ctx, &state.ClusterLead{Node: in.Node})
}

// admit answers callAdmit: a member whose log is new asks to be taken in again.
func (d *Daemon) admit(ctx context.Context, from string, m state.Member) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	if m.Name != from {
		return api.Empty{}, fmt.Errorf("%s asks to take in %s", from, m.Name)
	}
	known, ok := s.raft.View().Members[from]
	if !ok {
		return api.Empty{}, fmt.Errorf("%s is no member any more", from)
	}
	known.Incarnation = m.Incarnation
	return api.Empty{}, s.raft.Admit(ctx, known)
}
