package ocf

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent"
	"holdfast/internal/agent/process"
	"holdfast/internal/paths"
)

// realAgent skips where the distribution's agent or one of the programs is missing.
func realAgent(t *testing.T, root paths.Root, name string, programs ...string) agent.Spec {
	t.Helper()
	spec, err := Find(root, "ocf:heartbeat:"+name)
	if err != nil {
		t.Skipf("resource-agents is not installed: %v", err)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return spec
}

func steps(t *testing.T, root paths.Root, op agent.Operation, want map[string]agent.Code, order ...string) {
	t.Helper()
	for _, action := range order {
		op.Action = action
		if r := run(t, root, true, op); r.Status != agent.Done || r.Code != want[action] {
			t.Fatalf("%s: status %d, code %d, want %d; %s\n%s%s", action, r.Status, r.Code, want[action], r.ExitReason, r.Stdout, r.Stderr)
		}
	}
}

func mounted(t *testing.T, dir string) bool {
	data, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	return strings.Contains(string(data), " "+dir+" ")
}

func TestFilesystemMountsTmpfsAndBind(t *testing.T) {
	root := newRoot(t)
	withCgroups(t, root)
	spec := realAgent(t, root, "Filesystem", "mount", "findmnt")
	source := filepath.Join(string(root), "source")
	must(t, os.Mkdir(source, 0o755))
	must(t, os.WriteFile(filepath.Join(source, "file"), nil, 0o644))
	for name, params := range map[string]map[string]string{
		"tmpfs": {"device": "tmpfs", "fstype": "tmpfs", "options": "size=1m"},
		"bind":  {"device": source, "fstype": "none", "options": "bind"},
	} {
		dir := filepath.Join(string(root), "mnt-"+name)
		params["directory"] = dir
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		op := agent.Operation{Resource: "fs-" + name, Spec: spec, Params: params}
		op.Action = "monitor"
		if r := run(t, root, true, op); r.Code != agent.NotRunning {
			t.Fatalf("%s: probe: %+v", name, r)
		}
		steps(t, root, op, map[string]agent.Code{}, "start", "start", "monitor")
		if !mounted(t, dir) {
			t.Errorf("%s: started, but not mounted", name)
		}
		steps(t, root, op, map[string]agent.Code{"monitor": agent.NotRunning}, "stop", "stop", "monitor")
		if mounted(t, dir) {
			t.Errorf("%s: stopped, but mounted", name)
		}
	}
}

func TestFilesystemSaysWhyItCannotMount(t *testing.T) {
	root := newRoot(t)
	withCgroups(t, root)
	spec := realAgent(t, root, "Filesystem", "mount")
	image := filepath.Join(string(root), "empty.img")
	must(t, os.WriteFile(image, make([]byte, 1<<20), 0o644))
	op := agent.Operation{Resource: "bad", Spec: spec, Action: "start",
		Params: map[string]string{"device": image, "directory": filepath.Join(string(root), "mnt"), "fstype": "ext4", "options": "loop"}}
	r := run(t, root, true, op)
	if r.Code == agent.OK || r.ExitReason == "" {
		t.Errorf("%+v", r)
	}
}

// The tutorial's database, through the distribution's mysql agent: the daemon lives in the resource's cgroup, survives
// the start operation, and leaves nothing behind after the stop.
func TestMySQL(t *testing.T) {
	root := newRoot(t)
	withCgroups(t, root)
	spec := realAgent(t, root, "mysql", "mysqld_safe", "mariadb-install-db", "mariadbd")
	op := agent.Operation{Resource: "mysql_svc", Spec: spec, Timeout: 2 * time.Minute, Params: database(t, string(root))}
	op.Action = "monitor"
	if r := run(t, root, true, op); r.Code != agent.NotRunning {
		t.Fatalf("probe: %+v", r)
	}
	steps(t, root, op, map[string]agent.Code{}, "start", "monitor")
	pid, err := strconv.Atoi(read(t, op.Params["pid"]))
	must(t, err)
	if members := process.Members(Cgroup(root, "mysql_svc")); !slices.Contains(members, pid) {
		t.Errorf("the database, process %d, is not in its resource's cgroup: %v", pid, members)
	}
	out, err := exec.Command("mariadb", "--no-defaults", "-uroot", "-S", op.Params["socket"], "-e", "select 6*7").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "42") {
		t.Errorf("query: %v %s", err, out)
	}
	steps(t, root, op, map[string]agent.Code{"monitor": agent.NotRunning}, "stop", "monitor", "stop")
	until(t, "the cgroup to be empty", func() bool { return len(process.Members(Cgroup(root, "mysql_svc"))) == 0 })
}

// database makes an empty database below dir and gives the agent's parameters for it.
func database(t *testing.T, dir string) map[string]string {
	t.Helper()
	data, conf := filepath.Join(dir, "data"), filepath.Join(dir, "my.cnf")
	text := "[mysqld]\nskip-networking\ninnodb_buffer_pool_size=8M\ninnodb_log_file_size=4M\nperformance_schema=0\n" +
		"skip-log-bin\n"
	must(t, os.WriteFile(conf, []byte(text), 0o644))
	out, err := exec.Command("mariadb-install-db", "--defaults-file="+conf, "--auth-root-authentication-method=normal", "--skip-test-db",
		"--user=root", "--datadir="+data).CombinedOutput()
	if err != nil {
		t.Fatalf("make a database: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, "mysql.log")); err == nil && t.Failed() {
			t.Logf("database log:\n%s", log)
		}
	})
	return map[string]string{"binary": "/usr/bin/mysqld_safe", "config": conf, "datadir": data, "user": "root", "group": "root", "additional_parameters": "--user=root",
		"pid": filepath.Join(dir, "mysqld.pid"), "socket": filepath.Join(dir, "mysql.sock"), "log": filepath.Join(dir, "mysql.log")}
}
