package demo

import (
	"context"
	"errors"
	"os/exec"
	"strings"

	"holdfast/internal/lab"
	"holdfast/internal/lab/tutorial"
)

// LabRunner types lines on the hosts of a lab.
type LabRunner struct{ Lab *lab.Lab }

var _ tutorial.Runner = LabRunner{}

// Run runs a line by a shell on a host; output is what it printed on stdout and stderr, as it came.
func (r LabRunner) Run(ctx context.Context, host, line, stdin string) (string, int, error) {
	h, err := r.Lab.Find(host)
	if err != nil {
		return "", 0, err
	}
	cmd := h.Command(ctx, "sh", "-c", line)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return string(out), lab.ExitCode(exit.ProcessState), nil
	}
	return string(out), 0, err
}
