package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/internal/loopdev"
)

// Config says what to measure.
type Config struct {
	// Program is the holdfast program; empty: this one.
	Program string
	// Dir is where the disks are made, on the file system to be measured; empty: a directory below /var/tmp. What the run
	// makes there is removed.
	Dir string
	// SizeMiB is the size of each disk, at least 64; Seconds the length of one measurement; Rounds how often each is made,
	// on either device in turn. 0 for the defaults.
	SizeMiB, Seconds, Rounds int
	// Only, if not empty, names the works to measure.
	Only []string
	// Report, if not empty, is a file that gets the result as JSON.
	Report string
	// Out gets the table and, as it goes, what is being done.
	Out io.Writer
	// Before, if not empty, is an earlier holdfast program: it is measured in the same rounds, on a volume of its own.
	Before string
}

func (c Config) withDefaults() (Config, error) {
	pick := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	pick(&c.SizeMiB, DefaultSizeMiB)
	pick(&c.Seconds, DefaultSeconds)
	pick(&c.Rounds, DefaultRounds)
	if c.SizeMiB < minSizeMiB || c.Seconds < 1 || c.Rounds < 1 {
		return c, fmt.Errorf("bench: %d MiB, %d s, %d rounds: at least %d MiB, 1 s and one round are needed", c.SizeMiB, c.Seconds, c.Rounds, minSizeMiB)
	}
	if c.databases() && c.SizeMiB < minDatabaseMiB {
		return c, fmt.Errorf("bench: %d MiB: a database needs %d at least", c.SizeMiB, minDatabaseMiB)
	}
	if c.Program == "" {
		var err error
		if c.Program, err = os.Executable(); err != nil {
			return c, fmt.Errorf("find this program: %w", err)
		}
	}
	if c.Dir == "" {
		c.Dir = "/var/tmp"
	}
	for _, name := range c.Only {
		if !slices.Contains(Works(), name) {
			return c, fmt.Errorf("bench: there is no work %q; there are %q", name, Works())
		}
	}
	return c, nil
}

// wants tells whether a work is to be measured.
func (c Config) wants(name string) bool { return len(c.Only) == 0 || slices.Contains(c.Only, name) }

// databases tells whether any work with a database is.
func (c Config) databases() bool {
	return slices.ContainsFunc(sysbenchWorks(), func(w sysbenchWork) bool { return c.wants(w.name) })
}

// works are the loads of the table, with the ratios that are wanted.
func works() []work {
	return []work{
		{name: "randwrite-qd1", mode: "randwrite", block: "4k", depth: 1, must: 0.33, goal: 0.45},
		{name: "randwrite-qd32", mode: "randwrite", block: "4k", depth: 32, must: 0.35, goal: 0.50},
		{name: "write-fsync", mode: "randwrite", block: "4k", depth: 1, fsync: true, must: 0.65, goal: 0.80},
		{name: "seqwrite-128k", mode: "write", block: "128k", depth: 8, must: 0.27, goal: 0.40},
		{name: "randread-qd32", mode: "randread", block: "4k", depth: 32, must: 0.65, goal: 0.85},
		{name: "seqread-128k", mode: "read", block: "128k", depth: 8, must: 0.65, goal: 0.85},
	}
}

// aloneWorks are done while the peer is away.
func aloneWorks() []work {
	return []work{{name: "degraded-qd32", mode: "randwrite", block: "4k", depth: 32, must: 0.65, goal: 0.85}}
}

// resyncWork is measured apart.
const resyncWork = "resync"

// Works names all that can be measured.
func Works() []string {
	var names []string
	for _, w := range append(works(), aloneWorks()...) {
		names = append(names, w.name)
	}
	names = append(names, resyncWork)
	for _, w := range sysbenchWorks() {
		names = append(names, w.name)
	}
	return names
}

// run is a benchmark under way.
type run struct {
	cfg   Config
	dir   string
	pair  *pair
	prior *pair // of Config.Before; nil if there is none
	plain *loopdev.Device
	size  int64 // what the loads touch: our device is smaller than its disk by the metadata
	rows  []*row
}

// Run measures and prints. It needs root, /dev/fuse, loop devices and fio; for the databases MariaDB, Galera and sysbench.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("bench: block devices need root")
	}
	if err := findFio(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if cfg.databases() {
		if err := findDatabases(); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	r := &run{cfg: cfg}
	if r.dir, err = os.MkdirTemp(cfg.Dir, "holdfast-bench-"); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	err = r.measure(ctx)
	return errors.Join(err, r.close())
}

func (r *run) measure(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := r.alternate(ctx, works()); err != nil {
		return err
	}
	if err := r.alone(ctx); err != nil {
		return err
	}
	if r.cfg.databases() {
		if err := r.databases(ctx); err != nil {
			return err
		}
	}
	return r.report()
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.cfg.Out, format+"\n", args...) }

func (r *run) prepare(ctx context.Context) error {
	size := int64(r.cfg.SizeMiB) << 20
	r.say("making disks of %d MiB in %s, and bringing the volume up", r.cfg.SizeMiB, r.dir)
	var err error
	if r.plain, err = plainLoop(filepath.Join(r.dir, "plain"), size); err != nil {
		return err
	}
	r.size = (size - size/512 - 1<<20) &^ (1<<20 - 1)
	if r.pair, err = newPair(ctx, r.cfg.Program, filepath.Join(r.dir, "ours"), size); err != nil {
		return err
	}
	if r.cfg.Before != "" {
		r.prior, err = newPair(ctx, r.cfg.Before, filepath.Join(r.dir, "before"), size)
	}
	return err
}

// alternate measures each work on either device in turn.
func (r *run) alternate(ctx context.Context, list []work) error {
	for _, w := range list {
		if !r.cfg.wants(w.name) {
			continue
		}
		row := &row{Name: w.name, Must: w.must, Goal: w.goal}
		r.rows = append(r.rows, row)
		for range r.cfg.Rounds {
			if err := r.round(ctx, w, row); err != nil {
				return err
			}
		}
		r.say("%s", row.line())
	}
	return nil
}

func (r *run) round(ctx context.Context, w work, row *row) error {
	plain, err := w.fio(ctx, r.plain.Path, r.cfg.Seconds, r.size)
	if err != nil {
		return err
	}
	ours, cpu, err := r.pair.load(ctx, w, r.cfg.Seconds, r.size)
	if err != nil {
		return err
	}
	row.add(plain, ours, cpu)
	if r.prior == nil {
		return nil
	}
	before, cpu, err := r.prior.load(ctx, w, r.cfg.Seconds, r.size)
	row.addBefore(before, cpu)
	return err
}

// load runs a work on the volume and tells what its processes used for it.
func (p *pair) load(ctx context.Context, w work, seconds int, size int64) (outcome, time.Duration, error) {
	device, err := p.a.device()
	if err != nil {
		return outcome{}, 0, err
	}
	pids := p.pids()
	used := processorTime(pids)
	got, err := w.fio(ctx, device, seconds, size)
	if err != nil {
		return got, 0, fmt.Errorf("%w; the processes' logs: %s", err, p.logs())
	}
	return got, processorTime(pids) - used, nil
}

// alone measures what is done without the peer, and its return.
func (r *run) alone(ctx context.Context) error {
	degraded := slices.ContainsFunc(aloneWorks(), func(w work) bool { return r.cfg.wants(w.name) })
	if degraded {
		if err := r.each(func(p *pair) error { return p.degrade(ctx) }); err != nil {
			return err
		}
		if err := r.alternate(ctx, aloneWorks()); err != nil {
			return err
		}
		if err := r.each(func(p *pair) error { return p.restore(ctx) }); err != nil {
			return err
		}
	}
	if !r.cfg.wants(resyncWork) {
		return nil
	}
	return r.resync(ctx)
}

// each does something to the volumes there are.
func (r *run) each(f func(*pair) error) error {
	for _, p := range []*pair{r.pair, r.prior} {
		if p == nil {
			continue
		}
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}

// close takes everything away.
func (r *run) close() error {
	_ = r.each(func(p *pair) error { p.stop(); return nil })
	if r.plain != nil {
		r.plain.Release()
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
