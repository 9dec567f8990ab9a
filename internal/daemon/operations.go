package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/internal/agent"
	"holdfast/internal/agent/catalog"
	"holdfast/internal/agent/volume"
	"holdfast/internal/api"
	"holdfast/internal/blockdev"
	"holdfast/internal/cluster/controller"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// Calls between the controller and the executors.
const (
	callSubmit   = "executor.submit"   // executor.Request
	callActivity = "executor.activity" // term -> executor.Activity
	callDeliver  = "controller.report" // executor.Report
	callLeave    = "cluster.leave"     // everything has been moved away
	callFence    = "cluster.fence"     // stop everything at once, end the lease
)

// build makes the session's parts and connects them.
func (s *session) build() error {
	d := s.d
	event := d.timeline.Event
	s.links = d.net.links
	s.pulse = newPulse(s.node, s.raft, s.d.clock, s.log.With("part", "pulse"))
	s.pulse.event, s.pulse.send = event, s.sendBeat
	s.tenures = newTenures(s.node, s.raft, d.volumes, s.lease.Load, event, s.log.With("part", "volumes"))
	s.scores = newScores(s.node, s.log)
	s.scores.propose, s.scores.session = s.propose, s.lease.Load
	s.keeper = &keeper{
		node: s.node, incarnation: s.raft.Incarnation(), root: s.root, log: s.log.With("part", "lease"), clock: d.clock, raft: s.raft,
		pulse: s.pulse, guard: d.guard, begun: s.begun, ended: s.over, clean: s.clean,
		deadlines: make(chan grantedDeadline, 1), leaving: make(chan struct{}),
	}
	s.pulse.granted = s.keeper.offer
	volumes := &agentVolumes{volumes: d.volumes, tenures: s.tenures, defined: d.holdable}
	var err error
	s.executor, err = executor.Open(executor.Config{
		Root: s.root, Node: s.node, Clock: d.clock, Agents: agents{catalog.New(s.root, volumes, s.scores.tell), s.scores},
		Sink: s.report, Lease: s.leased, Log: s.log.With("part", "executor"), Event: event,
	})
	if err != nil {
		return err
	}
	s.brain = controller.New(controller.Config{
		Node: s.node, Log: s.raft, Nodes: nodes{s}, Clock: d.clock, Logs: s.log.With("part", "controller"), Why: s.why, Event: event,
	})
	return nil
}

// agents is the host's catalog, with the volume agent watched for promotion scores.
type agents struct {
	*catalog.Catalog
	scores *scores
}

// Agent gives the agent for a spec.
func (a agents) Agent(spec agent.Spec) (agent.Agent, error) {
	found, err := a.Catalog.Agent(spec)
	if err == nil && spec == volume.Spec() {
		return watched{found, a.scores}, nil
	}
	return found, err
}

// leased is asked before anything is started: what was frozen past its lease must start nothing after the guard's kill.
func (s *session) leased() error {
	if deadline := s.pulse.deadline(); deadline == 0 || s.d.clock.Boottime() >= deadline {
		return fmt.Errorf("the lease of %s has ended", s.node)
	}
	return nil
}

// begun lets operations run in a lease session.
func (s *session) begun(session uint64) {
	s.lease.Store(session)
	s.leave.Store(false)
	s.scores.reset()
	s.executor.Resume(session)
	s.d.volumes.pushAll()
}

// over is called when a lease session is over: its guard has killed, or is about to kill, whatever ran in it.
func (s *session) over(lost bool) {
	s.lease.Store(0)
	s.executor.Pause()
	if lost {
		s.d.timeline.Event("lease.lost", nil)
	}
}

// clean removes what an ended session left: operations, mounts of dead devices, volume processes.
func (s *session) clean(ctx context.Context) error {
	killed, cancel := context.WithCancel(ctx)
	cancel() // no agent is asked any more
	return errors.Join(s.executor.StopAll(killed), s.d.abandonVolumes())
}

// sendBeat encodes a heartbeat for the links.
func (s *session) sendBeat(to string, b beat) {
	b.Lineage = s.raft.View().Cluster.Lineage
	data, err := json.Marshal(b)
	if err != nil {
		s.log.Error("heartbeat not sent", "err", err)
		return
	}
	s.links.SendBeat(to, data)
}

// heardBeat decodes a heartbeat.
func (s *session) heardBeat(from string, link int, data []byte) {
	var b beat
	if err := json.Unmarshal(data, &b); err != nil {
		s.log.Warn("heartbeat not understood", "from", from, "err", err)
		return
	}
	if s.mayHear(from, b.Lineage) {
		s.pulse.heard(s.ctx, from, link, b)
	}
}

// report takes an operation's result to the controller of whoever leads.
func (s *session) report(ctx context.Context, r executor.Report) error {
	leader, _ := s.raft.Leader()
	if leader == "" {
		return raftlog.ErrNoLeader
	}
	return s.call(ctx, leader, callDeliver, r, nil)
}

// nodes are the executors of all nodes, for the controller.
type nodes struct{ s *session }

// Dispatch has a node's executor take a request.
func (n nodes) Dispatch(ctx context.Context, node string, req executor.Request) error {
	return n.s.call(ctx, node, callSubmit, req, nil)
}

// Active asks a node's executor what it is doing.
func (n nodes) Active(ctx context.Context, node string, term uint64) (executor.Activity, error) {
	var a executor.Activity
	err := n.s.call(ctx, node, callActivity, term, &a)
	return a, err
}

// Leave tells a node that nothing is left on it.
func (n nodes) Leave(ctx context.Context, node string) error {
	return n.s.call(ctx, node, callLeave, api.Empty{}, nil)
}

// Fence has a node stop everything, and waits until its lease is over: at once if it answers, else when the lease, which
// it does not renew then, has run out.
func (n nodes) Fence(ctx context.Context, node string) error {
	session := n.s.raft.View().Leases[node].Session
	if err := n.s.call(ctx, node, callFence, api.Empty{}, nil); err != nil {
		n.s.log.Warn("the node does not stop by itself; waiting for the end of its lease", "node", node, "err", err)
	}
	return n.s.raft.WaitFor(ctx, func(v *state.View, _ raftlog.Status) bool { return !v.LeaseLive(node, session) })
}

func (d *Daemon) submitHere(_ context.Context, req executor.Request) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	return api.Empty{}, s.executor.Submit(req)
}

func (d *Daemon) activityHere(_ context.Context, term uint64) (executor.Activity, error) {
	s, err := d.needSession()
	if err != nil {
		return executor.Activity{}, err
	}
	return s.executor.Active(term), nil
}

func (d *Daemon) deliverHere(ctx context.Context, r executor.Report) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	return api.Empty{}, s.brain.Report(ctx, r)
}

func (d *Daemon) reasonsHere(context.Context, api.Empty) ([]api.Reason, error) {
	s, err := d.needSession()
	if err != nil {
		return nil, err
	}
	return s.brain.Reasons(), nil
}

// leaveHere answers callLeave.
func (d *Daemon) leaveHere(context.Context, api.Empty) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	s.leave.Store(true)
	return api.Empty{}, nil
}

// fenceHere answers callFence.
func (d *Daemon) fenceHere(ctx context.Context, _ api.Empty) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	session := s.pulse.session()
	if session == 0 {
		return api.Empty{}, nil
	}
	s.lease.Store(0)
	s.pulse.end()
	if err := s.clean(ctx); err != nil {
		return api.Empty{}, fmt.Errorf("stop everything on %s: %w", s.node, err)
	}
	return api.Empty{}, s.propose(ctx, &state.LeaseEnd{Node: s.node, Session: session})
}

// abandonVolumes ends the volume processes of an ended session and takes away what hangs on their dead devices.
func (d *Daemon) abandonVolumes() error {
	names, err := d.volumes.marked()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		if err := d.abandon(name); err != nil {
			failed = append(failed, fmt.Errorf("volume %s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

func (d *Daemon) abandon(name string) error {
	if err := d.volumes.unmark(name); err != nil {
		return err
	}
	states := d.volumes.states(name)
	if err := d.volumes.kill(name); err != nil {
		return err
	}
	for _, st := range states {
		device := st.KernelNumber
		if device == "" {
			device = blockdev.Name(st.Kernel) // a process of a version that does not tell
		}
		if device == "" {
			continue
		}
		if err := unmountDevice(device); err != nil {
			return err
		}
	}
	return d.releaseDevices(name)
}

// releaseDevices has the guard forget the devices of a resource.
func (d *Daemon) releaseDevices(name string) error {
	self, _, err := d.pair(name)
	if err != nil { // it is not configured any more
		return d.guard.release(name)
	}
	for _, v := range self.Volumes {
		if err := d.guard.release(self.DeviceName(name, v)); err != nil {
			return err
		}
	}
	return nil
}

// why says what keeps a replica of a volume out of U, if this node knows.
func (s *session) why(resource, node string) string {
	st := s.d.volumes.status(resource)
	switch {
	case st == nil:
		return ""
	case st.Resync != nil:
		return fmt.Sprintf("resync %.0f %%", st.Resync.Percent)
	case node == s.node:
		return "its disk is " + st.Disk
	case st.PeerDisk == "DUnknown":
		return "not connected"
	default:
		return "its disk is " + st.PeerDisk
	}
}

// noteVolume logs what a failover's timeline needs of a volume.
func (s *session) noteVolume(resource string, st *api.VolumeStatus) {
	s.noting.Lock()
	defer s.noting.Unlock()
	now := volumeNote{st.Conn, st.Frozen}
	if s.notes == nil {
		s.notes = map[string]volumeNote{}
	}
	if was := s.notes[resource]; was != now {
		s.notes[resource] = now
		if was.frozen == "" && now.frozen != "" {
			s.d.timeline.Event("volume.peer-lost", map[string]any{"volume": resource, "why": now.frozen})
		}
		s.d.timeline.Event("volume.state", map[string]any{"volume": resource, "cs": st.Conn, "role": st.Role, "disk": st.Disk, "peer_disk": st.PeerDisk, "frozen": st.Frozen})
	}
}

// volumeNote is what was last logged of a volume.
type volumeNote struct{ conn, frozen string }

var _ controller.Nodes = nodes{}
