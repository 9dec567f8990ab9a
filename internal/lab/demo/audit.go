package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
	"holdfast/internal/lab/tutorial"
)

// audit reads everything back, stops the cluster and compares the replicas.
func (d *demo) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	d.say("reading everything back")
	missing, err := d.rows.Missing(ctx)
	if err != nil {
		return err
	}
	d.rows.Stop()
	d.report.RowsLost = len(missing)
	d.report.PostsExpected = len(d.titles)
	if d.report.PostsSeen, err = d.seen(ctx, d.titles); err != nil {
		return err
	}
	d.say("stopping the cluster and comparing the replicas byte by byte")
	size, err := Volume(ctx, d.lab.Host(tutorial.DB1), tutorial.Volume)
	if err != nil {
		return err
	}
	stop := tutorial.Step{Host: tutorial.DB1, Line: "pcs cluster stop --all", Want: []string{"Stopping Cluster"}}
	if err := tutorial.Replay(ctx, LabRunner{d.lab}, []tutorial.Step{stop}, d.cfg.Out); err != nil {
		return err
	}
	d.report.ReplicasIdentical, err = SameData(d.lab, size.SizeBytes)
	if err != nil {
		return err
	}
	if d.cfg.Keep {
		start := tutorial.Step{Host: tutorial.DB1, Line: "pcs cluster start --all"}
		err = tutorial.Replay(ctx, LabRunner{d.lab}, []tutorial.Step{start}, d.cfg.Out)
	}
	if d.cfg.Report != "" {
		d.report.AckJournal = d.cfg.Report + ".acks.jsonl"
		if err := copyFile(filepath.Join(d.lab.Dir(), "acknowledged.jsonl"), d.report.AckJournal); err != nil {
			return err
		}
		return d.report.Save(d.cfg.Report)
	}
	return err
}

// compareBytes is how much of both disks is read at a time.
const compareBytes = 1 << 20

// SameData compares the data areas (the first size bytes) of both database hosts' data disks. The volumes must be down.
func SameData(l *lab.Lab, size int64) (bool, error) {
	a, err := openDisk(l.Host(tutorial.DB1))
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := openDisk(l.Host(tutorial.DB2))
	if err != nil {
		return false, err
	}
	defer b.Close()
	bufA, bufB, err := alignedBuffers()
	if err != nil {
		return false, err
	}
	for off := int64(0); off < size; off += compareBytes {
		n := min(compareBytes, size-off)
		if _, err := a.ReadAt(bufA[:n], off); err != nil && err != io.EOF {
			return false, err
		}
		if _, err := b.ReadAt(bufB[:n], off); err != nil && err != io.EOF {
			return false, err
		}
		if !bytes.Equal(bufA[:n], bufB[:n]) {
			return false, nil
		}
	}
	return true, nil
}

// openDisk opens a host's data disk past the page cache, which may hold what was there before.
func openDisk(h *lab.Host) (*os.File, error) {
	f, err := os.OpenFile(h.Path("/dev/sdc"), os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, fmt.Errorf("open the data disk of %s: %w", h.Name(), err)
	}
	return f, nil
}

// alignedBuffers are two buffers O_DIRECT can read into; they are never given back.
func alignedBuffers() (a, b []byte, err error) {
	mem, err := unix.Mmap(-1, 0, 2*compareBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("memory for comparing: %w", err)
	}
	return mem[:compareBytes], mem[compareBytes:], nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// saveLogs copies what every host logged out of the lab, which is about to go.
func (d *demo) saveLogs() string {
	dir, err := os.MkdirTemp("", "holdfast-demo-logs-")
	if err != nil {
		return "(no directory for the logs: " + err.Error() + ")"
	}
	ctx, cancel := context.WithTimeout(context.Background(), wholeLimit)
	defer cancel()
	if err := d.lab.CollectLogs(ctx, dir); err != nil {
		return fmt.Sprintf("%s (not all: %v)", dir, err)
	}
	return dir
}
