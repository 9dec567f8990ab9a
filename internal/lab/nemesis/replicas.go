package nemesis

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/tutorial"
)

const (
	compareBytes = 1 << 20
	compareUnit  = 4096
	// equalLooks is how often a block must differ, at least, before the replicas are said to: one that is being written
	// may differ at any one look.
	equalLooks = 100
)

// pair is both replicas' disks, read past the page cache.
type pair struct {
	disks [2]*os.File
	bufs  [2][]byte
	mem   []byte
}

func (r *run) openPair() (*pair, error) {
	p := &pair{}
	for i, name := range []string{tutorial.DB1, tutorial.DB2} {
		f, err := os.OpenFile(r.lab.Host(name).Path("/dev/sdc"), os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("open the data disk of %s: %w", name, err)
		}
		p.disks[i] = f
	}
	mem, err := unix.Mmap(-1, 0, 2*compareBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		p.close()
		return nil, fmt.Errorf("memory for comparing: %w", err)
	}
	p.mem, p.bufs = mem, [2][]byte{mem[:compareBytes], mem[compareBytes:]}
	return p, nil
}

func (p *pair) close() {
	for _, f := range p.disks {
		if f != nil {
			f.Close()
		}
	}
	if p.mem != nil {
		_ = unix.Munmap(p.mem) // made by Mmap
	}
}

// differing lists the units that differ between off and off+n.
func (p *pair) differing(off, n int64) ([]int64, error) {
	for i, f := range p.disks {
		if _, err := f.ReadAt(p.bufs[i][:n], off); err != nil && err != io.EOF {
			return nil, err
		}
	}
	if bytes.Equal(p.bufs[0][:n], p.bufs[1][:n]) {
		return nil, nil
	}
	var units []int64
	for at := int64(0); at < n; at += compareUnit {
		end := min(at+compareUnit, n)
		if !bytes.Equal(p.bufs[0][at:end], p.bufs[1][at:end]) {
			units = append(units, off+at)
		}
	}
	return units, nil
}

// equalReplicas compares the replicas of the running volume: all of it once, then the blocks that differed again and again,
// until each has been seen equal. One that never is, is different.
func (r *run) equalReplicas(ctx context.Context) error {
	v, err := demo.Volume(ctx, r.lab.Host(tutorial.DB1), tutorial.Volume)
	if err != nil {
		return err
	}
	p, err := r.openPair()
	if err != nil {
		return err
	}
	defer p.close()
	var units []int64
	for off := int64(0); off < v.SizeBytes; off += compareBytes {
		more, err := p.differing(off, min(compareBytes, v.SizeBytes-off))
		if err != nil {
			return fmt.Errorf("compare the replicas: %w", err)
		}
		units = append(units, more...)
	}
	return p.settle(ctx, units, v.SizeBytes)
}

// settle looks at units until each was equal once.
func (p *pair) settle(ctx context.Context, units []int64, size int64) error {
	for begun, looks := time.Now(), 0; len(units) > 0; looks++ {
		if looks >= equalLooks && time.Since(begun) > equalFor {
			return fmt.Errorf("the replicas differ: %d blocks of 4 KiB, the first at %d, at each of %d looks", len(units), units[0], looks)
		}
		var still []int64
		for _, u := range units {
			more, err := p.differing(u, min(compareUnit, size-u))
			if err != nil {
				return fmt.Errorf("compare the replicas: %w", err)
			}
			still = append(still, more...)
		}
		units = still
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	return nil
}
