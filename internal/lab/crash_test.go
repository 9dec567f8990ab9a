package lab_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// upElsewhere brings up a lab in another process.
func upElsewhere(t *testing.T, name string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), upEnv+"="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

// leftovers lists everything of a lab that can be found on the machine.
func leftovers(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	dir := filepath.Join(lab.DefaultDir, name)
	if _, err := os.Stat(dir); err == nil {
		found = append(found, "directory "+dir)
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, dir+"/") {
			found = append(found, "mount "+line)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if file, err := os.ReadFile(l); err == nil && strings.Contains(string(file), dir+"/") {
			found = append(found, "loop device "+l+" "+string(file))
		}
	}
	for _, shown := range loopNames() {
		if strings.HasPrefix(shown, "lab "+name+" ") {
			found = append(found, "loop device of "+shown)
		}
	}
	groups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, g := range groups {
		data, err := os.ReadFile(g)
		if err != nil || strings.Contains(string(data), "(deleted)\n") {
			continue // dead; a zombie, until the machine's init collects it, shows a removed cgroup
		}
		if strings.Contains(string(data), "/holdfast-lab/"+name+"/") {
			found = append(found, "process "+g)
		}
	}
	return append(found, namesOfNetwork(t)...)
}

// namesOfNetwork lists links and named network namespaces of the machine that a lab could have made: none may ever be.
func namesOfNetwork(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, h := range lab.Tutorial().Hosts {
		for _, path := range []string{"/sys/class/net/", "/run/netns/"} {
			if _, err := os.Lstat(path + h.Name); err == nil {
				found = append(found, path+h.Name)
			}
		}
	}
	return found
}

func downClean(t *testing.T, name string) {
	t.Helper()
	if err := lab.Down(name); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, name); len(left) > 0 {
		t.Errorf("down left %s", strings.Join(left, "; "))
	}
}

// TestDownAfterCrash kills the process that brought the lab up and every process the lab runs on the machine's side, with
// hosts up, down and frozen, and something mounted from a data disk.
func TestDownAfterCrash(t *testing.T) {
	needLab(t)
	const name = "crash"
	cmd, out := upElsewhere(t, name)
	defer lab.Down(name)
	if line, err := out.ReadString('\n'); line != "up\n" {
		t.Fatalf("the other process said %q (%v)", line, err)
	}
	l, err := lab.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	sh(t, l.Host("lqi1ecmy01"), "mkfs.ext4 -q /dev/sdc && mount /dev/sdc /mnt && echo x > /mnt/x")
	if err := l.Kill(t.Context(), "lqi1ecmy03"); err != nil {
		t.Fatal(err)
	}
	if err := l.Host("lqi1ecmy04").Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	status, err := l.Status()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(status.KeeperPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper is seen to be dead", func() bool {
		s, err := l.Status()
		return err == nil && !s.Keeper
	})
	if err := l.Cut("lqi1ecmy01", "lqi1ecmy02", false); err == nil || !strings.Contains(err.Error(), "lab down") {
		t.Errorf("a cut without a keeper: %v; want advice to take the lab down", err)
	}
	downClean(t, name)
	downClean(t, name) // again: nothing to do is no error
}

// TestDownAfterCrashDuringUp kills the process that brings the lab up at several moments.
func TestDownAfterCrashDuringUp(t *testing.T) {
	needLab(t)
	for i, delay := range []time.Duration{10, 60, 150, 300, 500, 800, 1200} {
		name := fmt.Sprintf("crashup%d", i)
		cmd, _ := upElsewhere(t, name)
		time.Sleep(delay * time.Millisecond) // the moment is the point of the test
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		downClean(t, name)
	}
}

// TestTwoLabs runs two labs of the same topology side by side.
func TestTwoLabs(t *testing.T) {
	a, b := up(t, lab.Config{Name: "twin-a"}), up(t, lab.Config{Name: "twin-b"})
	sh(t, a.Host("lqi1ecmy01"), "echo a > /var/lib/who")
	sh(t, b.Host("lqi1ecmy01"), "echo b > /var/lib/who")
	if err := a.Host("lqi1ecmy02").Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.Host("lqi1ecmy02").Running() {
		t.Error("a host of the other lab died")
	}
	if got := sh(t, a.Host("lqi1ecmy01"), "cat /var/lib/who"); got != "a" {
		t.Errorf("lab a holds %q", got)
	}
	if _, err := lab.Up(t.Context(), lab.Config{Name: "twin-a"}); err == nil {
		t.Error("a lab was brought up over a running one")
	}
	if err := a.Down(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other lab's network works", func() bool { return reaches(t, b.Host("client"), b.Host("lqi1ecmy01")) })
}
