package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/balancer/pool"
	"holdfast/internal/clock"
	"holdfast/internal/paths"
)

// Config is what a balancer process is given.
type Config struct {
	Root  paths.Root
	Clock clock.Source
	Log   *slog.Logger
	// Node is this host's name in the timeline; empty means the kernel's.
	Node string
}

// balancer is the process's state. One mutex guards it and all rules: what happens under it is short.
type balancer struct {
	cfg    Config
	events *events
	ctx    context.Context
	wg     sync.WaitGroup
	// wake makes the evaluation loop look again.
	wake chan struct{}

	mu     sync.Mutex
	rules  map[string]*rule
	view   api.BalancerUpdate // the last one, without its rules
	daemon net.Conn
	// addresses counts the rules that need an address on lo.
	addresses map[netip.Addr]int
}

// updateVersion is that of api.BalancerUpdate.
const updateVersion = 1

// Run serves until ctx ends; then it resets its connections and takes its addresses away. It fails at once when another
// balancer already serves this root.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Node == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find this host's name: %w", err)
		}
		cfg.Node = name
	}
	l, err := listenUnix(cfg.Root.BalancerSocket())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &balancer{cfg: cfg, ctx: ctx, wake: make(chan struct{}, 1), rules: map[string]*rule{}, addresses: map[netip.Addr]int{},
		events: openEvents(cfg.Root, cfg.Clock, cfg.Log, cfg.Node)}
	defer b.events.close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	b.spawn(b.evaluateLoop)
	err = b.acceptDaemons(l)
	cancel()
	b.shutdown()
	b.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (b *balancer) spawn(f func()) {
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		f()
	}()
}

// listenUnix listens on the control socket, replacing one left by a dead process.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another balancer already listens on %s", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the daemon: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("restrict %s to root: %w", path, err)
	}
	return l, nil
}

func (b *balancer) acceptDaemons(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept the daemon: %w", err)
		}
		b.replaceDaemon(conn) // before the next is accepted, so that the newest stays
		b.spawn(func() { b.serveDaemon(conn) })
	}
}

// replaceDaemon closes the connection of an older daemon.
func (b *balancer) replaceDaemon(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.daemon != nil {
		b.daemon.Close()
	}
	b.daemon = conn
}

// serveDaemon takes updates and answers each with the state.
func (b *balancer) serveDaemon(conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(b.ctx, func() { conn.Close() })
	defer stop()
	for {
		var u api.BalancerUpdate
		if err := api.ReadFrame(conn, &u); err != nil {
			if err != io.EOF && !errors.Is(err, net.ErrClosed) {
				b.cfg.Log.Warn("the daemon's connection failed; forwarding goes on", "err", err)
			}
			return
		}
		if u.Version != updateVersion {
			b.cfg.Log.Error("update refused", "err", fmt.Errorf("the daemon speaks version %d of the balancer's messages, this is %d", u.Version, updateVersion))
			return
		}
		b.update(u)
		conn.SetWriteDeadline(time.Now().Add(DaemonTimeout))
		if err := api.WriteFrame(conn, b.status()); err != nil {
			b.cfg.Log.Warn("the daemon got no answer", "err", err)
			return
		}
	}
}

// update takes over rules and view.
func (b *balancer) update(u api.BalancerUpdate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return
	}
	before := b.view
	b.view = u
	b.view.Rules = nil
	b.applyRules(u.Rules)
	for _, r := range b.sorted() {
		r.followed(before, b.view)
		r.evaluate()
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// applyRules starts, changes and stops rules.
func (b *balancer) applyRules(list []api.BalancerRule) {
	want := map[string]bool{}
	for i, conf := range list {
		if i >= MaxRules {
			b.cfg.Log.Error("rules ignored", "err", fmt.Errorf("a host serves at most %d rules, there are %d", MaxRules, len(list)))
			break
		}
		want[conf.Name] = true
		b.applyRule(conf)
	}
	for name, r := range b.rules {
		if !want[name] {
			b.cfg.Log.Info("rule removed", "rule", name)
			r.stop()
			delete(b.rules, name)
		}
	}
}

func (b *balancer) applyRule(conf api.BalancerRule) {
	s, err := Check(conf)
	old := b.rules[conf.Name]
	if old != nil && old.same(conf) {
		return
	}
	if old != nil && err == nil && old.fault == "" && old.set.Frontend == s.Frontend && old.set.Rule.AddAddress == conf.AddAddress {
		b.cfg.Log.Info("rule changed", "rule", conf.Name)
		old.change(s)
		return
	}
	if old != nil {
		old.stop()
	}
	b.rules[conf.Name] = b.startRule(s, err)
}

// sorted lists the rules by name.
func (b *balancer) sorted() []*rule {
	out := make([]*rule, 0, len(b.rules))
	for _, r := range b.rules {
		out = append(out, r)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].set.Rule.Name < out[j].set.Rule.Name })
	return out
}

// evaluateLoop looks again at every rule when time alone may change a verdict.
func (b *balancer) evaluateLoop() {
	const longest = time.Second
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.wake:
		case <-timer.C:
		}
		timer.Reset(min(longest, b.evaluateAll()))
	}
}

// evaluateAll evaluates every rule and returns the time until the next change by time alone.
func (b *balancer) evaluateAll() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := time.Hour
	for _, r := range b.sorted() {
		r.evaluate()
		backends, v := r.poolView()
		if next := pool.NextChange(backends, v); next > 0 {
			wait = min(wait, time.Duration(next-v.Now))
		}
	}
	return wait
}

func (b *balancer) shutdown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.sorted() {
		r.stop()
	}
	b.rules = map[string]*rule{}
}

// status is the answer to the daemon.
func (b *balancer) status() api.BalancerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := api.BalancerStatus{Rules: []api.BalancerRuleStatus{}}
	for _, r := range b.sorted() {
		out.Rules = append(out.Rules, r.status())
	}
	return out
}

// needAddress puts an address on lo for a rule; dropAddress takes it away with the last one.
func (b *balancer) needAddress(ip netip.Addr) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := addAddress(ip); err != nil {
		return err
	}
	b.addresses[ip]++
	return nil
}

func (b *balancer) dropAddress(ip netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses[ip]--
	if b.addresses[ip] > 0 {
		return
	}
	delete(b.addresses, ip)
	if err := removeAddress(ip); err != nil {
		b.cfg.Log.Warn("address left behind", "err", err)
	}
}
