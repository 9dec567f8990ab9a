package bench

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"holdfast/internal/api"
)

// resync measures how fast a replica that lacks everything gets it, beside a plain copy of a file as large, on the same
// disk: read and written past the cache, and synced at the end.
func (r *run) resync(ctx context.Context) error {
	row := &row{Name: resyncWork, Must: 0.6, Goal: 0.9, Unit: "MB/s"}
	r.rows = append(r.rows, row)
	for range r.cfg.Rounds {
		plain, err := r.copyPlain(ctx)
		if err != nil {
			return err
		}
		ours, err := r.copyByResync(ctx, r.pair)
		if err != nil {
			return err
		}
		row.add(outcome{PerSecond: plain}, outcome{PerSecond: ours}, 0)
		if r.prior == nil {
			continue
		}
		before, err := r.copyByResync(ctx, r.prior)
		if err != nil {
			return err
		}
		row.addBefore(outcome{PerSecond: before}, 0)
	}
	r.say("%s", row.line())
	return nil
}

// copyPlain gives MB/s.
func (r *run) copyPlain(ctx context.Context) (float64, error) {
	begun := time.Now()
	from, to := filepath.Join(r.dir, "plain"), filepath.Join(r.dir, "copy")
	out, err := exec.CommandContext(ctx, "dd", "if="+from, "of="+to, "bs=1M", "count="+strconv.FormatInt(r.size>>20, 10),
		"iflag=direct", "oflag=direct", "conv=fdatasync,notrunc").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("plain copy: %w: %s", err, out)
	}
	return float64(r.size) / 1e6 / time.Since(begun).Seconds(), nil
}

// copyByResync gives MB/s: the peer goes, everything is written, the peer comes back.
func (r *run) copyByResync(ctx context.Context, p *pair) (float64, error) {
	device, err := p.a.device()
	if err != nil {
		return 0, err
	}
	if err := p.degrade(ctx); err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, "dd", "if=/dev/zero", "of="+device, "bs=1M", "count="+strconv.FormatInt(r.size>>20, 10),
		"oflag=direct", "conv=fdatasync,notrunc").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("write all of the device: %w: %s", err, out)
	}
	if err := p.b.start(ctx, p.record); err != nil {
		return 0, err
	}
	if err := p.b.session.do(ctx, api.VolumeDo{Verb: api.VolumeUp}); err != nil {
		return 0, err
	}
	begin, err := p.b.session.until(ctx, "the resync", func(s *api.VolumeStatus) bool { return s.Conn == "SyncTarget" })
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if _, err := p.b.session.until(ctx, "its end", func(s *api.VolumeStatus) bool { return s.Disk == "UpToDate" }); err != nil {
		return 0, err
	}
	speed := float64(begin.Counters.OOS) * 1024 / 1e6 / time.Since(begun).Seconds()
	return speed, p.whole(ctx)
}
