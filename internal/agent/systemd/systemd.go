// Package systemd runs units as resources, through systemctl: start and stop wait for systemd's own job to end, and a
// unit's state becomes an OCF code. From its start to its stop a service is the cluster's: a drop-in puts it into the slice whose
// processes the guard ends with the node's lease, and keeps the manager from starting it again by itself.
package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/process"
	"holdfast/internal/paths"
)

// settlePoll is how often a unit that is changing its state is looked at again.
const settlePoll = 100 * time.Millisecond

// Agent talks to a service manager. It has no state.
type Agent struct {
	args, env []string
	dropIns   string // the directory whose UNIT.d add to a unit
}

// New talks to the system's manager.
func New(root paths.Root) *Agent {
	return &Agent{env: []string{"PATH=" + process.SearchPath}, dropIns: root.UnitDropIns()}
}

// NewUser talks to the manager of the calling user (systemd --user), found through XDG_RUNTIME_DIR.
func NewUser() *Agent {
	run := os.Getenv("XDG_RUNTIME_DIR")
	return &Agent{args: []string{"--user"}, dropIns: filepath.Join(run, "systemd/user"), env: []string{"PATH=" + process.SearchPath,
		"XDG_RUNTIME_DIR=" + run, "DBUS_SESSION_BUS_ADDRESS=" + os.Getenv("DBUS_SESSION_BUS_ADDRESS")}}
}

// Run carries out start, stop, monitor and reload.
func (a *Agent) Run(ctx context.Context, op agent.Operation) agent.Result {
	begin := time.Now()
	r := a.run(ctx, op)
	r.Exec = time.Since(begin)
	return r
}

func (a *Agent) run(ctx context.Context, op agent.Operation) agent.Result {
	switch op.Action {
	case "start", "stop", "reload":
	case "monitor", "status":
		return a.monitor(ctx, op)
	default:
		return agent.Result{Code: agent.ErrUnimplemented, ExitReason: fmt.Sprintf("a systemd unit has no action %q", op.Action)}
	}
	state, r, ok := a.state(ctx, op)
	if !ok {
		return r
	}
	if state.load == "not-found" {
		if op.Action == "stop" {
			return agent.Result{}
		}
		return notInstalled(op)
	}
	if op.Action == "start" {
		if r, ok := a.take(ctx, op); !ok {
			return r
		}
	}
	r, ok = a.carryOut(ctx, op, op.Action, unit(op))
	if ok && op.Action == "stop" {
		r, _ = a.giveBack(ctx, op)
	}
	return r
}

// carryOut runs systemctl for an operation; ok tells whether it succeeded.
func (a *Agent) carryOut(ctx context.Context, op agent.Operation, args ...string) (r agent.Result, ok bool) {
	exit := a.systemctl(ctx, args...)
	if r, bad := failed(op, exit); bad {
		return r, false
	}
	if exit.Code != 0 {
		return agent.Result{Code: agent.ErrGeneric, Stdout: exit.Stdout, Stderr: exit.Stderr,
			ExitReason: strings.TrimSpace(string(exit.Stderr))}, false
	}
	return agent.Result{Stdout: exit.Stdout, Stderr: exit.Stderr}, true
}

// monitor waits while the unit is on its way from one state to another.
func (a *Agent) monitor(ctx context.Context, op agent.Operation) agent.Result {
	for {
		state, r, ok := a.state(ctx, op)
		if !ok {
			return r
		}
		switch state.active {
		case "active", "reloading":
			return agent.Result{}
		case "activating", "deactivating", "maintenance":
			select {
			case <-time.After(settlePoll):
				continue
			case <-ctx.Done():
				r, _ := failed(op, process.Exit{Ctx: ctx.Err()})
				return r
			}
		case "failed":
			return agent.Result{Code: agent.NotRunning, ExitReason: fmt.Sprintf("%s has failed (%s)", unit(op), state.result)}
		}
		if state.load == "not-found" && op.Interval > 0 {
			return notInstalled(op)
		}
		return agent.Result{Code: agent.NotRunning}
	}
}

func notInstalled(op agent.Operation) agent.Result {
	return agent.Result{Code: agent.ErrInstalled, Status: agent.NotInstalled,
		ExitReason: fmt.Sprintf("systemd knows no unit %s on this node", unit(op))}
}

type unitState struct{ load, active, result string }

func (a *Agent) state(ctx context.Context, op agent.Operation) (unitState, agent.Result, bool) {
	exit := a.systemctl(ctx, "show", "--property=LoadState,ActiveState,Result", unit(op))
	if r, bad := failed(op, exit); bad {
		return unitState{}, r, false
	}
	if exit.Code != 0 {
		return unitState{}, agent.Result{Code: agent.ErrGeneric, Status: agent.Error,
			ExitReason: "systemctl: " + strings.TrimSpace(string(exit.Stderr)), Stderr: exit.Stderr}, false
	}
	return parseState(exit.Stdout), agent.Result{}, true
}

// parseState reads `systemctl show`: NAME=value lines.
func parseState(out []byte) unitState {
	var s unitState
	for line := range bytes.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		switch name {
		case "LoadState":
			s.load = value
		case "ActiveState":
			s.active = value
		case "Result":
			s.result = value
		}
	}
	return s
}

// unit is the unit's full name; a type without a suffix is a service.
func unit(op agent.Operation) string {
	if name := op.Spec.Type; strings.Contains(name, ".") {
		return name
	}
	return op.Spec.Type + ".service"
}

func (a *Agent) systemctl(ctx context.Context, args ...string) process.Exit {
	path := "/usr/bin/systemctl"
	if _, err := os.Stat(path); err != nil {
		path = "/bin/systemctl"
	}
	all := append(append([]string{"--no-pager", "--quiet"}, a.args...), args...)
	return process.Run(ctx, process.Command{Path: path, Args: all, Env: a.env})
}

// failed gives the result of a systemctl that did not come to an end of its own.
func failed(op agent.Operation, exit process.Exit) (agent.Result, bool) {
	switch {
	case errors.Is(exit.Ctx, context.DeadlineExceeded):
		return agent.Result{Code: agent.ErrGeneric, Status: agent.TimedOut,
			ExitReason: fmt.Sprintf("%s of %s did not complete within %v", op.Action, unit(op), op.Timeout)}, true
	case exit.Ctx != nil:
		return agent.Result{Code: agent.Unknown, Status: agent.Cancelled}, true
	case exit.Err != nil:
		return agent.Result{Code: agent.ErrInstalled, Status: agent.NotInstalled, ExitReason: exit.Err.Error()}, true
	}
	return agent.Result{}, false
}

// Known tells whether the manager has a unit of that name.
func (a *Agent) Known(ctx context.Context, name string) bool {
	op := agent.Operation{Spec: agent.Spec{Class: "systemd", Type: name}, Action: "monitor"}
	state, _, ok := a.state(ctx, op)
	return ok && state.load == "loaded"
}
