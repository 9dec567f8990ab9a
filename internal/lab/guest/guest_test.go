package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWithoutPriority(t *testing.T) {
	for in, want := range map[string]string{
		"<13>hello": "hello", "<191>x>y": "x>y", "plain": "plain", "<nonsense": "<nonsense", "<>": "", "": "",
		"<1234567>not one": "<1234567>not one",
	} {
		if got := withoutPriority(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDescribeExit(t *testing.T) {
	if got := describeExit(syscall.WaitStatus(3 << 8)); got != "exit code 3" {
		t.Error(got)
	}
	if got := describeExit(syscall.WaitStatus(syscall.SIGKILL)); got != "killed by killed" {
		t.Error(got)
	}
}

func TestWriteJSONReplacesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.json")
	for _, name := range []string{"first", "second"} {
		if err := writeJSON(path, []Service{{Name: name, AtBoot: true}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []Service
	if err := readJSON(path, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Name != "second" || !got[0].AtBoot {
		t.Errorf("%+v", got)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%d files beside it (%v)", len(entries)-1, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := readJSON(path, &got); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file: %v; want its name", err)
	}
}

func TestSystemctlUsage(t *testing.T) {
	var out, errs bytes.Buffer
	for want, args := range map[string][]string{
		"usage":                        {"start"},
		"Unknown command verb explode": {"explode", "nginx.service"},
	} {
		errs.Reset()
		if code := Systemctl(args, &out, &errs); code != 1 || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: code %d, %q", args, code, errs.String())
		}
	}
	if code := ServiceCommand([]string{"nginx"}, &out, &errs); code != 1 {
		t.Errorf("service with one word: code %d", code)
	}
	if code := Systemctl([]string{"daemon-reload"}, &out, &errs); code != 0 {
		t.Errorf("daemon-reload: code %d", code)
	}
}

// TestReaper starts children as PID 1 does and sees how they end. It shares the process with no other user of os/exec.
func TestReaper(t *testing.T) {
	if os.Getenv("HOLDFAST_TEST_REAPER") == "" {
		attr := &os.ProcAttr{Env: append(os.Environ(), "HOLDFAST_TEST_REAPER=1"), Files: []*os.File{nil, os.Stdout, os.Stderr}}
		p, err := os.StartProcess(os.Args[0], []string{os.Args[0], "-test.run", "^TestReaper$"}, attr)
		if err != nil {
			t.Fatal(err)
		}
		if state, err := p.Wait(); err != nil || !state.Success() {
			t.Fatalf("in a process of its own: %v, %v", state, err)
		}
		return
	}
	r := newReaper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := r.run([]string{"sh", "-c", "echo said; exit 0"}, out, startLimit); err != nil {
		t.Error(err)
	}
	if err := r.run([]string{"sh", "-c", "exit 4"}, out, startLimit); err == nil || !strings.Contains(err.Error(), "exit code 4") {
		t.Errorf("exit 4: %v", err)
	}
	if err := r.run([]string{"sleep", "1000"}, out, readyEvery); err == nil || !strings.Contains(err.Error(), "not done within") {
		t.Errorf("a command that does not end: %v", err)
	}
	if err := r.run([]string{"no-such-program"}, out, startLimit); err == nil {
		t.Error("a program that is not there ran")
	}
	if said, err := os.ReadFile(out.Name()); err != nil || string(said) != "said\n" {
		t.Errorf("output %q (%v)", said, err)
	}
}
