package ocf

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
	"holdfast/internal/agent/process"
	"holdfast/internal/paths"
)

func newRoot(t *testing.T) paths.Root { t.Helper(); return agenttest.NewRoot(t) }

func withCgroups(t *testing.T, root paths.Root) { t.Helper(); agenttest.Cgroups(t, root) }

func must(t *testing.T, err error) { t.Helper(); agenttest.Must(t, err) }

func until(t *testing.T, what string, ok func() bool) { t.Helper(); agenttest.Until(t, what, ok) }

func script(t *testing.T, root paths.Root, name, body string) agent.Spec {
	t.Helper()
	return agenttest.Script(t, root, name, body)
}

func run(t *testing.T, root paths.Root, cgroups bool, op agent.Operation) agent.Result {
	t.Helper()
	if op.Timeout == 0 {
		op.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), op.Timeout)
	defer cancel()
	return New(root, cgroups).Run(ctx, op)
}

func TestDummyLifeCycle(t *testing.T) {
	root := newRoot(t)
	withCgroups(t, root)
	spec, err := Find(root, "ocf:heartbeat:Dummy")
	if err != nil {
		t.Skipf("resource-agents is not installed: %v", err)
	}
	params := map[string]string{"state": filepath.Join(string(root), "dummy.state")}
	for _, step := range []struct {
		action string
		want   agent.Code
	}{
		{"monitor", agent.NotRunning}, {"start", agent.OK}, {"start", agent.OK}, {"monitor", agent.OK},
		{"stop", agent.OK}, {"monitor", agent.NotRunning}, {"stop", agent.OK}, {"no-such-action", agent.ErrUnimplemented},
	} {
		r := run(t, root, true, agent.Operation{Resource: "d", Spec: spec, Action: step.action, Params: params})
		if r.Status != agent.Done || r.Code != step.want {
			t.Errorf("%s: status %d, code %d, want %d; %s", step.action, r.Status, r.Code, step.want, r.Stderr)
		}
	}
}

func TestEnvironmentReachesTheAgent(t *testing.T) {
	root := newRoot(t)
	spec := script(t, root, "env", "/usr/bin/env; echo action=$1\n")
	r := run(t, root, false, agent.Operation{Resource: "web:1", Spec: spec, Action: "monitor",
		Interval: 10 * time.Second, Timeout: 20 * time.Second,
		Params: map[string]string{"ip": "10.0.0.1", "OCF_CHECK_LEVEL": "10", "text": "two\nlines = \"quoted\""},
		Meta:   map[string]string{"CRM_meta_notify_promote_uname": "a b", "clone-max": "2"}})
	out := string(r.Stdout)
	for _, want := range []string{
		"action=monitor\n", "OCF_ROOT=" + root.OCF() + "\n", "OCF_RA_VERSION_MAJOR=1\n", "OCF_RA_VERSION_MINOR=1\n",
		"OCF_RESOURCE_INSTANCE=web:1\n", "OCF_RESOURCE_TYPE=env\n", "OCF_RESOURCE_PROVIDER=test\n",
		"OCF_RESKEY_ip=10.0.0.1\n", "OCF_CHECK_LEVEL=10\n", "OCF_RESKEY_text=two\nlines = \"quoted\"\n",
		"OCF_RESKEY_CRM_meta_notify_promote_uname=a b\n", "OCF_RESKEY_CRM_meta_clone_max=2\n",
		"OCF_RESKEY_CRM_meta_interval=10000\n", "OCF_RESKEY_CRM_meta_timeout=20000\n", "OCF_RESKEY_crm_feature_set=3.",
		"PATH=/usr/local/sbin:",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("environment lacks %q", want)
		}
	}
	if strings.Contains(out, "GOCACHE") || strings.Contains(out, "PWD="+string(root)) {
		t.Error("the caller's environment or directory leaks into the agent")
	}
}

func TestExitCodes(t *testing.T) {
	root := newRoot(t)
	spec := script(t, root, "exit", "exit $OCF_RESKEY_code\n")
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "190", "191", "255"} {
		r := run(t, root, false, agent.Operation{Spec: spec, Action: "monitor", Params: map[string]string{"code": code}})
		if got := int(r.Code); r.Status != agent.Done || code != strconv.Itoa(got) {
			t.Errorf("exit %s: status %d, code %d", code, r.Status, got)
		}
	}
}

func TestExitReasonIsTheLastOne(t *testing.T) {
	root := newRoot(t)
	spec := script(t, root, "reason", "echo noise >&2; echo ocf-exit-reason:first >&2; echo 'ocf-exit-reason: no disk ' >&2; echo more >&2; exit 1\n")
	r := run(t, root, false, agent.Operation{Spec: spec, Action: "start"})
	if r.ExitReason != "no disk" || r.Code != agent.ErrGeneric {
		t.Errorf("reason %q, code %d", r.ExitReason, r.Code)
	}
}

func TestMissingAndUnusableAgents(t *testing.T) {
	root := newRoot(t)
	plain := script(t, root, "plain", "")
	must(t, os.Chmod(Path(root, plain), 0o644))
	for _, spec := range []agent.Spec{plain, {Class: "ocf", Provider: "test", Type: "none"}, {Class: "ocf", Provider: "test", Type: ""}} {
		r := run(t, root, false, agent.Operation{Spec: spec, Action: "monitor"})
		if r.Code != agent.ErrInstalled || r.Status != agent.NotInstalled || r.ExitReason == "" {
			t.Errorf("%s: %+v", spec, r)
		}
	}
}

func TestKilledBySignal(t *testing.T) {
	root := newRoot(t)
	spec := script(t, root, "suicide", "kill -TERM $$; sleep 60\n")
	r := run(t, root, false, agent.Operation{Spec: spec, Action: "start"})
	if r.Code != agent.ErrGeneric || r.Status != agent.Error || !strings.Contains(r.ExitReason, "signal 15") {
		t.Errorf("%+v", r)
	}
}

// A daemon that keeps the agent's pipes open must neither delay the result nor be killed.
func TestGrandchildKeepsThePipe(t *testing.T) {
	root := newRoot(t)
	withCgroups(t, root)
	pidFile := filepath.Join(string(root), "pid")
	spec := script(t, root, "daemon", "sleep 600 &\necho $! > "+pidFile+"\necho started\nexit 0\n")
	r := run(t, root, true, agent.Operation{Resource: "dmn", Spec: spec, Action: "start"})
	if r.Code != agent.OK || r.Status != agent.Done || string(r.Stdout) != "started\n" {
		t.Fatalf("%+v", r)
	}
	members := process.Members(Cgroup(root, "dmn"))
	if len(members) != 1 || strconv.Itoa(members[0]) != read(t, pidFile) {
		t.Errorf("the resource's cgroup holds %v, want the daemon %s", members, read(t, pidFile))
	}
}

func read(t *testing.T, path string) string {
	data, err := os.ReadFile(path)
	must(t, err)
	return strings.TrimSpace(string(data))
}

// On a timeout everything of this operation goes, also what ignores SIGTERM or has left the process group; a daemon
// with a session of its own and those of earlier operations stay.
func TestTimeoutKillsTheOperationOnly(t *testing.T) {
	root := newRoot(t)
	withCgroups(t, root)
	dir := string(root)
	spec := script(t, root, "hang", `trap '' TERM
case $1 in
start) sleep 601 >/dev/null 2>&1 & echo $! > `+dir+`/daemon; exit 0;;
esac
setsid sleep 602 >/dev/null 2>&1 &
sleep 603 & echo $! > `+dir+`/child
bash -c 'set -m; sleep 604 & echo $! > `+dir+`/group; wait'
`)
	if r := run(t, root, true, agent.Operation{Resource: "h", Spec: spec, Action: "start"}); r.Code != agent.OK {
		t.Fatalf("start: %+v", r)
	}
	r := run(t, root, true, agent.Operation{Resource: "h", Spec: spec, Action: "monitor", Timeout: 2 * time.Second})
	if r.Status != agent.TimedOut || r.Code != agent.ErrGeneric || !strings.Contains(r.ExitReason, "did not complete within 2s") {
		t.Errorf("%+v", r)
	}
	until(t, "child and group to be gone", func() bool { return gone(t, dir+"/child") && gone(t, dir+"/group") })
	if gone(t, dir+"/daemon") {
		t.Error("the daemon of the earlier start was killed")
	}
	if n := len(process.Members(Cgroup(root, "h"))); n != 2 {
		t.Errorf("%d processes are left, want the daemon and the one with a session of its own", n)
	}
}

func gone(t *testing.T, pidFile string) bool {
	stat, err := os.ReadFile("/proc/" + read(t, pidFile) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestCancel(t *testing.T) {
	root := newRoot(t)
	spec := script(t, root, "sleep", "sleep 605\n")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan agent.Result, 1)
	go func() { done <- New(root, false).Run(ctx, agent.Operation{Spec: spec, Action: "monitor"}) }()
	cancel()
	if r := <-done; r.Status != agent.Cancelled || r.Code != agent.Unknown {
		t.Errorf("%+v", r)
	}
}

func TestFloodIsBounded(t *testing.T) {
	root := newRoot(t)
	spec := script(t, root, "flood", "echo first >&2; head -c 20000000 /dev/zero | tr '\\0' x >&2; echo; echo ocf-exit-reason:drowned >&2; exit 1\n")
	r := run(t, root, false, agent.Operation{Spec: spec, Action: "start"})
	if len(r.Stderr) > process.OutputMax+64 || !strings.HasPrefix(string(r.Stderr), "first\n") || !strings.Contains(string(r.Stderr), "bytes left out") {
		t.Errorf("%d bytes kept", len(r.Stderr))
	}
	if !strings.HasSuffix(string(r.Stderr), "drowned\n") {
		t.Error("the last words are lost")
	}
}

func TestNoCgroupFilesystemIsAnError(t *testing.T) {
	root := newRoot(t)
	spec := script(t, root, "true", "exit 0\n")
	r := run(t, root, true, agent.Operation{Resource: "x", Spec: spec, Action: "start"})
	if r.Status != agent.Error || !strings.Contains(r.ExitReason, "cgroup v2") {
		t.Errorf("%+v", r)
	}
}
