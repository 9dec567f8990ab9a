package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// volumes supervises the volume processes of this host. A volume is meant to run while its marker file is in the run
// directory: a process that dies is replaced (the guard holds its descriptor), and a daemon that restarts finds the
// processes again.
type volumes struct {
	root  paths.Root
	spawn *spawner
	log   *slog.Logger
	// guard makes sure that the guard runs, which holds the volumes' descriptors.
	guard func() error
	// viewOf gives the view to hand to a volume process now; ok false means none may be given yet.
	viewOf func(resource string) (view api.VolumeView, ok bool)
	// onMessage gets statuses and wants, from the goroutine that reads the volume's socket.
	onMessage func(resource string, m api.VolumeMessage)

	mu       sync.Mutex
	links    map[string]*volumeLink
	starting map[string]*sync.Mutex
	stopped  bool
	history  *volumeHistory
}

func newVolumes(root paths.Root, spawn *spawner, log *slog.Logger) *volumes {
	return &volumes{root: root, spawn: spawn, log: log, links: map[string]*volumeLink{}, starting: map[string]*sync.Mutex{},
		history: newVolumeHistory()}
}

func (v *volumes) marker(resource string) string {
	return filepath.Join(v.root.Run(), "volume-"+resource+".up")
}

// marked lists the volumes meant to run, sorted.
func (v *volumes) marked() ([]string, error) {
	found, err := filepath.Glob(v.marker("*"))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(found))
	for _, f := range found {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "volume-"), ".up")
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

// resume finds or starts the processes of all marked volumes; called once when the daemon starts.
func (v *volumes) resume() {
	names, err := v.marked()
	if err != nil {
		v.log.Error("volumes of the last daemon not found again", "err", err)
	}
	for _, name := range names {
		if _, err := v.ensure(name); err != nil {
			v.log.Error("volume not resumed", "volume", name, "err", err)
			go v.replace(name)
		}
	}
}

// link is the running process of a volume, or nil.
func (v *volumes) link(resource string) *volumeLink {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.links[resource]
}

// lockStart serialises starting the process of one volume.
func (v *volumes) lockStart(resource string) *sync.Mutex {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.starting[resource] == nil {
		v.starting[resource] = &sync.Mutex{}
	}
	return v.starting[resource]
}

// ensure returns the link to a volume's process, starting one if none runs.
func (v *volumes) ensure(resource string) (*volumeLink, error) {
	lock := v.lockStart(resource)
	lock.Lock()
	defer lock.Unlock()
	if l := v.link(resource); l != nil {
		return l, nil
	}
	l, err := dialVolume(v.root, resource, v.log)
	fresh := err != nil
	if fresh {
		if l, err = v.launch(resource); err != nil {
			return nil, err
		}
	}
	replaces := fresh && v.isMarked(resource)
	if !replaces {
		l.settle()
	}
	v.adopt(l)
	if replaces {
		go v.bringUp(l)
	}
	return l, nil
}

// launch starts a process and waits until it listens.
func (v *volumes) launch(resource string) (*volumeLink, error) {
	if err := v.guard(); err != nil {
		return nil, fmt.Errorf("start volume %s: %w", resource, err)
	}
	ended := make(chan error, 1)
	if _, err := v.spawn.start("volume-"+resource, func(err error) { ended <- err }, "volume", resource); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(volumeStartTimeout)
	for {
		l, err := dialVolume(v.root, resource, v.log)
		if err == nil {
			return l, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("start volume %s: its process does not listen: %w", resource, err)
		}
		select {
		case why := <-ended:
			return nil, fmt.Errorf("start volume %s: its process ended (%v): see %s", resource, why, filepath.Join(v.root.Log(), "volume-"+resource+".log"))
		case <-time.After(childPoll):
		}
	}
}

// adopt takes a new link into use.
func (v *volumes) adopt(l *volumeLink) {
	l.notify = v.tell
	l.closed = v.gone
	v.mu.Lock()
	v.links[l.resource] = l
	v.mu.Unlock()
	go l.read()
	v.push(l.resource)
}

// gone forgets an ended link and replaces the process if the volume is meant to run.
func (v *volumes) gone(l *volumeLink) {
	v.mu.Lock()
	if v.links[l.resource] == l {
		delete(v.links, l.resource)
	}
	v.mu.Unlock()
	if v.wanted(l.resource) {
		v.log.Warn("volume process gone, starting another", "volume", l.resource)
		go v.replace(l.resource)
		return
	}
	v.history.note(l.resource, nil)
}

// wanted tells whether this daemon is to keep a process of the volume running.
func (v *volumes) wanted(resource string) bool {
	v.mu.Lock()
	stopped := v.stopped
	v.mu.Unlock()
	return !stopped && v.isMarked(resource)
}

// replace starts a process for as long as one is wanted and none runs.
func (v *volumes) replace(resource string) {
	for v.wanted(resource) {
		_, err := v.ensure(resource)
		if err == nil {
			return
		}
		v.log.Error("volume process not replaced, trying again", "volume", resource, "err", err)
		time.Sleep(volumeReplaceAgain)
	}
}

func (v *volumes) isMarked(resource string) bool {
	_, err := os.Stat(v.marker(resource))
	return err == nil
}

// bringUp repeats `up` on a process that replaced one.
func (v *volumes) bringUp(l *volumeLink) {
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	r, err := l.do(ctx, api.VolumeDo{Verb: api.VolumeUp})
	if err == nil && r.Code != 0 {
		err = errors.New(r.Error)
	}
	if err != nil {
		v.log.Error("replaced volume process is not up", "volume", l.resource, "err", err)
	}
	l.broughtUp() // the status that follows from `up` has come before its answer
	v.tellSettled(l)
}

// push hands the current view to a volume's process, if there is one of each.
func (v *volumes) push(resource string) {
	l := v.link(resource)
	if l == nil {
		return
	}
	l.pushing.Lock()
	defer l.pushing.Unlock()
	view, ok := v.viewOf(resource)
	if !ok {
		return
	}
	if err := l.send(view); err != nil {
		v.log.Warn("view not delivered", "volume", resource, "err", err)
	}
}

// pushAll hands every volume its view.
func (v *volumes) pushAll() {
	for _, name := range v.running() {
		v.push(name)
	}
}

// running lists the volumes with a process, sorted.
func (v *volumes) running() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := make([]string, 0, len(v.links))
	for name := range v.links {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// states are the last reported statuses of all volumes of a resource.
func (v *volumes) states(resource string) []*api.VolumeStatus {
	if l := v.link(resource); l != nil {
		return l.all()
	}
	return nil
}

// status is the last reported status of a resource's first volume; nil when it is not running.
func (v *volumes) status(resource string) *api.VolumeStatus {
	if l := v.link(resource); l != nil {
		return l.last()
	}
	return nil
}

// do carries out a verb on this host's volume, starting its process for a verb that begins something.
func (v *volumes) do(ctx context.Context, resource string, d api.VolumeDo) (api.VolumeReply, error) {
	starts := d.Verb == api.VolumeUp || d.Verb == api.VolumeAttach
	l := v.link(resource)
	if l == nil && !starts {
		if d.Verb == api.VolumeDown {
			return api.VolumeReply{}, v.unmark(resource)
		}
		return api.VolumeReply{Code: exitNoSuchVolume, Error: fmt.Sprintf("%s: the volume is not up on this host: drbdadm up %s", resource, resource)}, nil
	}
	if l == nil {
		var err error
		if l, err = v.ensure(resource); err != nil {
			return api.VolumeReply{}, err
		}
	}
	switch {
	case starts:
		return v.bring(ctx, l, d)
	case d.Verb == api.VolumeDown:
		return v.takeDown(ctx, l, d)
	default:
		return l.do(ctx, d)
	}
}

// bring sends a verb that begins something. A volume that was not meant to run before is not, if the verb fails.
func (v *volumes) bring(ctx context.Context, l *volumeLink, d api.VolumeDo) (api.VolumeReply, error) {
	was := v.isMarked(l.resource)
	if err := v.mark(l.resource); err != nil {
		return api.VolumeReply{}, err
	}
	r, err := l.do(ctx, d)
	if (err != nil || r.Code != 0) && !was {
		err = errors.Join(err, v.unmark(l.resource))
	}
	return r, err
}

// takeDown sends down and waits for the process's end.
func (v *volumes) takeDown(ctx context.Context, l *volumeLink, d api.VolumeDo) (api.VolumeReply, error) {
	// Before the verb: the process ends after its answer, and gone() must not replace it.
	if err := v.unmark(l.resource); err != nil {
		return api.VolumeReply{}, err
	}
	r, err := l.do(ctx, d)
	if err != nil || r.Code != 0 {
		err = errors.Join(err, v.mark(l.resource))
		if v.link(l.resource) != l {
			go v.replace(l.resource) // it died instead of answering, while nobody would have replaced it
		}
		return r, err
	}
	select {
	case <-l.done:
		return r, nil
	case <-ctx.Done():
		return r, fmt.Errorf("down %s: its process %d does not end: %w", l.resource, l.pid, ctx.Err())
	}
}

// exitNoSuchVolume is drbdsetup's exit code for a minor that is not configured.
const exitNoSuchVolume = 10

func (v *volumes) mark(resource string) error {
	if err := os.WriteFile(v.marker(resource), nil, 0o644); err != nil {
		return fmt.Errorf("note that volume %s is up: %w", resource, err)
	}
	return nil
}

func (v *volumes) unmark(resource string) error {
	if err := os.Remove(v.marker(resource)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("note that volume %s is down: %w", resource, err)
	}
	return nil
}

// kill ends a volume's process at once and waits until it is gone.
func (v *volumes) kill(resource string) error {
	l := v.link(resource)
	if l == nil {
		return nil
	}
	fd, err := unix.PidfdOpen(l.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end the volume process %d: %w", l.pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the volume process %d: %w", l.pid, err)
	}
	select {
	case <-l.done:
		return nil
	case <-time.After(volumeStartTimeout):
		return fmt.Errorf("the volume process %d does not die; is its disk hung?", l.pid)
	}
}

// leave forgets the processes, which go on without this daemon.
func (v *volumes) leave() {
	v.mu.Lock()
	v.stopped = true
	links := make([]*volumeLink, 0, len(v.links))
	for _, l := range v.links {
		links = append(links, l)
	}
	v.mu.Unlock()
	for _, l := range links {
		l.conn.Close()
	}
}
