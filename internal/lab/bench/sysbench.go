package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// sysbenchWork is sysbench's oltp_write_only with so many threads.
type sysbenchWork struct {
	name       string
	threads    int
	must, goal float64
}

func sysbenchWorks() []sysbenchWork {
	return []sysbenchWork{
		{name: "sysbench-8", threads: 8, must: 0.65, goal: 0.80},
		{name: "sysbench-1", threads: 1, must: 0.60, goal: 0.80},
	}
}

// Of the tables that sysbench makes. They fit into the servers' memory: what is measured is writing.
const (
	sysbenchTables = 4
	sysbenchRows   = 10000
)

// sysbench runs a command of oltp_write_only on a server.
func (d *database) sysbench(ctx context.Context, command string, threads, seconds int) (outcome, error) {
	out, err := exec.CommandContext(ctx, "sysbench", "oltp_write_only", "--db-driver=mysql", "--mysql-host=127.0.0.1", "--mysql-port="+strconv.Itoa(d.port),
		"--mysql-user=root", "--mysql-db=bench", "--tables="+strconv.Itoa(sysbenchTables), "--table-size="+strconv.Itoa(sysbenchRows),
		"--threads="+strconv.Itoa(threads), "--time="+strconv.Itoa(seconds), "--percentile=99", command).CombinedOutput()
	if err != nil {
		return outcome{}, fmt.Errorf("%s: sysbench %s: %w: %s", d.name, command, err, out)
	}
	if command != "run" {
		return outcome{}, nil
	}
	o, err := decodeSysbench(string(out))
	if err != nil {
		return o, fmt.Errorf("%s: %w", d.name, err)
	}
	return o, nil
}

var (
	sysbenchDone = regexp.MustCompile(`transactions:\s+(\d+)\s+\(([0-9.]+) per sec\.\)`)
	sysbenchMean = regexp.MustCompile(`(?m)^\s+avg:\s+([0-9.]+)$`)
	sysbenchP99  = regexp.MustCompile(`(?m)^\s+99th percentile:\s+([0-9.]+)$`)
)

// decodeSysbench reads the report of a run; an outcome is of transactions.
func decodeSysbench(text string) (outcome, error) {
	var o outcome
	for _, f := range []struct {
		at    *regexp.Regexp
		group int
		unit  float64
		into  *float64
	}{{sysbenchDone, 1, 1, &o.Total}, {sysbenchDone, 2, 1, &o.PerSecond}, {sysbenchMean, 1, 1000, &o.Mean}, {sysbenchP99, 1, 1000, &o.P99}} {
		m := f.at.FindStringSubmatch(text)
		if m == nil {
			return o, fmt.Errorf("sysbench's report has no %q: %s", f.at, text)
		}
		v, err := strconv.ParseFloat(m[f.group], 64)
		if err != nil {
			return o, fmt.Errorf("sysbench's report: %w", err)
		}
		*f.into = v * f.unit
	}
	if o.PerSecond <= 0 {
		return o, errors.New("sysbench reports that nothing was done")
	}
	return o, nil
}

// databases measures a MariaDB on the volume beside one on the plain device, and beside the two ways in which MariaDB
// itself replicates, in the same rounds and on the same disk.
func (r *run) databases(ctx context.Context) error {
	s := &settings{run: r}
	defer s.stop()
	if err := s.prepare(ctx); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for _, w := range sysbenchWorks() {
		if !r.cfg.wants(w.name) {
			continue
		}
		rows := s.newRows(w)
		for range r.cfg.Rounds {
			if err := s.round(ctx, w, rows); err != nil {
				return err
			}
		}
		for _, row := range rows {
			r.say("%s", row.line())
		}
	}
	return nil
}

// newRows are the volume's and the peers'; these are there to be compared with, and must reach nothing.
func (s *settings) newRows(w sysbenchWork) []*row {
	rows := []*row{{Name: w.name, Must: w.must, Goal: w.goal}, {Name: w.name + " semi-sync"}, {Name: w.name + " galera"}}
	s.run.rows = append(s.run.rows, rows...)
	return rows
}

func (s *settings) round(ctx context.Context, w sysbenchWork, rows []*row) error {
	seconds := s.run.cfg.Seconds
	plain, err := s.plain.sysbench(ctx, "run", w.threads, seconds)
	if err != nil {
		return err
	}
	pids := s.run.pair.pids()
	used := processorTime(pids)
	for i, d := range []*database{s.ours, s.source, s.galera[0]} {
		got, err := d.sysbench(ctx, "run", w.threads, seconds)
		if err != nil {
			return err
		}
		cpu := time.Duration(0)
		if i == 0 {
			cpu = processorTime(pids) - used
		}
		rows[i].add(plain, got, cpu)
	}
	return s.prior(ctx, w, rows[0])
}

// prior measures the earlier program, if there is one.
func (s *settings) prior(ctx context.Context, w sysbenchWork, row *row) error {
	if s.before == nil {
		return nil
	}
	pids := s.run.prior.pids()
	used := processorTime(pids)
	got, err := s.before.sysbench(ctx, "run", w.threads, s.run.cfg.Seconds)
	if err != nil {
		return err
	}
	row.addBefore(got, processorTime(pids)-used)
	return nil
}
