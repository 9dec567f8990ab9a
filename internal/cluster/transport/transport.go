// Package transport links the hosts of a cluster: one TLS 1.3 listener on TCP paths.Port for everything.
//
// ALPN tells the two uses apart. "holdfast-contact/1" works between any two hosts, each showing its own identity: the
// first exchange carries the hacluster password and pins the identities on both sides; later ones (setup, taking in a
// member) are accepted from pinned hosts only. "holdfast-peer/1" is mutual TLS with certificates of the cluster's CA. To
// each member there is one connection per class, so that none can delay another: Raft messages, Raft snapshots, calls,
// and heartbeats, these on every link (address) of the member.
package transport

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/paths"
)

// The protocols, as ALPN names them.
const (
	contactProtocol = "holdfast-contact/1"
	peerProtocol    = "holdfast-peer/1"
)

// Config is what a Transport needs.
type Config struct {
	Root paths.Root
	// Name of this host.
	Name string
	// Listen are the addresses to listen on; none means every address, port paths.Port.
	Listen []string
	Clock  clock.Source
	Log    *slog.Logger
	// PasswordHelper checks the hacluster password; empty means pki.PasswordHelper.
	PasswordHelper string
}

// Peer is another member and its addresses, one per link, each HOST or HOST:PORT.
type Peer struct {
	Name  string
	Addrs []string
}

// Handler serves a call of the member from. What it returns is sent back as JSON. An *api.Error keeps its code.
type Handler func(ctx context.Context, from string, in json.RawMessage) (any, error)

// Transport is this host's end of all links.
type Transport struct {
	cfg      Config
	identity pki.Identity
	known    *pki.KnownHosts
	limiter  *pki.Limiter

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.RWMutex
	cluster   *pki.Cluster
	peers     map[string]*peer
	calls     map[string]Handler
	contacts  map[string]ContactHandler
	onRaft    func(from string, m *raftpb.Message)
	onBeat    func(from string, link int, data []byte)
	listeners []net.Listener
	conns     map[net.Conn]string // accepted, with the protocol once known
}

// New makes the transport of this host: its identity (made at the first start), the hosts it knows, and, if it belongs to
// a cluster, its certificate.
func New(cfg Config) (*Transport, error) {
	if cfg.PasswordHelper == "" {
		cfg.PasswordHelper = pki.PasswordHelper
	}
	if len(cfg.Listen) == 0 {
		cfg.Listen = []string{net.JoinHostPort("", strconv.Itoa(paths.Port))}
	}
	identity, err := pki.EnsureIdentity(cfg.Root, cfg.Name)
	if err != nil {
		return nil, err
	}
	known, err := pki.LoadKnownHosts(cfg.Root)
	if err != nil {
		return nil, err
	}
	own, err := pki.LoadCluster(cfg.Root)
	if err != nil && !errors.Is(err, pki.ErrNoCluster) {
		return nil, err
	}
	t := &Transport{cfg: cfg, identity: identity, known: known, limiter: pki.NewLimiter(), cluster: own,
		peers: make(map[string]*peer), calls: make(map[string]Handler), contacts: make(map[string]ContactHandler),
		conns: make(map[net.Conn]string)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.contacts[authMethod] = t.serveAuth
	return t, nil
}

// Fingerprint is that of this host's identity.
func (t *Transport) Fingerprint() string { return t.identity.Fingerprint }

// Known are the hosts authenticated with the hacluster password.
func (t *Transport) Known() *pki.KnownHosts { return t.known }

// Handle has calls of a method served, from now on; nil ends that.
func (t *Transport) Handle(method string, h Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h == nil {
		delete(t.calls, method)
		return
	}
	t.calls[method] = h
}

// OnRaft has Raft messages delivered to f, in the order each peer sent them; nil drops them. F must not block.
func (t *Transport) OnRaft(f func(from string, m *raftpb.Message)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onRaft = f
}

// OnBeat has heartbeats delivered to f; nil drops them. F must not block.
func (t *Transport) OnBeat(f func(from string, link int, data []byte)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onBeat = f
}

// Start listens.
func (t *Transport) Start() error {
	var lc net.ListenConfig
	for _, addr := range t.cfg.Listen {
		l, err := lc.Listen(t.ctx, "tcp", addr)
		if err != nil {
			t.Close()
			return fmt.Errorf("listen for the cluster on %s: %w", addr, err)
		}
		t.mu.Lock()
		t.listeners = append(t.listeners, l)
		t.mu.Unlock()
		t.wg.Go(func() { t.accept(l) })
	}
	return nil
}

// Addr is the first address listened on.
func (t *Transport) Addr() net.Addr {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.listeners) == 0 {
		return nil
	}
	return t.listeners[0].Addr()
}

// Close ends all links and waits for the handlers under way.
func (t *Transport) Close() error {
	t.cancel()
	t.SetPeers(nil)
	t.mu.Lock()
	for _, l := range t.listeners {
		l.Close()
	}
	for c := range t.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.wg.Wait()
	return nil
}

// SetCluster changes the certificate this host shows to members; nil leaves the cluster. All links are closed: those to
// peers come back by themselves.
func (t *Transport) SetCluster(c *pki.Cluster) {
	t.mu.Lock()
	t.cluster = c
	peers := make([]Peer, 0, len(t.peers))
	for _, name := range slices.Sorted(maps.Keys(t.peers)) {
		peers = append(peers, t.peers[name].Peer)
	}
	for conn, protocol := range t.conns {
		if protocol == peerProtocol {
			conn.Close()
		}
	}
	t.mu.Unlock()
	t.SetPeers(nil)
	if c != nil {
		t.SetPeers(peers)
	}
}

// SetPeers names the members to keep links to. This host itself is ignored. Links to those not named are closed.
func (t *Transport) SetPeers(list []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wanted := make(map[string]Peer, len(list))
	for _, p := range list {
		if p.Name != t.cfg.Name {
			p.Addrs = slices.Clone(p.Addrs[:min(len(p.Addrs), cluster.MaxAddrs)])
			wanted[p.Name] = p
		}
	}
	for name, p := range t.peers {
		if w, ok := wanted[name]; !ok || !slices.Equal(w.Addrs, p.Addrs) {
			p.cancel()
			delete(t.peers, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if t.peers[name] == nil && t.ctx.Err() == nil {
			t.peers[name] = t.newPeer(wanted[name])
		}
	}
}

func (t *Transport) peer(name string) *peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.peers[name]
}

func (t *Transport) membership() *pki.Cluster {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.cluster
}

// Connected tells whether calls to a member would find a connection.
func (t *Transport) Connected(name string) bool {
	p := t.peer(name)
	return name == t.cfg.Name || p != nil && p.calls.up()
}

// LinkStatus is the state of one link to a member.
type LinkStatus struct {
	Node string
	Link int
	Addr string
	Up   bool
	// Error is why it is not up, as of the last attempt.
	Error string
}

// Links lists the links, sorted by member and number.
func (t *Transport) Links() []LinkStatus {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []LinkStatus
	for _, name := range slices.Sorted(maps.Keys(t.peers)) {
		p := t.peers[name]
		for i, s := range p.beats {
			st := LinkStatus{Node: name, Link: i, Addr: p.Addrs[i], Up: s.up()}
			if err := s.lastError(); !st.Up && err != nil {
				st.Error = err.Error()
			}
			out = append(out, st)
		}
	}
	return out
}

// withPort adds the usual port to an address that has none.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(addr, strconv.Itoa(paths.Port))
}

// clientTLS is the configuration for dialling the member name.
func clientTLS(own *pki.Cluster, name string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own.Cert}, NextProtos: []string{peerProtocol},
		// The name to check is a member's, not a DNS name: VerifyConnection does what is skipped here.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			got, err := own.PeerName(cs.PeerCertificates)
			if err == nil && got != name {
				err = fmt.Errorf("it is %s", got)
			}
			return err
		},
	}
}

// backoff is the pause after the n-th failure in a row, from 0.
func backoff(n int) time.Duration {
	return min(cluster.BackoffMax, cluster.BackoffMin<<min(n, 10))
}
