package lab_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// setupRun is one run of scripts/setup with stand-ins for Debian's package tools (its own behaviour is what is tested) and
// with a directory of its own in place of /usr/sbin, in a mount namespace of its own.
type setupRun struct {
	t     *testing.T
	sbin  string
	stubs string
	state string
}

// The stand-ins: dpkg-query says "installed" once the file installed is there; apt-get notes the policy it found and then
// does as the file mode says.
const (
	stubQuery = `#!/bin/sh
[ -e STATE/installed ] && printf installed || exit 1
`
	stubApt = `#!/bin/sh
cp /usr/sbin/policy-rc.d STATE/seen
touch STATE/called
case "$(cat STATE/mode)" in
fail) exit 100 ;;
hang) exec sleep 1000 ;;
esac
touch STATE/installed
`
	stubGo = "#!/bin/sh\nexit 0\n"
)

func newSetupRun(t *testing.T, mode string) *setupRun {
	t.Helper()
	dir := t.TempDir()
	s := &setupRun{t: t, sbin: filepath.Join(dir, "sbin"), stubs: filepath.Join(dir, "bin"), state: filepath.Join(dir, "state")}
	for _, d := range []string{s.sbin, s.stubs, s.state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"dpkg-query": stubQuery, "apt-get": stubApt, "go": stubGo} {
		write(t, filepath.Join(s.stubs, name), strings.ReplaceAll(text, "STATE", s.state), 0o755)
	}
	s.mode(mode)
	return s
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func (s *setupRun) mode(m string) { write(s.t, filepath.Join(s.state, "mode"), m, 0o644) }

func (s *setupRun) command() *exec.Cmd {
	s.t.Helper()
	script, err := filepath.Abs("../../scripts/setup")
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /usr/sbin && exec "$1"`, s.sbin, script)
	cmd.Env = append(os.Environ(), "PATH="+s.stubs+":/usr/local/bin:/usr/bin:/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// listing describes everything in the directory that stands for /usr/sbin: name, inode, mode, and where links point.
func (s *setupRun) listing() string {
	s.t.Helper()
	entries, err := os.ReadDir(s.sbin)
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			s.t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		target, _ := os.Readlink(filepath.Join(s.sbin, e.Name())) // empty for what is no link
		b.WriteString(strings.Join([]string{e.Name(), info.Mode().String(), target, info.ModTime().String()}, " "))
		b.WriteString(" " + strconv.FormatUint(st.Ino, 10) + "\n")
	}
	return b.String()
}

func (s *setupRun) policySeenByApt() string {
	data, err := os.ReadFile(filepath.Join(s.state, "seen"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// policies are what a machine may have as policy-rc.d.
var policies = map[string]func(t *testing.T, path string){
	"none": func(*testing.T, string) {},
	"file": func(t *testing.T, path string) { write(t, path, "#!/bin/sh\nexit 104\n", 0o750) },
	"link": func(t *testing.T, path string) {
		if err := os.Symlink("/nowhere/policy", path); err != nil {
			t.Fatal(err)
		}
	},
}

func TestSetupRestoresPolicy(t *testing.T) {
	needLab(t)
	for name, make := range policies {
		for _, mode := range []string{"succeed", "fail", "interrupt", "killed"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				s := newSetupRun(t, mode)
				make(t, filepath.Join(s.sbin, "policy-rc.d"))
				before := s.listing()
				s.perform(mode)
				if after := s.listing(); after != before {
					t.Errorf("before:\n%s\nafter:\n%s", before, after)
				}
				if seen := s.policySeenByApt(); !strings.Contains(seen, "exit 101") {
					t.Errorf("apt ran under the policy %q", seen)
				}
			})
		}
	}
}

// perform runs setup in the given mode, and for killed a second time.
func (s *setupRun) perform(mode string) {
	s.t.Helper()
	switch mode {
	case "succeed":
		s.run(true)
	case "fail":
		s.run(false)
	case "interrupt":
		s.interruptWith(syscall.SIGTERM)
	case "killed":
		s.interruptWith(syscall.SIGKILL)
		s.mode("succeed")
		s.run(true)
	}
}

func (s *setupRun) run(succeed bool) {
	s.t.Helper()
	out, err := s.command().CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if (err == nil) != succeed {
		s.t.Fatalf("setup: %v\n%s", err, out)
	}
}

// interruptWith signals setup and all it runs while apt-get is at work.
func (s *setupRun) interruptWith(sig syscall.Signal) {
	s.t.Helper()
	s.mode("hang")
	cmd := s.command()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "apt-get runs", func() bool {
		_, err := os.Stat(filepath.Join(s.state, "called"))
		return err == nil
	})
	if err := syscall.Kill(-cmd.Process.Pid, sig); err != nil {
		s.t.Fatal(err)
	}
	if cmd.Wait() == nil {
		s.t.Fatal("an interrupted setup succeeded")
	}
}

// TestSetupIsIdempotent checks that with everything there apt is not called at all.
func TestSetupIsIdempotent(t *testing.T) {
	needLab(t)
	s := newSetupRun(t, "fail")
	write(t, filepath.Join(s.state, "installed"), "", 0o644)
	s.run(true)
	if _, err := os.Stat(filepath.Join(s.state, "called")); err == nil {
		t.Error("setup called apt-get although everything is installed")
	}
}
