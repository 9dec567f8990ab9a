// Package daemon is the wiring of a host: it supervises the guard, the volume and balancer processes, answers the
// command line, and while the host belongs to a running cluster it takes part in it: log, lease, controller, executor.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/paths"
	"holdfast/internal/timeline"
)

// Config says who and where this daemon is.
type Config struct {
	Root  paths.Root
	Node  string // this host's name, as clusters know it
	Clock clock.Source
	Log   *slog.Logger
	// Binary is the program started for the other processes; empty means this one.
	Binary string
}

// Daemon is the running daemon.
type Daemon struct {
	node     string
	root     paths.Root
	clock    clock.Source
	log      *slog.Logger
	timeline *timeline.Log
	spawn    *spawner
	guard    *guardLink
	volumes  *volumes
	balancer *balancerFeed
	net      *network

	failed chan error // the first error that must end the daemon

	joining sync.Mutex // held while a session is started or stopped
	mu      sync.Mutex
	session *session
}

// Run is the daemon's life. It returns when ctx is done, leaving guard, volumes, balancer and resources running, or with
// the error that must end it.
func Run(ctx context.Context, cfg Config) error {
	d, err := newDaemon(cfg)
	if err != nil {
		return err
	}
	defer d.timeline.Close()
	l, err := listenUnix(d.root.DaemonSocket())
	if err != nil {
		return err
	}
	raisePriority(d.log)
	defer l.Close()
	if err := d.begin(); err != nil {
		return err
	}
	// Not before: until then there is nothing to answer with. Who calls meanwhile waits in the socket's queue.
	srv := &server{methods: d.methods(), log: d.log}
	go srv.serve(l)
	d.volumes.resume()
	d.timeline.Event("daemon.start", nil)
	select {
	case <-ctx.Done():
		err = nil
	case err = <-d.failed:
	}
	return errors.Join(err, d.end())
}

func newDaemon(cfg Config) (*Daemon, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the holdfast daemon needs to be root: it mounts file systems and starts services")
	}
	for _, dir := range []string{cfg.Root.Etc(), cfg.Root.Lib(), cfg.Root.Run(), cfg.Root.Log()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the directory %s: %w", dir, err)
		}
	}
	if cfg.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		cfg.Binary = self
	}
	t, err := timeline.Open(cfg.Root, cfg.Node, cfg.Clock, cfg.Log)
	if err != nil {
		return nil, err
	}
	d := &Daemon{node: cfg.Node, root: cfg.Root, clock: cfg.Clock, log: cfg.Log, timeline: t, failed: make(chan error, 1)}
	d.spawn = &spawner{root: cfg.Root, binary: cfg.Binary, log: cfg.Log}
	d.guard = &guardLink{root: cfg.Root, spawn: d.spawn, log: cfg.Log}
	d.volumes = newVolumes(cfg.Root, d.spawn, cfg.Log)
	d.volumes.guard, d.volumes.viewOf, d.volumes.onMessage = d.guard.ensure, d.viewOf, d.heardVolume
	d.balancer = newBalancerFeed(cfg.Root, d.spawn, cfg.Log)
	return d, nil
}

// begin opens the links to other hosts and joins the cluster, if this host belongs to one that was not stopped here.
func (d *Daemon) begin() error {
	var err error
	if d.net, err = openNetwork(d); err != nil {
		return err
	}
	conf, err := loadFounding(d.root)
	if err != nil {
		return err
	}
	if conf != nil && !d.stoppedHere() {
		if err := d.join(conf); err != nil {
			return err
		}
	}
	return nil
}

// end leaves everything that runs as it is.
func (d *Daemon) end() error {
	d.volumes.leave()
	d.joining.Lock()
	defer d.joining.Unlock()
	err := d.leaveSession()
	return errors.Join(err, d.net.close())
}

// fail ends the daemon with an error; only the first counts.
func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// current is the session this host takes part in, nil when none.
func (d *Daemon) current() *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session
}

// join starts taking part in the configured cluster.
func (d *Daemon) join(conf *founding) error {
	d.joining.Lock()
	defer d.joining.Unlock()
	if d.current() != nil {
		return nil
	}
	if err := d.guard.ensure(); err != nil {
		return fmt.Errorf("join cluster %s: %w", conf.Name, err)
	}
	if err := d.net.enter(conf); err != nil {
		return fmt.Errorf("join cluster %s: %w", conf.Name, err)
	}
	s, err := d.startSession(conf)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.session = s
	d.mu.Unlock()
	s.run()
	return nil
}

// leaveSession stops taking part; the caller holds joining.
func (d *Daemon) leaveSession() error {
	s := d.current()
	if s == nil {
		return nil
	}
	err := s.stop()
	d.mu.Lock()
	d.session = nil
	d.mu.Unlock()
	return err
}

// stoppedFile marks that the cluster was stopped on this host since it booted.
func (d *Daemon) stoppedFile() string { return filepath.Join(d.root.Run(), "cluster.stopped") }

func (d *Daemon) stoppedHere() bool {
	_, err := os.Stat(d.stoppedFile())
	return err == nil
}

// methods are the calls of the control socket.
func (d *Daemon) methods() map[string]method {
	return map[string]method{
		"cluster.auth":     typed(d.auth),
		"cluster.setup":    typed(d.setup),
		"cluster.start":    typed(d.start),
		"cluster.stop":     typed(d.stop),
		"cluster.destroy":  typed(d.destroy),
		"cluster.status":   typed(d.status),
		"cib.get":          typed(d.cibGet),
		"cib.push":         typed(d.cibPush),
		"resource.cleanup": typed(d.cleanup),
		"member.add":       typed(d.memberAdd),
		"member.remove":    typed(d.memberRemove),
		"member.lead":      typed(d.memberLead),
		"volume.status":    typed(d.volumeStatus),
		"volume.watch":     typed(d.volumeWatch),
		"volume.do":        typed(d.volumeDo),
		"volume.survivor":  typed(d.volumeSurvivor),
		"volume.forget":    typed(d.volumeForget),
		"cluster.recover":  typed(d.recoverAlone),
		"cluster.rejoin":   typed(d.rejoin),
		"balancer.rules":   typed(d.balancerRules),
		"balancer.set":     typed(d.balancerSet),
		"balancer.remove":  typed(d.balancerRemove),
		"balancer.status":  typed(d.balancerStatus),
	}
}

// needSession is the running session, or an error that says how to get one.
func (d *Daemon) needSession() (*session, error) {
	if s := d.current(); s != nil {
		return s, nil
	}
	return nil, &api.Error{Code: 1, Message: "cluster is not currently running on this node: pcs cluster start"}
}
