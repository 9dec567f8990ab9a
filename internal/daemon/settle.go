package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"holdfast/internal/api"
)

// settling is how a volume's process that replaces another becomes the volume. It begins without a disk and as Secondary; until
// it has been brought up and has its predecessor's role, or has been refused that, what it says of itself is no news of the
// volume: nothing is to be moved away from a host for it.
type settling struct {
	brought bool // what there was to do for it has been done; guarded by the link's mu
	once    sync.Once
	settled chan struct{}
	// telling is held while something is passed on, so that an older status never follows a newer.
	telling sync.Mutex
}

func (s *settling) settle() { s.once.Do(func() { close(s.settled) }) }

func (s *settling) isSettled() bool {
	select {
	case <-s.settled:
		return true
	default:
		return false
	}
}

// settles tells whether what the process says is news of its volumes.
func (l *volumeLink) settles() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	resuming := func(st *api.VolumeStatus) bool { return st.Resuming }
	if l.brought && len(l.states) > 0 && !slices.ContainsFunc(l.states, resuming) {
		l.settle()
	}
	return l.isSettled()
}

// broughtUp notes that there is no more to be done for the process than to wait for its status.
func (l *volumeLink) broughtUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.brought = true
}

// tell passes on what a volume's process says.
func (v *volumes) tell(l *volumeLink, m api.VolumeMessage) {
	l.telling.Lock()
	defer l.telling.Unlock()
	switch before := l.isSettled(); {
	case m.Status == nil || before:
		v.pass(l, m)
	case l.settles():
		v.passAll(l)
	}
}

// passAll passes on what the process said last of each of its volumes.
func (v *volumes) passAll(l *volumeLink) {
	for _, st := range l.all() {
		v.pass(l, api.VolumeMessage{Status: st})
	}
}

func (v *volumes) pass(l *volumeLink, m api.VolumeMessage) {
	if m.Status != nil {
		v.history.note(l.resource, m.Status)
	}
	v.onMessage(l.resource, m)
}

// tellSettled passes on what a process said last, if it has settled by that.
func (v *volumes) tellSettled(l *volumeLink) {
	l.telling.Lock()
	defer l.telling.Unlock()
	if !l.isSettled() && l.settles() {
		v.passAll(l)
	}
}

// settledStatus is status, and waits for a process that is being replaced, at most volumeStartTimeout.
func (v *volumes) settledStatus(ctx context.Context, resource string) *api.VolumeStatus {
	ctx, cancel := context.WithTimeout(ctx, volumeStartTimeout)
	defer cancel()
	for v.wanted(resource) && ctx.Err() == nil {
		l := v.link(resource)
		if l != nil && l.isSettled() && l.last() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(childPoll):
		}
	}
	return v.status(resource)
}
