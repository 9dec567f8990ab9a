package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/lab/guest"
	"holdfast/internal/lab/image"
)

// grammars are the names under which holdfast speaks another tool's grammar.
var grammars = [...]string{"pcs", "drbdadm", "drbd-overview", "crm_mon", "crm_simulate"}

// shims are the host's service managers, which ask its PID 1.
var shims = [...]string{"systemctl", "service"}

// installPrograms fills the directory that every host has first in its PATH. It copies the binary, so that a rebuild does
// not change a running lab.
func (l *Lab) installPrograms(program string) error {
	if err := os.MkdirAll(l.dir.bin(), 0o755); err != nil {
		return fmt.Errorf("install holdfast: %w", err)
	}
	if err := image.CopyFile(program, l.dir.program(), 0o755); err != nil {
		return fmt.Errorf("install holdfast: %w", err)
	}
	for _, name := range grammars {
		if err := os.Symlink("holdfast", filepath.Join(l.dir.bin(), name)); err != nil {
			return fmt.Errorf("install holdfast: %w", err)
		}
	}
	for _, name := range shims {
		text := fmt.Sprintf("#!/bin/sh\nexec holdfast lab-init %s \"$@\"\n", name)
		if err := os.WriteFile(filepath.Join(l.dir.bin(), name), []byte(text), 0o755); err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
	}
	return nil
}

// InitMain is `holdfast lab-init ARGS...`, the hidden verb of the processes the lab starts; it returns an exit code.
func InitMain(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "holdfast lab-init is started by the lab; see `holdfast lab --help`")
		return 2
	}
	switch args[0] {
	case "keeper":
		return keeperMain()
	case "boot":
		return guest.Boot()
	case "init":
		return guest.Init()
	case "systemctl":
		return guest.Systemctl(args[1:], os.Stdout, os.Stderr)
	case "service":
		return guest.ServiceCommand(args[1:], os.Stdout, os.Stderr)
	}
	fmt.Fprintf(os.Stderr, "holdfast lab-init: unknown part %q\n", args[0])
	return 2
}
