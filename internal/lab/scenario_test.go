package lab_test

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab"
)

func TestShippedScenariosParse(t *testing.T) {
	names := lab.Scenarios()
	if len(names) == 0 {
		t.Fatal("none is shipped")
	}
	for _, name := range names {
		if _, err := lab.LoadScenario(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := lab.LoadScenario("no-such-scenario"); err == nil || !strings.Contains(err.Error(), names[0]) {
		t.Errorf("an unknown scenario: %v; want the names there are", err)
	}
}

func TestScenarioErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"# fine\n\nexplode lqi1ecmy01": "x:3: unknown step",
		"kill":                         "x:1: usage: kill",
		"freeze a b":                   "usage: freeze HOST",
		"wait soon":                    "invalid duration",
		"cut a b --both":               "usage: cut",
		"exec host true":               "usage: exec",
		"heal all":                     "usage: heal",
		"until 3s host -- ":            "usage: until",
		"disk lqi1ecmy01 explode":      "a disk cannot",
		"disk lqi1ecmy01 slow very":    "number of milliseconds",
		"heal\nuntil fast lqi1ecmy01 -- true # never": "x:2: ",
	} {
		if _, err := lab.ParseScenario("x", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestRunScenario(t *testing.T) {
	l := up(t, lab.Config{Name: "scenario"})
	s, err := lab.ParseScenario("round", `
		exec client -- sh -c true
		freeze lqi1ecmy01   # a comment
		thaw lqi1ecmy01
		cut lqi1ecmy01 all
		heal
		disk lqi1ecmy02 slow 1
		disk lqi1ecmy02 heal
		kill lqi1ecmy01 lqi1ecmy02
		start lqi1ecmy02 lqi1ecmy01
		until 20s lqi1ecmy01 -- test -e /run/lab-init.sock
		shutdown lqi1ecmy04
		start lqi1ecmy04
	`)
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	if err := l.Run(t.Context(), s, &told); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(told.String(), "round: kill lqi1ecmy01 lqi1ecmy02\n") {
		t.Errorf("told %q", told.String())
	}
	failing, err := lab.ParseScenario("failing", "heal\nuntil 300ms client -- false\nkill client")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := l.Run(t.Context(), failing, &told); err == nil || !strings.Contains(err.Error(), "failing:2: ") {
		t.Errorf("error %v, want the line", err)
	}
	if time.Since(began) < 300*time.Millisecond {
		t.Error("until gave up before its time")
	}
	if !l.Host("client").Running() {
		t.Error("the scenario went on after a failed step")
	}
}

// TestLogs collects the logs of hosts that are up and down.
func TestLogs(t *testing.T) {
	l := up(t, lab.Config{Name: "logs", Daemon: []string{"sh", "-c", "echo the daemon speaks; sleep 1000"}})
	h := l.Host("lqi1ecmy01")
	sh(t, h, "logger from the program; until grep -q 'from the program' /var/log/syslog; do sleep 0.01; done; sync /var/log/syslog /var/log")
	if err := h.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := l.CollectLogs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"lqi1ecmy01/console/holdfast.log": "the daemon speaks", "lqi1ecmy02/console/holdfast.log": "the daemon speaks",
		"lqi1ecmy01/log/syslog": "from the program",
	} {
		if got := readFile(t, dir+"/"+path); !strings.Contains(got, want) {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
}
