package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// work is one kind of load.
type work struct {
	name       string
	mode       string // fio's rw
	block      string // fio's bs
	depth      int
	fsync      bool // after every write
	must, goal float64
}

// outcome is what fio measured.
type outcome struct {
	PerSecond float64 `json:"per_second"` // operations
	Mean      float64 `json:"mean_us"`    // completion latency
	P99       float64 `json:"p99_us"`
	Total     float64 `json:"-"` // operations in all
}

// findFio tells what to install if it is missing.
func findFio() error {
	if _, err := exec.LookPath("fio"); err != nil {
		return errors.New("fio, which makes the load, is not installed: apt-get install fio")
	}
	return nil
}

// fio runs a work on a device for so many seconds. size bounds what is touched, in bytes.
func (w work) fio(ctx context.Context, device string, seconds int, size int64) (outcome, error) {
	args := []string{"--name=bench", "--filename=" + device, "--direct=1", "--rw=" + w.mode, "--bs=" + w.block,
		"--size=" + strconv.FormatInt(size, 10), "--time_based", "--runtime=" + strconv.Itoa(seconds), "--output-format=json",
		"--randrepeat=0", "--norandommap"}
	if w.fsync {
		args = append(args, "--ioengine=psync", "--fsync=1")
	} else {
		args = append(args, "--ioengine=libaio", "--iodepth="+strconv.Itoa(w.depth))
	}
	out, err := exec.CommandContext(ctx, "fio", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return outcome{}, fmt.Errorf("fio %s on %s: %w", w.name, device, err)
	}
	return decodeFio(out, strings.Contains(w.mode, "read"))
}

// fioReport is the part of fio's JSON that is read.
type fioReport struct {
	Jobs []struct {
		Error int      `json:"error"`
		Read  fioStats `json:"read"`
		Write fioStats `json:"write"`
	} `json:"jobs"`
}

type fioStats struct {
	IOPS  float64 `json:"iops"`
	Total float64 `json:"total_ios"`
	CLat  struct {
		Mean       float64            `json:"mean"` // nanoseconds
		Percentile map[string]float64 `json:"percentile"`
	} `json:"clat_ns"`
}

func decodeFio(text []byte, reads bool) (outcome, error) {
	var r fioReport
	if err := json.Unmarshal(text, &r); err != nil {
		return outcome{}, fmt.Errorf("decode fio's report: %w", err)
	}
	if len(r.Jobs) != 1 {
		return outcome{}, fmt.Errorf("fio's report has %d jobs, expected one", len(r.Jobs))
	}
	if r.Jobs[0].Error != 0 {
		return outcome{}, fmt.Errorf("fio got I/O error %d", r.Jobs[0].Error)
	}
	s := r.Jobs[0].Write
	if reads {
		s = r.Jobs[0].Read
	}
	if s.IOPS <= 0 {
		return outcome{}, errors.New("fio reports that nothing was done")
	}
	return outcome{PerSecond: s.IOPS, Total: s.Total, Mean: s.CLat.Mean / 1000, P99: s.CLat.Percentile["99.000000"] / 1000}, nil
}
