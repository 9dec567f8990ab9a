package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/api"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/cluster/transport"
)

// links is what a session needs of the connections to the other members.
type links interface {
	Call(ctx context.Context, node, method string, in, out any) error
	SendBeat(to string, data []byte)
	SendRaft(to string, msgs []*raftpb.Message)
}

// network is this host's end of all links, and the calls it answers.
type network struct {
	d     *Daemon
	links *transport.Transport
	calls map[string]transport.Handler
	// shown is the certificate that members are shown, DER; guarded by the daemon's joining.
	shown []byte
}

// openNetwork listens, and shows the cluster's certificate if this host has one.
func openNetwork(d *Daemon) (*network, error) {
	t, err := transport.New(transport.Config{Root: d.root, Name: d.node, Clock: d.clock, Log: d.log.With("part", "links")})
	if err != nil {
		return nil, err
	}
	n := &network{d: d, links: t, calls: map[string]transport.Handler{}}
	n.register()
	if err := t.Start(); err != nil {
		return nil, err
	}
	return n, nil
}

// called makes a peer's call out of a function.
func called[In, Out any](f func(ctx context.Context, from string, in In) (Out, error)) transport.Handler {
	return func(ctx context.Context, from string, raw json.RawMessage) (any, error) {
		var in In
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, fmt.Errorf("the request is not valid: %w", err)
		}
		return f(ctx, from, in)
	}
}

// anyone drops who asks, for calls that every member may make.
func anyone[In, Out any](f func(context.Context, In) (Out, error)) transport.Handler {
	return called(func(ctx context.Context, _ string, in In) (Out, error) { return f(ctx, in) })
}

// contacted makes a contact call out of a function; only authenticated hosts get here.
func contacted[In, Out any](f func(context.Context, In) (Out, error)) transport.ContactHandler {
	return func(ctx context.Context, _ transport.ContactPeer, raw json.RawMessage) (any, error) {
		var in In
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, fmt.Errorf("the request is not valid: %w", err)
		}
		return f(ctx, in)
	}
}

func (n *network) register() {
	d := n.d
	n.links.HandleContact(contactPrepare, contacted(d.prepare))
	n.links.HandleContact(contactInstall, contacted(d.install))
	n.links.HandleContact(contactStart, contacted(d.startHere))
	n.links.HandleContact(contactDestroy, contacted(d.destroyHere))
	n.calls = map[string]transport.Handler{
		contactStart:   anyone(d.startHere),
		contactDestroy: anyone(d.destroyHere),
		callAdmit:      called(d.admit),
		callReasons:    anyone(d.reasonsHere),
		callHandOver:   anyone(d.handOver),
		callHalt:       anyone(d.halt),
		callSubmit:     anyone(d.submitHere),
		callActivity:   anyone(d.activityHere),
		callDeliver:    anyone(d.deliverHere),
		callLeave:      anyone(d.leaveHere),
		callFence:      anyone(d.fenceHere),
		callGiveUp:     called(d.givenUp),
		callPeek:       anyone(d.volumeStatus),
	}
	for method, h := range n.calls {
		n.links.Handle(method, h)
	}
	n.links.OnRaft(func(from string, m *raftpb.Message) {
		if s := d.current(); s != nil {
			s.raft.Step(from, m)
		}
	})
	n.links.OnBeat(func(from string, link int, data []byte) {
		if s := d.current(); s != nil {
			s.heardBeat(from, link, data)
		}
	})
}

// local answers a call this host makes to itself.
func (n *network) local(ctx context.Context, method string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := n.calls[method](ctx, n.d.node, raw)
	if err != nil || out == nil {
		return err
	}
	if raw, err = json.Marshal(answer); err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// enter shows the cluster's certificate and keeps links to its members.
func (n *network) enter(conf *founding) error {
	c, err := pki.LoadCluster(n.d.root)
	if err != nil {
		return err
	}
	// A start after a stop shows the same certificate: the links stay, since the command to start came over one of them.
	if leaf := c.Cert.Certificate[0]; !bytes.Equal(leaf, n.shown) {
		n.links.SetCluster(c)
		n.shown = leaf
	}
	n.know(conf.Peers)
	return nil
}

// know keeps links to the members.
func (n *network) know(members []state.Member) {
	peers := make([]transport.Peer, 0, len(members))
	for _, m := range members {
		peers = append(peers, transport.Peer{Name: m.Name, Addrs: m.Addrs})
	}
	n.links.SetPeers(peers)
}

// leave shows no cluster's certificate any more.
func (n *network) leave() {
	n.links.SetCluster(nil)
	n.shown = nil
}

func (n *network) close() error { return n.links.Close() }

func (n *network) fingerprint() string { return n.links.Fingerprint() }

// contact calls a host by its pinned identity; if it was never authenticated from here, as a member.
func (n *network) contact(ctx context.Context, host, method string, in, out any) error {
	err := n.links.Contact(ctx, transport.Host{Name: host}, method, in, out)
	if errors.Is(err, transport.ErrNotAuthenticated) && n.calls[method] != nil {
		if host == n.d.node {
			return n.local(ctx, method, in, out)
		}
		if n.links.Connected(host) {
			return n.links.Call(ctx, host, method, in, out)
		}
	}
	return err
}

// addresses are those this host's name stands for, as others will reach it.
func (n *network) addresses() []string {
	found, err := net.LookupHost(n.d.node)
	if err != nil {
		return []string{n.d.node}
	}
	found = slices.DeleteFunc(found, func(a string) bool { ip := net.ParseIP(a); return ip == nil || ip.IsLoopback() })
	if len(found) == 0 {
		return []string{n.d.node}
	}
	return found[:1]
}

// auth answers cluster.auth.
func (d *Daemon) auth(ctx context.Context, in api.AuthRequest) (api.AuthReply, error) {
	out := api.AuthReply{Results: make([]api.NodeResult, len(in.Hosts))}
	names := make([]string, len(in.Hosts))
	for i, h := range in.Hosts {
		names[i] = h.Name
	}
	_ = each(names, func(i int, name string) error {
		host := transport.Host{Name: name, Addr: in.Hosts[i].Addr}
		already, err := d.net.links.Authenticate(ctx, host, in.Username, in.Password)
		r := api.NodeResult{Node: name, OK: err == nil, Message: "Authorized"}
		if already {
			r.Message = "Already authorized"
		}
		if err != nil {
			r.Message = err.Error()
		}
		out.Results[i] = r
		return nil
	})
	return out, nil
}

// sendRaft hands Raft's messages to the links.
func (s *session) sendRaft(to string, msgs []*raftpb.Message) {
	if raftlog.Acknowledges(msgs) {
		s.pulse.acknowledged()
	}
	s.d.net.links.SendRaft(to, msgs)
}

// tlsFiles are this member's certificates for the volumes.
func (d *Daemon) tlsFiles() *api.TLSFiles {
	f := pki.Files(d.root)
	return &f
}
