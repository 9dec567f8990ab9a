package daemon

import (
	"context"
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

// settles tells whether a status is news of the volume.
func (l *volumeLink) settles(st *api.VolumeStatus) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.brought && st != nil && !st.Resuming {
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
	if m.Status == nil || l.settles(m.Status) {
		v.pass(l, m)
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
	if st := l.last(); !l.isSettled() && l.settles(st) {
		v.pass(l, api.VolumeMessage{Status: st})
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
