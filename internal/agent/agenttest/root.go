// Package agenttest gives tests a root directory in which agents run: with the distribution's own agents, room for
// scripts of the test's, and a cgroup v2 directory. Test only.
package agenttest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent"
	"holdfast/internal/paths"
)

// Patience bounds every wait for a state.
const Patience = 30 * time.Second

// NewRoot makes the root. Its OCF directory links to the distribution's providers, as far as they are installed.
func NewRoot(t *testing.T) paths.Root {
	t.Helper()
	root := paths.Root(t.TempDir())
	Must(t, os.MkdirAll(filepath.Join(root.OCF(), "resource.d", "test"), 0o755))
	Must(t, os.MkdirAll(root.Run(), 0o755))
	for _, link := range []string{"lib", "resource.d/heartbeat", "resource.d/pacemaker"} {
		if _, err := os.Stat(filepath.Join("/usr/lib/ocf", link)); err == nil {
			Must(t, os.Symlink(filepath.Join("/usr/lib/ocf", link), filepath.Join(root.OCF(), link)))
		}
	}
	return root
}

// Script installs an agent ocf:test:NAME made of a shell script's body.
func Script(t *testing.T, root paths.Root, name, body string) agent.Spec {
	t.Helper()
	path := filepath.Join(root.OCF(), "resource.d", "test", name)
	Must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755))
	return agent.Spec{Class: "ocf", Provider: "test", Type: name}
}

// Cgroups gives the root a cgroup v2 directory nobody else uses; at the test's end everything in it is killed. It skips
// where cgroup v2 cannot be mounted.
func Cgroups(t *testing.T, root paths.Root) {
	t.Helper()
	whole := t.TempDir()
	if err := unix.Mount("cgroup2", whole, "cgroup2", 0, ""); err != nil {
		t.Skipf("cgroup v2 cannot be mounted here: %v", err)
	}
	defer unmount(t, whole)
	name := "holdfast-test-" + strconv.Itoa(os.Getpid()) + "-" + filepath.Base(filepath.Dir(whole))
	Must(t, os.Mkdir(filepath.Join(whole, name), 0o755))
	at := filepath.Dir(root.Cgroup())
	Must(t, os.MkdirAll(at, 0o755))
	Must(t, unix.Mount(filepath.Join(whole, name), at, "", unix.MS_BIND, ""))
	t.Cleanup(func() { removeCgroup(t, at, name) })
}

func removeCgroup(t *testing.T, at, name string) {
	Must(t, os.WriteFile(filepath.Join(at, "cgroup.kill"), []byte("1"), 0))
	Until(t, "cgroups below "+at+" to be empty", func() bool { return removeBelow(at) })
	unmount(t, at)
	whole := t.TempDir()
	Must(t, unix.Mount("cgroup2", whole, "cgroup2", 0, ""))
	Must(t, os.Remove(filepath.Join(whole, name)))
	unmount(t, whole)
}

// removeBelow removes all cgroups below dir, deepest first.
func removeBelow(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return os.IsNotExist(err)
	}
	ok := true
	for _, e := range entries {
		if e.IsDir() {
			sub := filepath.Join(dir, e.Name())
			ok = removeBelow(sub) && unix.Rmdir(sub) == nil && ok
		}
	}
	return ok
}

func unmount(t *testing.T, dir string) {
	if err := unix.Unmount(dir, 0); err != nil {
		t.Errorf("unmount %s: %v", dir, err)
	}
}

// Must ends the test at an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Until waits for a state, at most Patience.
func Until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
