package ranges

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
)

// recorder is a target that answers at once and remembers.
type recorder struct {
	got    []string
	failAt int
}

func (*recorder) Size() int64 { return 1 << 40 }

func (c *recorder) Submit(r *kernel.Request) {
	c.got = append(c.got, fmt.Sprintf("%d unmap=%v %d+%d", r.Op, r.Unmap, r.Offset, r.Length))
	var err error
	if len(c.got) == c.failAt {
		err = unix.ENOSPC
	}
	r.Owner.Complete(r, err)
}

type owner chan error

func (o owner) Complete(_ *kernel.Request, err error) { o <- err }

func run(t *testing.T, target kernel.Target, r kernel.Request) error {
	t.Helper()
	c, done, o := New(target), make(chan struct{}), make(owner, 1)
	r.Owner = o
	c.Submit(&r)
	ended := make(chan struct{})
	go func() { c.Run(done); close(ended) }()
	err := <-o
	close(done)
	<-ended
	return err
}

func TestCutsAtMultiplesOfThePiece(t *testing.T) {
	const most = block.MaxDiscard
	c := &recorder{}
	if err := run(t, c, kernel.Request{Op: kernel.WriteZeroes, Unmap: true, FUA: true, Offset: most - 4096, Length: most + 8192}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("%d unmap=true %d+4096", kernel.WriteZeroes, most-4096),
		fmt.Sprintf("%d unmap=true %d+%d", kernel.WriteZeroes, most, most),
		fmt.Sprintf("%d unmap=true %d+4096", kernel.WriteZeroes, 2*most),
		fmt.Sprintf("%d unmap=false 0+0", kernel.Flush),
	}
	if !slices.Equal(c.got, want) {
		t.Errorf("got %q, want %q", c.got, want)
	}
}

func TestStopsAtTheFirstFailure(t *testing.T) {
	c := &recorder{failAt: 2}
	err := run(t, c, kernel.Request{Op: kernel.Discard, Length: 4 * block.MaxDiscard})
	if !errors.Is(err, unix.ENOSPC) || len(c.got) != 2 {
		t.Errorf("%v after %q", err, c.got)
	}
}

func TestRefusesWhatIsQueuedAtTheEnd(t *testing.T) {
	c, done, o := New(&recorder{}), make(chan struct{}), make(owner, queue)
	for range queue {
		c.Submit(&kernel.Request{Op: kernel.Discard, Length: 512, Owner: o})
	}
	close(done)
	c.Run(done)
	for range queue {
		if err := <-o; err != nil && !errors.Is(err, unix.EIO) {
			t.Fatal(err)
		}
	}
}
