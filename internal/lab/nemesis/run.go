package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/rows"
	"holdfast/internal/lab/tutorial"
	"holdfast/internal/lab/watch"
)

// Config says what to play.
type Config struct {
	// Seed gives the schedule.
	Seed uint64
	// Minutes is how long steps are begun; the last is played to its end.
	Minutes int
	// Name of its lab; "nemesis" if empty. A lab of that name left by an earlier run is taken down first.
	Name string
	// Program is the holdfast under test; the running program if empty.
	Program string
	// Keep leaves the lab running.
	Keep bool
	Out  io.Writer
}

const (
	defaultName = "nemesis"
	rowTable    = "holdfast_rows"
	rowEvery    = 10 * time.Millisecond
)

// Result is what a run came to.
type Result struct {
	Steps, Rows, RegisterOps, BlockOps int
	// Cleanups is how often an operator had to clean up failed resources before the cluster was whole.
	Cleanups int
	// Longest is the longest time without an acknowledged row.
	Longest time.Duration
}

// run is a run.
type run struct {
	cfg       Config
	lab       *lab.Lab
	rows      *rows.Client
	watch     *watch.Watch
	registers *registerClient
	blocks    *blockClients
	result    Result
	stopped   bool
}

// Run plays a seed in a lab of its own. A run that fails says how to repeat its schedule and where it has left histories,
// logs and disks.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Name == "" {
		cfg.Name = defaultName
	}
	r := &run{cfg: cfg}
	err := r.begin(ctx)
	if err == nil {
		err = r.play(ctx)
	}
	if err == nil {
		err = r.judge(ctx)
	}
	r.stop()
	if err != nil {
		err = fmt.Errorf("seed %d failed: %w\n  repeat its schedule: holdfast lab run nemesis --seed %d --minutes %d\n  histories, logs and disks: %s",
			cfg.Seed, err, cfg.Seed, cfg.Minutes, r.leave())
	}
	if cfg.Keep || r.lab == nil {
		return r.result, err
	}
	return r.result, errors.Join(err, r.lab.Down())
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.cfg.Out, "%s  %s\n", time.Now().UTC().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// begin brings the lab up with the tutorial's system, has the seed's voter lead and starts the clients.
func (r *run) begin(ctx context.Context) error {
	if err := lab.Down(r.cfg.Name); err != nil {
		return fmt.Errorf("take down the lab of an earlier run: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, tutorialLimit)
	defer cancel()
	l, err := lab.Up(ctx, lab.Config{Name: r.cfg.Name, Program: r.cfg.Program})
	if err != nil {
		return err
	}
	r.lab = l
	r.say("seed %d: the tutorial", r.cfg.Seed)
	if err := tutorial.Replay(ctx, demo.LabRunner{Lab: l}, tutorial.Everything(), io.Discard); err != nil {
		return err
	}
	if err := demo.AwaitWhole(ctx, l); err != nil {
		return err
	}
	c, err := roles(ctx, l)
	if err != nil {
		return err
	}
	if err := r.lead(ctx, c); err != nil {
		return err
	}
	return r.clients(ctx, c)
}

// lead has the seed's voter lead.
func (r *run) lead(ctx context.Context, c cast) error {
	part := Leader(r.cfg.Seed)
	if _, err := typed(ctx, c[Active], "holdfast member lead "+c[part].Name()); err != nil {
		return err
	}
	r.say("%s leads, which is the %s now", c[part].Name(), part)
	return demo.AwaitWhole(ctx, r.lab)
}

func (r *run) clients(ctx context.Context, c cast) error {
	var err error
	r.rows, err = rows.New(rows.Config{
		Addr: tutorial.DatabaseAddr, User: tutorial.DatabaseUser, Password: tutorial.DatabasePass, Database: tutorial.DatabaseName,
		Table: rowTable, Dial: r.lab.Host(tutorial.Client).DialContext, Every: rowEvery,
		Journal: filepath.Join(r.lab.Dir(), "acknowledged.jsonl"),
	})
	if err == nil {
		err = r.rows.Prepare(ctx)
	}
	if err != nil {
		return err
	}
	r.rows.Start()
	if r.registers, err = newRegisters(ctx, r.lab); err != nil {
		return err
	}
	if r.blocks, err = newBlocks(ctx, r.lab, c[Active]); err != nil {
		return err
	}
	r.watch, err = watch.New(ctx, r.lab)
	return err
}

// stop ends the clients.
func (r *run) stop() {
	if r.stopped {
		return
	}
	r.stopped = true
	if r.watch != nil {
		r.watch.Stop()
	}
	if r.blocks != nil {
		r.blocks.stop()
	}
	if r.registers != nil {
		r.registers.stop()
	}
	if r.rows != nil {
		r.rows.Stop()
	}
}

// play plays steps until the time is over.
func (r *run) play(ctx context.Context) error {
	end := time.Now().Add(time.Duration(r.cfg.Minutes) * time.Minute)
	for n := 0; time.Now().Before(end); n++ {
		s := Schedule(r.cfg.Seed, n)
		begun, cleanups := time.Now(), r.result.Cleanups
		r.say("%2d: %s", n, s)
		if err := r.step(ctx, s); err != nil {
			return fmt.Errorf("step %d (%s): %w", n, s, err)
		}
		whole := time.Since(begun)
		if err := r.audit(ctx); err != nil {
			return fmt.Errorf("step %d (%s): %w", n, s, err)
		}
		gap := rows.LongestGap(r.rows.Acks(), begun, time.Now()).Length()
		r.result.Steps++
		r.result.Longest = max(r.result.Longest, gap)
		note := ""
		if r.result.Cleanups > cleanups {
			note = ", after a cleanup by the operator"
		}
		r.say("    whole after %.1f s, longest time without a row %.1f s%s", whole.Seconds(), gap.Seconds(), note)
	}
	return nil
}

// step lets a step's faults happen and end, and waits until the cluster is whole and serves.
func (r *run) step(ctx context.Context, s Step) error {
	c, err := roles(ctx, r.lab)
	if err != nil {
		return err
	}
	what := striker{r.lab, c}
	begun := time.Now()
	end, err := what.strike(ctx, s.First)
	if err != nil {
		return err
	}
	over := begun.Add(s.First.Hold)
	second := nothing
	if s.Second != nil {
		if err := until(ctx, begun.Add(s.After)); err != nil {
			return err
		}
		if second, err = what.strike(ctx, *s.Second); err != nil {
			return fmt.Errorf("the second fault: %w", err)
		}
		if t := time.Now().Add(s.Second.Hold); t.After(over) {
			over = t
		}
	}
	if err := until(ctx, over); err != nil {
		return err
	}
	if err := errors.Join(end(ctx), second(ctx)); err != nil {
		return fmt.Errorf("end of the fault: %w", err)
	}
	return r.recover(ctx)
}

// until waits for a moment: how long a fault lasts is the schedule's.
func until(ctx context.Context, t time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(t)):
		return nil
	}
}

// recover ends whatever a pair of faults has left, and waits until the cluster is whole and serves.
func (r *run) recover(ctx context.Context) error {
	if err := r.lab.Heal(); err != nil {
		return err
	}
	for _, h := range r.lab.Hosts() {
		if h.Running() && h.Frozen() {
			if err := h.Thaw(); err != nil {
				return err
			}
		}
		if err := signal(ctx, h, "CONT", []string{daemonPattern, volumePattern}); err != nil {
			return err
		}
	}
	if err := up(ctx, r.lab.Hosts()...); err != nil {
		return err
	}
	if err := r.awaitWhole(ctx); err != nil {
		return err
	}
	r.blocks.settled()
	return nil
}

// awaitWhole waits until the cluster is whole and serves rows. What has failed for good, an operator cleans up after a while: a
// database killed while it was being started must not be started on that host again, as Pacemaker has it.
func (r *run) awaitWhole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	alone, stop := context.WithTimeout(ctx, cleanupAfter)
	err := r.awaitServed(alone)
	stop()
	if err == nil {
		return nil
	}
	r.say("    %v: the operator cleans up", err)
	r.result.Cleanups++
	if _, err := persist(ctx, r.lab.Host(tutorial.DB1), "pcs resource cleanup"); err != nil {
		return err
	}
	return r.awaitServed(ctx)
}

func (r *run) awaitServed(ctx context.Context) error {
	if err := demo.AwaitWhole(ctx, r.lab); err != nil {
		return err
	}
	return r.rows.AwaitAckAfter(ctx, time.Now())
}

// judge checks the histories, and compares the replicas of the stopped volume.
func (r *run) judge(ctx context.Context) error {
	if err := r.audit(ctx); err != nil {
		return err
	}
	v, err := demo.Volume(ctx, r.lab.Host(tutorial.DB1), tutorial.Volume)
	if err != nil {
		return err
	}
	r.stop()
	r.result.Rows, r.result.RegisterOps, r.result.BlockOps = len(r.rows.Acks()), r.registers.history.Len(), r.blocks.history.Len()
	r.say("%d rows acknowledged, %d operations on rows and %d on blocks to check", r.result.Rows, r.result.RegisterOps, r.result.BlockOps)
	if r.result.Rows == 0 || r.result.RegisterOps == 0 || r.result.BlockOps == 0 {
		return errors.New("a client has done nothing: the run proves nothing")
	}
	if err := errors.Join(r.registers.history.Check(), r.blocks.history.Check()); err != nil {
		return err
	}
	if _, err := typed(ctx, r.lab.Host(tutorial.DB1), "pcs cluster stop --all"); err != nil {
		return err
	}
	same, err := demo.SameData(r.lab, v.SizeBytes)
	if err == nil && !same {
		err = errors.New("the replicas of the stopped volume differ")
	}
	return err
}

// testify has every host's log say what the cluster looks like to it, and what its daemon is doing: the daemon ends with
// the stacks of all its goroutines.
func (r *run) testify(ctx context.Context) {
	for _, h := range r.lab.Hosts() {
		if !h.Running() {
			continue
		}
		// Whatever fails here is no news.
		_, _ = h.Exec(ctx, "sh", "-c", "timeout 5 pcs status >/var/log/holdfast/status.txt 2>&1; timeout 5 pcs cluster cib >/var/log/holdfast/cib.xml 2>&1")
		_ = signal(ctx, h, "QUIT", []string{daemonPattern})
	}
}

// leave copies what a failed run is to be judged by, and says where it is.
func (r *run) leave() string {
	dir, err := os.MkdirTemp("", fmt.Sprintf("holdfast-nemesis-%d-", r.cfg.Seed))
	if err != nil || r.lab == nil {
		return fmt.Sprintf("none (%v)", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), logsLimit)
	defer cancel()
	errs := []error{r.lab.Heal()}
	for _, h := range r.lab.Hosts() {
		if h.Running() && h.Frozen() {
			errs = append(errs, h.Thaw())
		}
	}
	r.testify(ctx)
	errs = append(errs, r.lab.CollectLogs(ctx, filepath.Join(dir, "logs")), r.lab.CollectDisks(ctx, filepath.Join(dir, "disks")))
	if r.registers != nil {
		errs = append(errs, r.registers.history.Save(filepath.Join(dir, "rows.jsonl")))
	}
	if r.blocks != nil {
		errs = append(errs, r.blocks.history.Save(filepath.Join(dir, "blocks.jsonl")))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Sprintf("%s (not all: %v)", dir, err)
	}
	return dir
}
