package lab

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"holdfast/internal/lab"
)

// TestMain lets the test binary stand in for holdfast in the hosts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "lab-init" {
		os.Exit(lab.InitMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// run runs `holdfast lab ARGS`.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(args, strings.NewReader("from stdin"), &out, &errs)
	return code, out.String(), errs.String()
}

func TestBadInput(t *testing.T) {
	for line, want := range map[string]string{
		"explode":                                   "unknown command",
		"status --name no-such-lab":                 "start one with `holdfast lab up`",
		"status --name ../x":                        "cannot name a lab",
		"exec lqi1ecmy01":                           "requires at least 2 arg",
		"up --topology /nonexistent":                "read the topology",
		"run no-such-scenario --name no-such-lab":   "freeze-active",
		"disk lqi1ecmy01 explode":                   "a disk cannot",
		"kill":                                      "requires at least 1 arg",
		"cut lqi1ecmy01 --one-way --name no-such-x": "accepts 2 arg",
	} {
		code, _, stderr := run(t, strings.Fields(line)...)
		if code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q; want 1 and %q", line, code, stderr, want)
		}
	}
}

func TestVerbs(t *testing.T) {
	if os.Getenv("HOLDFAST_LAB") == "" {
		t.Skip("set HOLDFAST_LAB=1 to run the tests that make hosts (root, namespaces, loop devices)")
	}
	const name = "verbs"
	defer lab.Down(name)
	want := func(wantCode int, line string) string {
		t.Helper()
		code, out, errs := run(t, append(strings.Fields(line), "--name", name)...)
		if code != wantCode {
			t.Fatalf("%s: exit code %d, want %d: %s%s", line, code, wantCode, out, errs)
		}
		return out
	}
	if out := want(0, "up --no-daemon --disk-mib 32"); !strings.Contains(out, "lqi1ecmy04  10.0.2.5") {
		t.Errorf("up printed %q", out)
	}
	code, out, _ := run(t, "exec", "--name", name, "lqi1ecmy03", "--", "sh", "-c", "cat; exit 5")
	if code != 5 || out != "from stdin" {
		t.Errorf("exec: code %d, output %q", code, out)
	}
	want(0, "kill lqi1ecmy01 lqi1ecmy02")
	want(0, "freeze lqi1ecmy03")
	want(0, "cut lqi1ecmy04 client --one-way")
	var s lab.Status
	if err := json.Unmarshal([]byte(want(0, "status --output-format json")), &s); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, h := range s.Hosts {
		states[h.Name] = h.State
	}
	if states["lqi1ecmy01"] != "down" || states["lqi1ecmy03"] != "frozen" || states["client"] != "up" || len(s.Cuts) != 1 {
		t.Errorf("status %+v", s)
	}
	want(1, "exec lqi1ecmy01 true")
	want(1, "kill nobody")
	want(0, "start lqi1ecmy01")
	want(0, "thaw lqi1ecmy03")
	want(0, "heal")
	want(1, "status --output-format yaml")
	want(0, "down")
	want(1, "status")
	want(0, "down")
}
