package backing

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"holdfast/internal/block"
	"holdfast/internal/disk"
)

// started is an operation of the test.
type started struct {
	disk.Operation
	err  error
	done chan struct{}
}

func (s *started) Finished(_ *disk.Operation, err error) {
	s.err = err
	close(s.done)
}

func start(d *Device, kind disk.Kind, p []byte, off int64) (*started, bool) {
	s := &started{done: make(chan struct{})}
	s.Operation = disk.Operation{Kind: kind, Data: p, Off: off, Owner: s}
	return s, d.Start(&s.Operation)
}

// queued opens a device whose file system knows O_DIRECT.
func queued(t *testing.T, path string) *Device {
	t.Helper()
	d := open(t, path)
	if !d.past {
		t.Skip("the file system of the temporary directory does not know O_DIRECT")
	}
	return d
}

// TestQueueAgainstMemory has many writers in disjoint parts, each with reads and flushes of its own, more at a time than
// there are slots.
func TestQueueAgainstMemory(t *testing.T) {
	const writers, part = 2 * block.DiskDepth, 8 << 10
	d := queued(t, newFile(t, writers*part))
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() { useAlone(t, d, int64(w)*part, part, uint64(w)) })
	}
	all.Wait()
}

func useAlone(t *testing.T, d *Device, from, length int64, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	model := Buffer(int(length))
	for i := range 12 {
		at := rng.Int64N(length/4096) * 4096
		p := Buffer(4096)
		for j := range p {
			p[j] = byte(seed) + byte(i)
		}
		copy(model[at:], p)
		for _, s := range []struct {
			kind disk.Kind
			p    []byte
		}{{disk.Write, p}, {disk.Flush, nil}} {
			if s.kind == disk.Flush && i%4 != 0 {
				continue
			}
			o, ok := start(d, s.kind, s.p, from+at)
			if !ok {
				t.Errorf("operation %d was not taken", s.kind)
				return
			}
			if <-o.done; o.err != nil {
				t.Error(o.err)
			}
		}
	}
	got := Buffer(int(length))
	o, ok := start(d, disk.Read, got, from)
	if !ok {
		t.Error("a read was not taken")
		return
	}
	if <-o.done; o.err != nil || !bytes.Equal(got, model) {
		t.Errorf("read at %d: %v, equal %v", from, o.err, bytes.Equal(got, model))
	}
}

// TestQueueBesideTheOtherMethods uses the waiting methods after a Start: they go through the queue too.
func TestQueueBesideTheOtherMethods(t *testing.T) {
	d := queued(t, newFile(t, 1<<20))
	o, ok := start(d, disk.Flush, nil, 0)
	if !ok {
		t.Skip("no asynchronous I/O here (fs.aio-max-nr?)")
	}
	if <-o.done; o.err != nil {
		t.Fatal(o.err)
	}
	p := bytes.Repeat([]byte{7}, 512*3)
	if err := errors.Join(d.WriteAt(p, 512*5), d.Flush()); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(p))
	if err := d.ReadAt(got, 512*5); err != nil || !bytes.Equal(got, p) {
		t.Errorf("%v, %x", err, got[:4])
	}
}

func TestQueueRefusesWhatIsNotAligned(t *testing.T) {
	d := queued(t, newFile(t, 1<<20))
	for _, c := range []struct {
		p   []byte
		off int64
	}{{Buffer(4096), 1 << 20}, {Buffer(4096), 100}, {Buffer(8192)[1:4097], 0}, {Buffer(100), 0}} {
		if _, ok := start(d, disk.Write, c.p, c.off); ok {
			t.Errorf("%d bytes at %d were taken", len(c.p), c.off)
		}
	}
}

// TestQueueTellsOfAShortFile: what the kernel does in part is carried on, to find out why.
func TestQueueTellsOfAShortFile(t *testing.T) {
	path := newFile(t, 1<<20)
	d := queued(t, path)
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	o, ok := start(d, disk.Read, Buffer(16384), 0)
	if !ok {
		t.Skip("no asynchronous I/O here (fs.aio-max-nr?)")
	}
	if <-o.done; !errors.Is(o.err, io.ErrUnexpectedEOF) {
		t.Errorf("read past the end: %v", o.err)
	}
}

// TestCloseWaitsForOperations: every owner is told, and what comes later is not taken.
func TestCloseWaitsForOperations(t *testing.T) {
	d := queued(t, newFile(t, 4<<20))
	var list []*started
	for i := range int64(600) {
		if o, ok := start(d, disk.Write, Buffer(4096), i%1024*4096); ok {
			list = append(list, o)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		if <-o.done; o.err != nil {
			t.Error(o.err)
		}
	}
	if _, ok := start(d, disk.Write, Buffer(4096), 0); ok {
		t.Error("a closed device took an operation")
	}
}
