package lsb

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/process"
	"holdfast/internal/paths"
)

func run(t *testing.T, root paths.Root, dir, name, action string) agent.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return New(root, dir).Run(ctx, agent.Operation{Resource: "r", Spec: agent.Spec{Class: "lsb", Type: name}, Action: action, Timeout: time.Minute})
}

func script(t *testing.T, body string) (paths.Root, string) {
	t.Helper()
	root := agenttest.NewRoot(t)
	agenttest.Cgroups(t, root)
	dir := t.TempDir()
	agenttest.Must(t, os.WriteFile(filepath.Join(dir, "svc"), []byte("#!/bin/sh\n"+body), 0o755))
	return root, dir
}

func TestStatusCodes(t *testing.T) {
	root, dir := script(t, "")
	for code, want := range map[string]agent.Code{"0": agent.OK, "1": agent.NotRunning, "2": agent.NotRunning, "3": agent.NotRunning, "4": agent.ErrGeneric, "151": agent.ErrGeneric} {
		agenttest.Must(t, os.WriteFile(filepath.Join(dir, "svc"), []byte("#!/bin/sh\n[ $1 = status ] || exit 9\nexit "+code+"\n"), 0o755))
		if r := run(t, root, dir, "svc", "monitor"); r.Code != want || r.Status != agent.Done {
			t.Errorf("status %s: %+v", code, r)
		}
	}
}

func TestActionCodes(t *testing.T) {
	root, dir := script(t, "")
	for _, c := range []struct {
		action, code string
		want         agent.Code
	}{
		{"start", "0", agent.OK}, {"start", "2", agent.ErrArgs}, {"start", "6", agent.ErrConfigured}, {"start", "7", agent.ErrGeneric},
		{"stop", "7", agent.OK}, {"stop", "1", agent.ErrGeneric}, {"stop", "99", agent.ErrGeneric},
	} {
		agenttest.Must(t, os.WriteFile(filepath.Join(dir, "svc"), []byte("#!/bin/sh\n[ $1 = "+c.action+" ] || exit 98\nexit "+c.code+"\n"), 0o755))
		if r := run(t, root, dir, "svc", c.action); r.Code != c.want {
			t.Errorf("%s %s: %+v", c.action, c.code, r)
		}
	}
}

func TestUnknown(t *testing.T) {
	root, dir := script(t, "exit 0\n")
	if r := run(t, root, dir, "none", "start"); r.Code != agent.ErrInstalled || r.Status != agent.NotInstalled {
		t.Errorf("missing script: %+v", r)
	}
	if r := run(t, root, dir, "../svc", "start"); r.Code != agent.OK {
		t.Errorf("a path in a name: %+v", r)
	}
	if r := run(t, root, dir, "svc", "promote"); r.Code != agent.ErrUnimplemented {
		t.Errorf("promote: %+v", r)
	}
	names, err := New(root, dir).List()
	if err != nil || len(names) != 1 || names[0] != "svc" {
		t.Errorf("list: %v %v", names, err)
	}
}

// A real init script of the distribution: it starts nothing here (its daemon is switched off), but answers in LSB.
func TestARealInitScript(t *testing.T) {
	root := agenttest.NewRoot(t)
	agenttest.Cgroups(t, root)
	for _, name := range []string{"nginx", "rsync", "mariadb", "ssh", "cron"} {
		if _, err := os.Stat("/etc/init.d/" + name); err != nil {
			continue
		}
		r := run(t, root, "/etc/init.d", name, "monitor")
		if r.Status != agent.Done || (r.Code != agent.OK && r.Code != agent.NotRunning) {
			t.Errorf("%s: %+v", name, r)
		}
		return
	}
	t.Skip("no init script is installed")
}

func TestDaemonLivesInTheCgroup(t *testing.T) {
	root, dir := script(t, "[ $1 = start ] && { setsid sleep 1003 >/dev/null 2>&1 & }\nexit 0\n")
	if r := run(t, root, dir, "svc", "start"); r.Code != agent.OK {
		t.Fatalf("%+v", r)
	}
	if n := len(process.Members(ocf.Cgroup(root, "r"))); n != 1 {
		t.Errorf("%d processes in the cgroup", n)
	}
}

func TestTimeout(t *testing.T) {
	root, dir := script(t, "sleep 600\n")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r := New(root, dir).Run(ctx, agent.Operation{Resource: "r", Spec: agent.Spec{Class: "lsb", Type: "svc"}, Action: "start", Timeout: 100 * time.Millisecond})
	if r.Status != agent.TimedOut || !strings.Contains(r.ExitReason, "100ms") {
		t.Errorf("%+v", r)
	}
}
