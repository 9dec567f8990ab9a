package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/version"
)

// The contact calls of making and taking apart a cluster: between hosts that have pinned each other's identity
// (cluster.auth), before or beside any cluster.
const (
	contactPrepare = "cluster.prepare"
	contactInstall = "cluster.install"
	contactDestroy = "cluster.destroy"
	contactStart   = "cluster.start"
)

// prepareRequest asks a host to make itself ready for a new cluster.
type prepareRequest struct {
	Name  string `json:"name"`
	Force bool   `json:"force"` // leave the cluster it is in
}

// prepared is what a host answers: who it will be, and what it wants certified.
type prepared struct {
	Member state.Member `json:"member"`
	CSR    []byte       `json:"csr"`
}

// installRequest makes a host a member.
type installRequest struct {
	Conf founding `json:"conf"`
	Cert []byte   `json:"cert"`
	CA   []byte   `json:"ca"`
	// CAKey lets the host take in members; empty for those that may not.
	CAKey []byte `json:"ca_key,omitempty"`
}

// founder is the making of one cluster, on the host where `cluster setup` was typed.
type founder struct {
	d    *Daemon
	ca   *pki.CA
	conf founding
	ask  func(ctx context.Context, host, method string, in, out any) error
}

// setup answers cluster.setup.
func (d *Daemon) setup(ctx context.Context, in api.SetupRequest) (api.SetupReply, error) {
	var out api.SetupReply
	if err := checkSetup(in); err != nil {
		return out, err
	}
	ca, err := pki.NewCA(in.Name)
	if err != nil {
		return out, err
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return out, fmt.Errorf("draw the cluster's identity: %w", err)
	}
	f := &founder{d: d, ca: ca, ask: d.net.contact, conf: founding{Version: 1, Name: in.Name, UUID: hex.EncodeToString(id[:]), TokenMS: in.Token}}
	if err := f.found(ctx, in); err != nil {
		return out, err
	}
	for _, n := range in.Nodes {
		out.Results = append(out.Results, api.NodeResult{Node: n, OK: true, Message: "Succeeded"})
	}
	if len(in.Nodes)%2 == 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d hosts have an even number of votes: when one is lost the other freezes instead of guessing. "+
			"Add a witness, on any other host: holdfast witness add NODE", len(in.Nodes)))
	}
	if in.Start {
		_, err = d.start(ctx, api.NodesRequest{Nodes: in.Nodes})
	}
	return out, err
}

func checkSetup(in api.SetupRequest) error {
	if in.Name == "" || len(in.Nodes) == 0 {
		return &api.Error{Code: 1, Message: "a cluster needs a name and at least one node: pcs cluster setup --name NAME NODE ..."}
	}
	for i, n := range in.Nodes {
		if slices.Contains(in.Nodes[:i], n) {
			return &api.Error{Code: 1, Message: fmt.Sprintf("node %s is named twice", n)}
		}
	}
	return nil
}

// found prepares every node, and only when all are ready installs the cluster on each.
func (f *founder) found(ctx context.Context, in api.SetupRequest) error {
	all := make([]prepared, len(in.Nodes))
	err := each(in.Nodes, func(i int, node string) error {
		return f.ask(ctx, node, contactPrepare, prepareRequest{Name: in.Name, Force: in.Force}, &all[i])
	})
	if err != nil {
		return fmt.Errorf("nothing was set up: %w", err)
	}
	for i, p := range all {
		p.Member.Kind, p.Member.Voter, p.Member.NodeID = state.Data, true, i+1
		f.conf.Founders = append(f.conf.Founders, p.Member)
	}
	f.conf.Peers = f.conf.Founders
	return each(in.Nodes, func(i int, node string) error {
		return f.install(ctx, node, all[i].CSR, f.ca.KeyPEM)
	})
}

// install certifies a host and makes it a member.
func (f *founder) install(ctx context.Context, node string, csr, caKey []byte) error {
	cert, err := f.ca.Issue(csr, node)
	if err != nil {
		return err
	}
	return f.ask(ctx, node, contactInstall, installRequest{Conf: f.conf, Cert: cert, CA: f.ca.CertPEM, CAKey: caKey}, nil)
}

// each runs f for all nodes at once and joins what fails, each named.
func each(nodes []string, f func(i int, node string) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			if err := f(i, n); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// prepare answers contactPrepare: an empty log, and with it an incarnation; a key that stays here.
func (d *Daemon) prepare(_ context.Context, in prepareRequest) (prepared, error) {
	conf, err := loadFounding(d.root)
	if err != nil {
		return prepared{}, err
	}
	if conf != nil && !in.Force {
		return prepared{}, fmt.Errorf("this host is already in the cluster %q; leave it first (pcs cluster destroy) or use --force", conf.Name)
	}
	if conf != nil {
		if err := d.forget(); err != nil {
			return prepared{}, err
		}
	}
	incarnation, err := d.newIncarnation()
	if err != nil {
		return prepared{}, err
	}
	req, err := pki.NewRequest(d.node)
	if err != nil {
		return prepared{}, err
	}
	if err := pki.WriteFile(d.pendingKey(), req.Key, 0o600); err != nil {
		return prepared{}, err
	}
	return prepared{CSR: req.CSR, Member: state.Member{
		Name: d.node, Incarnation: incarnation, Addrs: d.net.addresses(), Fingerprint: d.net.fingerprint(), Version: version.String(),
	}}, nil
}

func (d *Daemon) pendingKey() string { return filepath.Join(d.root.Etc(), "pending.key") }

// newIncarnation opens the log once, to draw the incarnation that goes with it.
func (d *Daemon) newIncarnation() (uint64, error) {
	n, err := raftlog.Open(raftlog.Config{Dir: d.root.Lib(), Name: d.node, Clock: d.clock, Log: d.log, TickEvery: cluster.TickEvery})
	if err != nil {
		return 0, fmt.Errorf("make the cluster's log: %w", err)
	}
	return n.Incarnation(), n.Stop()
}

// install answers contactInstall.
func (d *Daemon) install(_ context.Context, in installRequest) (api.Empty, error) {
	key, err := os.ReadFile(d.pendingKey())
	if err != nil {
		return api.Empty{}, fmt.Errorf("this host was not prepared for a cluster: %w", err)
	}
	if err := pki.Install(d.root, key, in.Cert, in.CA); err != nil {
		return api.Empty{}, err
	}
	if len(in.CAKey) > 0 {
		ca, err := pki.ParseCA(in.CA, in.CAKey)
		if err != nil {
			return api.Empty{}, err
		}
		if err := pki.InstallCA(d.root, ca); err != nil {
			return api.Empty{}, err
		}
	}
	// Set up is not started: that is `cluster start`, or the next boot.
	if err := os.WriteFile(d.stoppedFile(), nil, 0o644); err != nil {
		return api.Empty{}, err
	}
	if err := in.Conf.save(d.root); err != nil {
		return api.Empty{}, err
	}
	return api.Empty{}, os.Remove(d.pendingKey())
}

// forget removes everything of a cluster from this host. Volumes keep their data, and are again run by DRBD's rules.
func (d *Daemon) forget() error {
	d.joining.Lock()
	defer d.joining.Unlock()
	if err := d.leaveSession(); err != nil {
		return err
	}
	d.net.leave()
	if err := d.guard.disarm(); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	if err := pki.Destroy(d.root); err != nil {
		return err
	}
	adopted, err := filepath.Glob(filepath.Join(d.root.Lib(), "adopted-*"))
	if err != nil {
		return err
	}
	if err := raftlog.Remove(d.root.Lib()); err != nil {
		return err
	}
	for _, path := range append(adopted, foundingFile(d.root), sessionFile(d.root), d.stoppedFile()) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("leave the cluster: %w", err)
		}
	}
	d.volumes.pushAll()
	return nil
}
