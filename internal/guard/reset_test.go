package guard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/paths"
)

func TestLoadPolicy(t *testing.T) {
	cases := map[string]struct {
		text string
		want Policy
		err  string
	}{
		"no file":        {"", Policy{Reset: ResetNone}, ""},
		"empty object":   {"{}", Policy{Reset: ResetNone}, ""},
		"sysrq":          {`{"reset":"sysrq","reset_after_ms":200}`, Policy{Reset: ResetSysrq, AfterMS: 200}, ""},
		"watchdog":       {`{"reset":"watchdog","watchdog":"/dev/watchdog1"}`, Policy{Reset: ResetWatchdog, Watchdog: "/dev/watchdog1"}, ""},
		"unknown":        {`{"reset":"ipmi"}`, Policy{}, "none, watchdog or sysrq"},
		"no JSON":        {`reset=none`, Policy{}, "guard.json"},
		"negative delay": {`{"reset_after_ms":-1}`, Policy{}, "negative"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := paths.Root(t.TempDir())
			if err := os.MkdirAll(root.Etc(), 0o755); err != nil {
				t.Fatal(err)
			}
			if c.text != "" {
				if err := os.WriteFile(filepath.Join(root.Etc(), "guard.json"), []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := LoadPolicy(root)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A plain file stands where the trigger would be: nothing here may reset a machine.
func TestSysrqWritesItsWordOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trigger")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Policy{Reset: ResetSysrq, Sysrq: path}.resetter()
	if err != nil {
		t.Fatal(err)
	}
	r.alive()
	expectFile(t, path, "")
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	r.close()
	expectFile(t, path, "b")
}

func TestWatchdogIsFedUntilStarved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() resetter {
		r, err := Policy{Reset: ResetWatchdog, Watchdog: path}.resetter()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open()
	r.alive()
	r.alive()
	r.close()
	expectFile(t, path, "\x00\x00V")
	r = open()
	r.alive()
	_ = r.reset() // a plain file knows no timeout
	r.alive()
	r.close()
	expectFile(t, path, "\x00\x00V"[:1]+"\x00V") // overwritten from the start: one feed, and no V of its own
}

func expectFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s has %q, want %q (%v)", filepath.Base(path), got, want, err)
	}
}

func TestPolicyNoneSaysHowToOptIn(t *testing.T) {
	r, err := Policy{}.resetter()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.reset(); err == nil || !strings.Contains(err.Error(), "guard.json") {
		t.Errorf("got %v", err)
	}
	if (Policy{AfterMS: 30}).after() != 30*time.Millisecond {
		t.Error("milliseconds")
	}
}

func TestSurvivorsOfAMissingCgroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "resource")
	if err := killAll(dir); err != nil {
		t.Error(err)
	}
	if left, err := survivors(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestProgramMappings(t *testing.T) {
	got := programMappings(`00400000-0059e000 r-xp 00000000 fe:00 1234 /usr/bin/holdfast
0059e000-00700000 ---p 00000000 fe:00 1234 /usr/bin/holdfast
c000000000-c000400000 rw-p 00000000 00:00 0
7ffd1000-7ffd2000 rw-p 00000000 00:00 0 [stack]
`)
	if len(got) != 1 || got[0] != (mapping{0x400000, 0x59e000}) {
		t.Errorf("%x", got)
	}
}
