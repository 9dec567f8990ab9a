package volume

import (
	"slices"
	"sync"
	"testing"

	"holdfast/internal/disk"
)

// asyncDisk is a memDisk that also takes operations, and notes what it was asked for, in which way.
type asyncDisk struct {
	*memDisk
	mu    sync.Mutex
	calls []string
}

func (d *asyncDisk) note(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, call)
}

func (d *asyncDisk) Start(o *disk.Operation) bool {
	d.note("start")
	go func() {
		var err error
		switch o.Kind {
		case disk.Read:
			err = d.memDisk.ReadAt(o.Data, o.Off)
		case disk.Write:
			err = d.memDisk.WriteAt(o.Data, o.Off)
		default:
			err = d.memDisk.Flush()
		}
		o.Owner.Finished(o, err)
	}()
	return true
}

func (d *asyncDisk) WriteAt(p []byte, off int64) error {
	d.note("write")
	return d.memDisk.WriteAt(p, off)
}

func (d *asyncDisk) Flush() error {
	d.note("flush")
	return d.memDisk.Flush()
}

// TestFlushesOfAWriteAreNotLeftOut: a write that has to be durable before it is acknowledged, or that follows a flush, is
// not handed to the disk as a plain write.
func TestFlushesOfAWriteAreNotLeftOut(t *testing.T) {
	d := &asyncDisk{memDisk: newMemDisk(1 << 20)}
	finished := make(chan *job, 1)
	w := startWorkers(1, func(j *job) { finished <- j })
	defer w.stop()
	for _, c := range []struct {
		before, after bool
		want          []string
	}{
		{false, false, []string{"start"}},
		{true, false, []string{"flush", "write"}},
		{false, true, []string{"write", "flush"}},
		{true, true, []string{"flush", "write", "flush"}},
	} {
		d.calls = nil
		w.add(&job{work: doWrite, dev: d, data: fill(1, 4096), length: 4096, before: c.before, after: c.after})
		if j := <-finished; j.err != nil {
			t.Fatal(j.err)
		}
		if !slices.Equal(d.calls, c.want) {
			t.Errorf("before %v, after %v: %v, want %v", c.before, c.after, d.calls, c.want)
		}
	}
}
