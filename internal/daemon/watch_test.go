package daemon

import (
	"testing"

	"holdfast/internal/api"
)

// TestVolumeHistory: a watcher gets every event once, in order; one that has fallen behind, or knows another life of the
// daemon, is told so.
func TestVolumeHistory(t *testing.T) {
	h := newVolumeHistory()
	_, begun, missed, more := h.after(h.last)
	if missed {
		t.Error("missed something before anything has happened")
	}
	h.note("r0", &api.VolumeStatus{Role: "Primary"})
	select {
	case <-more:
	default:
		t.Fatal("a watcher is not woken")
	}
	h.note("r0", nil)
	list, last, missed, _ := h.after(begun)
	if missed || len(list) != 2 || list[0].Status.Role != "Primary" || list[1].Status != nil || list[1].Number != last || last != begun+2 {
		t.Errorf("%+v, last %d, missed %v", list, last, missed)
	}
	if list, _, missed, _ := h.after(last); missed || len(list) != 0 {
		t.Errorf("twice: %+v, missed %v", list, missed)
	}
	for range watchKept {
		h.note("r1", nil)
	}
	if _, _, missed, _ := h.after(begun); !missed {
		t.Error("what is not kept any more is not missed")
	}
	if list, _, missed, _ := h.after(last); missed || len(list) != watchKept {
		t.Errorf("%d events, missed %v", len(list), missed)
	}
	for _, other := range []uint64{0, 1 << 63} {
		if _, _, missed, _ := h.after(other); !missed {
			t.Errorf("%d is of another life", other)
		}
	}
}
