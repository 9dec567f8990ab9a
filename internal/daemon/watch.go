package daemon

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/api"
)

// volumeHistory is the last of what the volumes of this host have said of themselves, for those who watch them.
type volumeHistory struct {
	mu     sync.Mutex
	last   uint64 // number of the newest event
	events []api.VolumeEvent
	more   chan struct{} // closed at the next event
}

// newVolumeHistory begins with a number that no earlier life of the daemon has reached.
func newVolumeHistory() *volumeHistory {
	return &volumeHistory{last: uint64(time.Now().UnixNano()), more: make(chan struct{})}
}

// note adds what a volume says; nil says that its process is gone.
func (h *volumeHistory) note(resource string, st *api.VolumeStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	h.events = append(h.events, api.VolumeEvent{Number: h.last, Resource: resource, Status: st})
	if over := len(h.events) - watchKept; over > 0 {
		h.events = append(h.events[:0], h.events[over:]...)
	}
	close(h.more)
	h.more = make(chan struct{})
}

// after gives the events after one with that number, or a channel that is closed when there are any. missed tells that some
// are not kept any more.
func (h *volumeHistory) after(number uint64) (list []api.VolumeEvent, last uint64, missed bool, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if number > h.last { // of another life of the daemon
		return nil, h.last, true, h.more
	}
	oldest := h.last - uint64(len(h.events))
	if number < oldest {
		return nil, h.last, true, h.more
	}
	return append([]api.VolumeEvent(nil), h.events[number-oldest:]...), h.last, false, h.more
}

// volumeWatch answers volume.watch: at once if something has happened since, else when something does, or after watchPatience
// with nothing.
func (d *Daemon) volumeWatch(ctx context.Context, in api.VolumeWatchRequest) (api.VolumeWatchReply, error) {
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	for {
		list, last, missed, more := d.volumes.history.after(in.After)
		if in.Now || missed {
			now, err := d.volumeStatus(ctx, api.VolumeRequest{})
			return api.VolumeWatchReply{Number: last, Whole: true, Volumes: now.Volumes}, err
		}
		if len(list) > 0 {
			return api.VolumeWatchReply{Number: last, Events: list}, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return api.VolumeWatchReply{Number: last}, nil
		}
	}
}
