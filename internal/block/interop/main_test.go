package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What the kit is told: a namespace and a state of this run, so that a developer's machines and another run's are left alone.
const (
	// namespaces is the beginning of a namespace's name; the process that made it follows.
	namespaces = "hfinterop-"
	insideEnv  = "HOLDFAST_INTEROP_INSIDE" // the state directory, in the process within the namespace
	wantedEnv  = "HOLDFAST_INTEROP"        // set by `make interop`; `full` for the long versions
)

// TestMain runs the tests again in a process inside a network namespace with a bridge and a tap for the machine.
func TestMain(m *testing.M) {
	if missing() != "" || os.Getenv(insideEnv) != "" {
		code := m.Run()
		stopMachines()
		os.Exit(code)
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

// missing says why the tests cannot run here; empty if they can.
func missing() string {
	if os.Getenv(wantedEnv) == "" {
		return wantedEnv + " is not set: run `make interop`"
	}
	if os.Getuid() != 0 {
		return "not root: a network namespace and taps are needed"
	}
	if kit() == "" {
		return "../shared/drbdvm is not here"
	}
	for _, name := range []string{"qemu-system-x86_64", "cpio", "ip", "bash"} {
		if _, err := exec.LookPath(name); err != nil {
			return name + " is not installed: scripts/setup-interop does it"
		}
	}
	if !built(drbdKind().flavour) {
		return "the virtual machine is not built: scripts/setup-interop does it"
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		return "no taps can be made: " + err.Error()
	} else {
		f.Close()
	}
	return ""
}

// kit finds the directory of the kit beside the repository.
func kit() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for dir != "/" {
		p := filepath.Join(dir, "shared/drbdvm")
		if _, err := os.Stat(filepath.Join(p, "vm.sh")); err == nil {
			return p
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// images is where the kit's own builder leaves kernel and initrd of a flavour.
func images(flavour string) string {
	state := os.Getenv("DRBDVM_STATE")
	if state == "" {
		state = "/var/cache/drbdvm"
	}
	return filepath.Join(state, "out", flavour)
}

func built(flavour string) bool {
	for _, file := range []string{"vmlinux", "initrd"} {
		if _, err := os.Stat(filepath.Join(images(flavour), file)); err != nil {
			return false
		}
	}
	return true
}

// outside makes the namespace and the state directory, runs this binary inside, and takes everything down.
func outside() (int, error) {
	state, err := os.MkdirTemp("", "holdfast-interop-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(state)
	if err := prepare(state); err != nil {
		return 0, err
	}
	removeAbandoned()
	namespace := namespaces + strconv.Itoa(os.Getpid())
	defer exec.Command("ip", "netns", "del", namespace).Run()
	net := kitCommand(state, "run2.sh", "net")
	net.Env = append(net.Env, "NS="+namespace)
	if out, err := net.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("namespace: %w: %s", err, out)
	}
	defer kitCommand(state, "vm.sh", "stop", drbdKind().name).Run()
	defer kitCommand(state, "vm.sh", "stop", frontKind("", "").name).Run()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	c := exec.Command("ip", append([]string{"netns", "exec", namespace, self}, os.Args[1:]...)...)
	c.Env = append(os.Environ(), insideEnv+"="+state)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		return 0, err
	}
	return c.ProcessState.ExitCode(), nil
}

// removeAbandoned deletes the namespaces of runs that were killed.
func removeAbandoned() {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return
	}
	for _, line := range strings.Split(string(out), "\n") {
		name, _, _ := strings.Cut(line, " ")
		pid, ours := strings.CutPrefix(name, namespaces)
		if !ours {
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc", pid)); err != nil {
			exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

// prepare makes the machines' initrds: the kit's with our programs appended.
func prepare(state string) error {
	if err := os.MkdirAll(filepath.Join(state, "run"), 0o755); err != nil {
		return err
	}
	if err := makeInitrd(state, drbdKind().flavour, "./testdata/hammer"); err != nil || !built(frontFlavour) {
		return err
	}
	return makeInitrd(state, frontFlavour, "./testdata/front", "holdfast/cmd/holdfast")
}

func makeInitrd(state, flavour string, programs ...string) error {
	out, root := filepath.Join(state, "out", flavour), filepath.Join(state, "overlay-"+flavour)
	for _, dir := range []string{out, filepath.Join(root, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	build := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(root, "bin") + "/"}, programs...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", programs, err, text)
	}
	if err := os.Symlink(filepath.Join(images(flavour), "vmlinux"), filepath.Join(out, "vmlinux")); err != nil {
		return err
	}
	pack := exec.Command("bash", "-c", `cd "$1" && { cat "$2"; find . | cpio -o -H newc -R 0:0 --quiet; } > "$3"`, "pack", root,
		filepath.Join(images(flavour), "initrd"), filepath.Join(out, "initrd"))
	if text, err := pack.CombinedOutput(); err != nil {
		return fmt.Errorf("pack the initrd: %w: %s", err, text)
	}
	return nil
}

// kitCommand is one of the kit's scripts with our settings.
func kitCommand(state, script string, args ...string) *exec.Cmd {
	c := exec.Command("bash", append([]string{filepath.Join(kit(), script)}, args...)...)
	c.Env = append(os.Environ(), "DRBDVM_STATE="+state, "RUN="+filepath.Join(state, "run"))
	return c
}
