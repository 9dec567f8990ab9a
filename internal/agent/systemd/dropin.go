package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/agent"
	"holdfast/internal/paths"
)

// dropIn makes a service the cluster's. Restart=no: after the guard has killed it, or a failure, nobody but the cluster decides
// where it runs next.
const dropIn = "# Written by holdfast while the cluster runs this unit.\n[Service]\nSlice=" + paths.ResourceSlice + "\nRestart=no\n"

func (a *Agent) dropIn(op agent.Operation) string {
	return filepath.Join(a.dropIns, unit(op)+".d", "50-holdfast.conf")
}

// take makes a service the cluster's, before it is started. Other kinds of units have no processes of their own.
func (a *Agent) take(ctx context.Context, op agent.Operation) (r agent.Result, ok bool) {
	if !strings.HasSuffix(unit(op), ".service") {
		return agent.Result{}, true
	}
	path := a.dropIn(op)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, []byte(dropIn)) {
		return agent.Result{}, true
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(dropIn), 0o644)
	}
	if err != nil {
		return agent.Result{Code: agent.ErrGeneric, ExitReason: fmt.Sprintf("make %s a unit of the cluster: %v", unit(op), err)}, false
	}
	return a.carryOut(ctx, op, "daemon-reload")
}

// giveBack undoes take, once the unit is stopped.
func (a *Agent) giveBack(ctx context.Context, op agent.Operation) (r agent.Result, ok bool) {
	err := os.Remove(a.dropIn(op))
	if errors.Is(err, os.ErrNotExist) {
		return agent.Result{}, true
	}
	if err != nil {
		return agent.Result{Code: agent.ErrGeneric, ExitReason: fmt.Sprintf("give %s back to its own settings: %v", unit(op), err)}, false
	}
	_ = os.Remove(filepath.Dir(a.dropIn(op))) // others may have drop-ins there
	return a.carryOut(ctx, op, "daemon-reload")
}
