package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// unit is the systemd unit of the daemon. KillMode=process: guard, volumes and balancer outlive a restart of the daemon.
const unit = `[Unit]
Description=holdfast cluster daemon
Wants=network-online.target
After=network-online.target
Before=shutdown.target

[Service]
Type=simple
ExecStart=%s daemon
ExecStop=%s cluster stop --local
TimeoutStopSec=180
KillMode=process
Restart=always
RestartSec=100ms
Nice=-15
OOMScoreAdjust=-900
Delegate=yes

[Install]
WantedBy=multi-user.target
`

// links are the names the binary answers to.
var links = [...]string{"pcs", "drbdadm", "drbd-overview", "crm_mon", "crm_simulate"}

// runInstall makes the links beside this binary and the daemon's unit. A file that is there and is not ours is left
// alone and named.
func runInstall(args []string, e environment) int {
	if len(args) != 0 {
		fmt.Fprintln(e.stderr, "usage: holdfast install")
		return 1
	}
	if err := install(e); err != nil {
		fmt.Fprintf(e.stderr, "holdfast install: %v\n", err)
		return 1
	}
	fmt.Fprintln(e.stdout, "Installed. Start the daemon: systemctl enable --now holdfast")
	return 0
}

func install(e environment) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary: %w", err)
	}
	var failed []error
	for _, name := range links {
		failed = append(failed, link(self, filepath.Join(filepath.Dir(self), name)))
	}
	path := filepath.Join("/", string(e.root), "etc/systemd/system/holdfast.service")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the directory of the unit: %w", err)
	}
	if err := os.WriteFile(path, []byte(fmt.Sprintf(unit, self, self)), 0o644); err != nil {
		failed = append(failed, fmt.Errorf("write the unit: %w", err))
	}
	return errors.Join(failed...)
}

func link(self, path string) error {
	if target, err := os.Readlink(path); err == nil && target == self {
		return nil
	}
	if err := os.Symlink(self, path); err != nil {
		return fmt.Errorf("link %s: %w (move what is there away and run this again)", path, err)
	}
	return nil
}
