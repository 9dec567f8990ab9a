package writepath

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func traceReceiver(r *Receiver) string {
	var out []string
	for list := r.Effects(); len(list) > 0; list = r.Effects() {
		for _, e := range list {
			switch e.Do {
			case WriteLocal:
				out = append(out, fmt.Sprintf("write %d", e.ID))
			case FlushLocal:
				out = append(out, "flush")
			case Ack:
				out = append(out, fmt.Sprintf("ack %d", e.ID))
			case AckBarrier:
				out = append(out, fmt.Sprintf("barrier %d of %d", e.Number, e.Writes))
			}
		}
	}
	return strings.Join(out, ", ")
}

func expectReceiver(t *testing.T, r *Receiver, want string) {
	t.Helper()
	if got := traceReceiver(r); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestBarrierIsConfirmedAfterItsWritesAreFlushed(t *testing.T) {
	r := NewReceiver()
	a := r.Write(Span{0, 4096}, false)
	b := r.Write(Span{8192, 12288}, false)
	r.Barrier(17)
	c := r.Write(Span{16384, 20480}, false) // the next epoch
	expectReceiver(t, r, "write 0, write 1, write 2")
	r.Done(c, nil)
	r.Done(a, nil)
	expectReceiver(t, r, "ack 2, ack 0")
	r.Done(b, nil)
	expectReceiver(t, r, "ack 1, flush")
	r.Barrier(18)
	expectReceiver(t, r, "") // waits for the flush under way, which may not cover it
	r.Flushed(nil)
	expectReceiver(t, r, "barrier 17 of 2, flush")
	r.Flushed(nil)
	expectReceiver(t, r, "barrier 18 of 1")
}

func TestOneFlushForSeveralEpochs(t *testing.T) {
	r := NewReceiver()
	a := r.Write(Span{0, 4096}, false)
	r.Barrier(1)
	r.Barrier(2)
	traceReceiver(r)
	r.Done(a, nil)
	expectReceiver(t, r, "ack 0, flush")
	r.Flushed(nil)
	expectReceiver(t, r, "barrier 1 of 1, barrier 2 of 0")
}

func TestResyncWritesKeepTheirPlace(t *testing.T) {
	r := NewReceiver()
	old := r.Write(Span{0, 65536}, true)
	newer := r.Write(Span{4096, 8192}, false)
	expectReceiver(t, r, "write 0")
	r.Done(old, nil)
	expectReceiver(t, r, "ack 0, write 1")
	if !r.IsResync(old) || r.IsResync(newer) {
		t.Error("kinds are mixed up")
	}
}

func TestFailedFlushConfirmsNothing(t *testing.T) {
	r := NewReceiver()
	r.Barrier(5)
	expectReceiver(t, r, "flush")
	r.Flushed(errors.New("io"))
	r.Barrier(6)
	expectReceiver(t, r, "")
}

// TestReceiverOfTwoVolumes: writes of two volumes never wait for one another, belong to one epoch, and a barrier waits for both.
func TestReceiverOfTwoVolumes(t *testing.T) {
	r := NewReceiver()
	a := r.WriteTo(0, Span{0, 4096}, false)
	b := r.WriteTo(1, Span{0, 4096}, false)
	list := r.Effects()
	if len(list) != 2 || list[0].Do != WriteLocal || list[1].Do != WriteLocal {
		t.Fatalf("the same range of two volumes: %+v", list)
	}
	again := r.WriteTo(1, Span{0, 4096}, false)
	r.Barrier(7)
	if list := r.Effects(); len(list) != 0 {
		t.Fatalf("a write to a range in use, and a flush of an epoch under way: %+v", list)
	}
	r.Done(a, nil)
	r.Done(b, nil)
	r.Done(again, nil)
	var flushes int
	for _, f := range r.Effects() {
		if f.Do == FlushLocal {
			flushes++
		}
	}
	if flushes != 1 || r.Busy() != 0 {
		t.Fatalf("%d flushes, %d busy", flushes, r.Busy())
	}
	r.Flushed(nil)
	if list := r.Effects(); len(list) != 1 || list[0].Number != 7 || list[0].Writes != 3 {
		t.Errorf("the barrier's answer is %+v, want 3 writes", list)
	}
}
