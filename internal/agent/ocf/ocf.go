// Package ocf runs external OCF resource agents as they are: scripts below OCF_ROOT/resource.d/PROVIDER/TYPE, called
// with the environment of the OCF resource agent API 1.1 and of Pacemaker Explained ("OCF Resource Agents"), and reads
// what they say of themselves.
package ocf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/agent"
	"holdfast/internal/agent/process"
	"holdfast/internal/paths"
)

// FeatureSet is the crm_feature_set told to agents when the operation carries none: Pacemaker 2.1.5's. Agents compare
// it to decide which notify variables and which exit codes the cluster understands.
const FeatureSet = "3.16.1"

// exitReasonPrefix begins a line of standard error that is meant for people (ocf_exit_reason of ocf-shellfuncs).
const exitReasonPrefix = "ocf-exit-reason:"

// Agent runs the agents below a root. It has no state.
type Agent struct {
	root    paths.Root
	cgroups bool
}

// New gives the agents of root. With cgroups, each resource's processes are started in its cgroup below root.Cgroup();
// without (a command line that only asks for metadata) they stay in the caller's.
func New(root paths.Root, cgroups bool) *Agent { return &Agent{root: root, cgroups: cgroups} }

// Cgroup is the cgroup v2 directory of a resource's processes. Resource ids are XML ids and have no slash; one that
// has is kept from leaving the directory.
func Cgroup(root paths.Root, resource string) string {
	return filepath.Join(root.Cgroup(), "resource", strings.ReplaceAll(resource, "/", "_"))
}

// Path is the file of an agent.
func Path(root paths.Root, spec agent.Spec) string {
	return filepath.Join(root.OCF(), "resource.d", spec.Provider, spec.Type)
}

// Run calls the agent for one operation. It never returns later than ctx's end plus process.KillWait.
func (a *Agent) Run(ctx context.Context, op agent.Operation) agent.Result {
	path := Path(a.root, op.Spec)
	if err := runnable(path); err != nil {
		return agent.Result{Code: agent.ErrInstalled, Status: agent.NotInstalled,
			ExitReason: fmt.Sprintf("agent %s: %v", op.Spec, err)}
	}
	if err := os.MkdirAll(runDir(a.root), 0o755); err != nil {
		return agent.Result{Code: agent.ErrGeneric, Status: agent.Error, ExitReason: err.Error()}
	}
	cmd := process.Command{Path: path, Args: []string{op.Action}, Env: environment(a.root, op), Started: op.Started}
	if a.cgroups {
		cmd.Cgroup = Cgroup(a.root, op.Resource)
	}
	return result(op, process.Run(ctx, cmd))
}

func runnable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist; install the package it is in on this node", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not an executable file", path)
	}
	return nil
}

// result translates the end of the process. An agent that a signal ended, or that we ended, has no OCF code of its own:
// it counts as a generic error.
func result(op agent.Operation, exit process.Exit) agent.Result {
	r := agent.Result{Code: agent.Code(exit.Code), Status: agent.Done, Stdout: exit.Stdout, Stderr: exit.Stderr,
		Exec: exit.Exec, ExitReason: exitReason(exit.Stderr)}
	switch {
	case errors.Is(exit.Ctx, context.DeadlineExceeded):
		r.Code, r.Status = agent.ErrGeneric, agent.TimedOut
		r.ExitReason = fmt.Sprintf("%s did not complete within %v", op.Action, op.Timeout)
	case exit.Ctx != nil:
		r.Code, r.Status, r.ExitReason = agent.Unknown, agent.Cancelled, "cancelled"
	case exit.Err != nil:
		r.Code, r.Status, r.ExitReason = agent.ErrGeneric, agent.Error, exit.Err.Error()
	case exit.Signal != 0:
		r.Code, r.Status, r.ExitReason = agent.ErrGeneric, agent.Error, fmt.Sprintf("%s was ended by signal %d (%v)", op.Action, exit.Signal, exit.Signal)
	}
	if exit.Ctx != nil && exit.Err != nil {
		r.ExitReason += "; " + exit.Err.Error()
	}
	return r
}

// exitReason is the last reason given: an agent may give several, the last decides.
func exitReason(stderr []byte) string {
	reason := ""
	for line := range bytes.Lines(stderr) {
		if text, ok := bytes.CutPrefix(line, []byte(exitReasonPrefix)); ok {
			reason = strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")
		}
	}
	return reason
}
