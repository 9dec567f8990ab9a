package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/paths"
)

// daemonUnit is the systemd unit of the daemon. It has no ExecStop: a stop or restart of the daemon (an upgrade) is not the
// end of what the host runs, which goes on until the lease ends. KillMode=process for the same reason: guard, volumes and
// balancer outlive the daemon.
const daemonUnit = `[Unit]
Description=holdfast cluster daemon
Wants=network-online.target holdfast-handover.service
After=network-online.target

[Service]
Type=simple
ExecStart=%[1]s daemon
KillMode=process
Restart=always
RestartSec=100ms
Nice=-15
OOMScoreAdjust=-900
Delegate=yes

[Install]
WantedBy=multi-user.target
`

// handoverUnit does nothing until the host shuts down or reboots; being after the daemon it is stopped before it, and has
// everything moved away while the daemon and the network are still there. It only Wants the daemon, so that a restart of
// the daemon does not stop it. The dash: a host that is in no cluster has nothing to hand over.
const handoverUnit = `[Unit]
Description=hand over what holdfast runs here before this host goes down
Wants=holdfast.service
After=network-online.target holdfast.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStop=-%[1]s cluster stop
TimeoutStopSec=180

[Install]
WantedBy=multi-user.target
`

// links are the names the binary answers to.
var links = [...]string{"pcs", "drbdadm", "drbd-overview", "crm_mon", "crm_simulate", "crm_verify"}

// runInstall makes the links beside this binary and the units. A file that is there and is not ours is left alone and
// named.
func runInstall(args []string, e environment) int {
	if len(args) != 0 {
		fmt.Fprintln(e.stderr, "usage: holdfast install [--root DIRECTORY]")
		return 1
	}
	self, err := os.Executable()
	if err == nil {
		err = install(self, e.root)
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "holdfast install: %v\n", err)
		return 1
	}
	fmt.Fprintln(e.stdout, "Installed. Start the daemon: systemctl daemon-reload && systemctl enable --now holdfast")
	return 0
}

// install does all it can below root, and says what it could not. The links and units name the binary as self, which is
// where it is once the root is a host's own.
func install(self string, root paths.Root) error {
	bin := filepath.Join("/", string(root), filepath.Dir(self))
	units := filepath.Join("/", string(root), "etc/systemd/system")
	for _, dir := range []string{bin, units} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the directory %s: %w", dir, err)
		}
	}
	var failed []error
	for _, name := range links {
		failed = append(failed, link(self, filepath.Join(bin, name)))
	}
	for name, text := range map[string]string{"holdfast.service": daemonUnit, "holdfast-handover.service": handoverUnit} {
		if err := os.WriteFile(filepath.Join(units, name), fmt.Appendf(nil, text, self), 0o644); err != nil {
			failed = append(failed, fmt.Errorf("write the unit %s: %w", name, err))
		}
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
