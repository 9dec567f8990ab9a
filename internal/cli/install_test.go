package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/cli/pcs"
	"holdfast/internal/paths"
)

const installed = "/usr/local/sbin/holdfast"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readUnit(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "etc/systemd/system", name))
	must(t, err)
	return string(text)
}

// key gives all values of a key of a unit, a line each.
func key(unit, name string) []string {
	var values []string
	for line := range strings.Lines(unit) {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			values = append(values, strings.Fields(v)...)
		}
	}
	return values
}

func TestInstall(t *testing.T) {
	root := t.TempDir()
	for range 2 { // it can be repeated
		must(t, install(installed, paths.Root(root)))
	}
	for _, name := range links {
		target, err := os.Readlink(filepath.Join(root, "usr/local/sbin", name))
		if err != nil || target != installed {
			t.Errorf("%s leads to %q: %v", name, target, err)
		}
		word, ok := byName(name)
		if !ok {
			t.Errorf("the binary does not know itself as %s", name)
		}
		if _, ok := commands()[word]; !ok {
			t.Errorf("%s stands for the command %q, which there is not", name, word)
		}
	}
}

func TestUnits(t *testing.T) {
	root := t.TempDir()
	must(t, install(installed, paths.Root(root)))
	daemon, handover := readUnit(t, root, "holdfast.service"), readUnit(t, root, "holdfast-handover.service")
	if got := key(daemon, "ExecStart"); strings.Join(got, " ") != installed+" daemon" {
		t.Errorf("the daemon is started with %v", got)
	}
	if got := key(daemon, "ExecStop"); len(got) != 0 {
		t.Errorf("a restart of the daemon runs %v", got)
	}
	if got := key(daemon, "KillMode"); strings.Join(got, "") != "process" {
		t.Errorf("a restart of the daemon kills its other processes: KillMode %v", got)
	}
	stop := key(handover, "ExecStop")
	if len(stop) != 3 || stop[0] != "-"+installed {
		t.Fatalf("a shutdown runs %v", stop)
	}
	var out, errs bytes.Buffer
	if code := pcs.Run(append(stop[1:], "--help"), pcs.Env{Root: paths.Root(root), Stdout: &out, Stderr: &errs}); code != 0 ||
		!strings.Contains(out.String(), strings.Join(stop[1:], " ")) {
		t.Errorf("%v is not in the grammar: %s%s", stop[1:], out.String(), errs.String())
	}
	if after := strings.Join(key(handover, "After"), " "); !strings.Contains(after, "holdfast.service") || !strings.Contains(after, "network-online.target") {
		t.Errorf("after %s: it is not stopped before the daemon and the network", after)
	}
	for _, tie := range []string{"Requires", "BindsTo", "PartOf"} {
		if got := key(handover, tie); len(got) != 0 {
			t.Errorf("%s=%v: a restart of the daemon would hand over", tie, got)
		}
	}
}

// systemd's own judgement of the units.
func TestSystemdUnderstandsTheUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	root := t.TempDir()
	self := filepath.Join(root, "holdfast") // verify wants the program to be there
	must(t, os.WriteFile(self, []byte("#!/bin/sh\n"), 0o755))
	for name, text := range map[string]string{"holdfast.service": daemonUnit, "holdfast-handover.service": handoverUnit} {
		must(t, os.WriteFile(filepath.Join(root, name), []byte(strings.ReplaceAll(text, "%[1]s", self)), 0o644))
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(root, "holdfast.service"), filepath.Join(root, "holdfast-handover.service")).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("holdfast")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestInstallLeavesOthersFilesAlone(t *testing.T) {
	root := t.TempDir()
	bin := filepath.Join(root, "usr/local/sbin")
	must(t, os.MkdirAll(bin, 0o755))
	must(t, os.WriteFile(filepath.Join(bin, "pcs"), []byte("the real one"), 0o755))
	must(t, os.Symlink("/opt/other", filepath.Join(bin, "crm_mon")))
	err := install(installed, paths.Root(root))
	if err == nil || !strings.Contains(err.Error(), "sbin/pcs") || !strings.Contains(err.Error(), "sbin/crm_mon") {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(filepath.Join(bin, "pcs")); string(text) != "the real one" {
		t.Error("somebody's pcs was overwritten")
	}
	if target, _ := os.Readlink(filepath.Join(bin, "drbdadm")); target != installed {
		t.Error("the other links were not made")
	}
	readUnit(t, root, "holdfast.service")
}

func TestInstallCommand(t *testing.T) {
	var out, errs bytes.Buffer
	e := environment{root: paths.Root(t.TempDir()), stdout: &out, stderr: &errs}
	if code := runInstall(nil, e); code != 0 || !strings.Contains(out.String(), "systemctl enable --now holdfast") {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	if code := runInstall([]string{"please"}, e); code == 0 || !strings.Contains(errs.String(), "usage:") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
