// Package lsb runs init scripts (/etc/init.d/NAME) as the Linux Standard Base core specification, "Init Script
// Actions", describes them: no parameters, `status` instead of `monitor`, and exit codes of its own.
package lsb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/agent"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/process"
	"holdfast/internal/paths"
)

// Agent runs the init scripts of a root. It has no state.
type Agent struct {
	root paths.Root
	dir  string
}

// New gives the init scripts in dir ("" for /etc/init.d); resources' processes live in cgroups of root.
func New(root paths.Root, dir string) *Agent {
	if dir == "" {
		dir = filepath.Join("/", string(root), "etc/init.d")
	}
	return &Agent{root: root, dir: dir}
}

// Run carries out start, stop, restart (as reload) and monitor. Promotion and notification are not in LSB.
func (a *Agent) Run(ctx context.Context, op agent.Operation) agent.Result {
	word, ok := verb(op.Action)
	if !ok {
		return agent.Result{Code: agent.ErrUnimplemented, ExitReason: fmt.Sprintf("an init script has no action %q", op.Action)}
	}
	path := filepath.Join(a.dir, filepath.Base(op.Spec.Type))
	if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
		return agent.Result{Code: agent.ErrInstalled, Status: agent.NotInstalled,
			ExitReason: fmt.Sprintf("agent %s: %s is not an executable file on this node", op.Spec, path)}
	}
	exit := process.Run(ctx, process.Command{Path: path, Args: []string{word}, Cgroup: ocf.Cgroup(a.root, op.Resource),
		Env: []string{"PATH=" + process.SearchPath, "HOME=/root"}, Started: op.Started})
	return result(op, exit)
}

func verb(action string) (string, bool) {
	switch action {
	case "start", "stop":
		return action, true
	case "monitor", "status":
		return "status", true
	case "reload":
		return "force-reload", true
	}
	return "", false
}

func result(op agent.Operation, exit process.Exit) agent.Result {
	r := agent.Result{Stdout: exit.Stdout, Stderr: exit.Stderr, Exec: exit.Exec}
	switch {
	case errors.Is(exit.Ctx, context.DeadlineExceeded):
		r.Code, r.Status = agent.ErrGeneric, agent.TimedOut
		r.ExitReason = fmt.Sprintf("%s did not complete within %v", op.Action, op.Timeout)
	case exit.Ctx != nil:
		r.Code, r.Status = agent.Unknown, agent.Cancelled
	case exit.Err != nil:
		r.Code, r.Status, r.ExitReason = agent.ErrGeneric, agent.Error, exit.Err.Error()
	case exit.Signal != 0:
		r.Code, r.Status, r.ExitReason = agent.ErrGeneric, agent.Error, fmt.Sprintf("%s was ended by signal %v", op.Action, exit.Signal)
	case op.Action == "monitor" || op.Action == "status":
		r.Code = statusCode(exit.Code)
	default:
		r.Code = actionCode(op.Action, exit.Code)
	}
	return r
}

// statusCode translates the exit codes of `status`: 1 and 2 are a dead service that left a file behind.
func statusCode(code int) agent.Code {
	switch code {
	case 0:
		return agent.OK
	case 1, 2, 3:
		return agent.NotRunning
	}
	return agent.ErrGeneric
}

// actionCode translates those of the other actions; 0 to 6 mean what they mean in OCF. Stopping what is stopped is
// a success in LSB; a script that says 7 to that is believed.
func actionCode(action string, code int) agent.Code {
	switch {
	case code >= 0 && code <= 6:
		return agent.Code(code)
	case code == 7 && action == "stop":
		return agent.OK
	}
	return agent.ErrGeneric
}

// List names the init scripts of the directory.
func (a *Agent) List() ([]string, error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, fmt.Errorf("list init scripts: %w", err)
	}
	var names []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(a.dir, e.Name())); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
