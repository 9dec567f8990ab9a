package volume

import (
	"sync/atomic"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/resfile"
)

// slowFront is a front end whose making takes until the test says so, and flushes the device on the way, as LOOP_CONFIGURE does.
type slowFront struct {
	begun, goOn  chan struct{}
	made, closed atomic.Int32
}

func (f *slowFront) open(_ *resfile.Volume, k kernel.Target) (kernel.Frontend, error) {
	f.begun <- struct{}{}
	<-f.goOn
	r := &ioRequest{done: make(chan struct{})}
	r.Request = kernel.Request{Op: kernel.Flush, Owner: r}
	k.Submit(&r.Request)
	<-r.done // the kernel does not look at the answer
	f.made.Add(1)
	return f, nil
}

func (f *slowFront) Kind() string             { return api.FrontFUSE }
func (f *slowFront) DevicePath() string       { return "/dev/null" }
func (f *slowFront) InUse() ([]string, error) { return nil, nil }
func (f *slowFront) Abort() error             { return nil }
func (f *slowFront) Close() error             { f.closed.Add(1); return nil }

// TestNoRoleBeforeTheDeviceIsThere: what comes while the kernel's device is being made waits for it. A Primary's flush may have
// to wait for the cluster's log, so that the device would never be there.
func TestNoRoleBeforeTheDeviceIsThere(t *testing.T) {
	p := newPair(t, "")
	f := &slowFront{begun: make(chan struct{}, 2), goOn: make(chan struct{})}
	p.a.config = func(c *Config) { c.Frontend = f.open }
	p.a.start()
	up, primary, show := api.VolumeDo{Verb: api.VolumeUp}, api.VolumeDo{Verb: api.VolumePrimary, Force: true}, api.VolumeDo{Verb: api.VolumeShow}
	first := p.a.ask(up)
	<-f.begun
	again, promoted := p.a.ask(up), p.a.ask(primary)
	p.a.ok(show) // verbs are taken in turn: the two before it have been
	select {
	case r := <-promoted:
		t.Fatalf("promoted before the device was there: %+v", r)
	case r := <-again:
		t.Fatalf("up before the device was there: %+v", r)
	default:
	}
	if role := p.a.last().Role; role != "Secondary" {
		t.Fatalf("%s before the device is there", role)
	}
	close(f.goOn)
	for _, ch := range []<-chan api.VolumeReply{first, again, promoted} {
		if r := p.a.answer(up, ch); r.Code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	if n := f.made.Load(); n != 1 {
		t.Errorf("the device was made %d times", n)
	}
	p.a.until("Primary", func(s *api.VolumeStatus) bool { return s.Role == "Primary" })
}

// TestDownWhileTheDeviceIsBeingMade leaves none behind.
func TestDownWhileTheDeviceIsBeingMade(t *testing.T) {
	p := newPair(t, "")
	f := &slowFront{begun: make(chan struct{}, 1), goOn: make(chan struct{})}
	p.a.config = func(c *Config) { c.Frontend = f.open }
	p.a.start()
	p.a.ask(api.VolumeDo{Verb: api.VolumeUp})
	<-f.begun
	down := p.a.ask(api.VolumeDo{Verb: api.VolumeDown})
	p.a.ok(api.VolumeDo{Verb: api.VolumeShow})
	close(f.goOn)
	if r := p.a.answer(api.VolumeDo{Verb: api.VolumeDown}, down); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	must(t, <-p.a.ended)
	p.a.ended <- nil
	if made, closed := f.made.Load(), f.closed.Load(); made != 1 || closed != 1 {
		t.Errorf("made %d times, taken away %d times", made, closed)
	}
}
