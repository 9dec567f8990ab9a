package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"

	"holdfast/internal/lab/guest"
)

// identity makes the configuration that of the host: its name, its neighbours, no resolver, no mounts.
func (t tree) identity(name string, addresses map[string]string) error {
	id := sha256.Sum256([]byte(name))
	files := map[string]string{
		"/etc/hostname":    name + "\n",
		"/etc/hosts":       hostsFile(addresses),
		"/etc/machine-id":  hex.EncodeToString(id[:16]) + "\n",
		"/etc/resolv.conf": "",
		"/etc/fstab":       "",
	}
	for path, content := range files {
		if err := t.write(path, content, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return nil
}

// hostsFile names every host. Localhost has no IPv6 address: a refused attempt on it would precede each request.
func hostsFile(addresses map[string]string) string {
	names := make([]string, 0, len(addresses))
	for name := range addresses {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%s %s\n", addresses[name], name)
	}
	return b.String()
}

// clusterUser adds the user hacluster, whose password the tutorial sets, where the machine's /etc has none. The tree's
// useradd is told to touch the tree only.
func (t tree) clusterUser() error {
	passwd, err := os.ReadFile(t.at("/etc/passwd"))
	if err != nil {
		return err
	}
	if strings.Contains("\n"+string(passwd), "\nhacluster:") {
		return nil
	}
	out, err := exec.Command("useradd", "--prefix", t.dir, "--system", "--user-group", "--no-create-home",
		"--home-dir", "/var/lib/holdfast", "--shell", "/usr/sbin/nologin", "hacluster").CombinedOutput()
	if err != nil {
		return fmt.Errorf("add the user hacluster: %w: %s", err, out)
	}
	return nil
}

// labConfiguration writes what the host's PID 1 reads.
func (t tree) labConfiguration(services []guest.Service, dirs []guest.Directory) error {
	for path, value := range map[string]any{guest.ServicesFile: services, guest.DirectoriesFile: dirs} {
		data, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return err
		}
		if err := t.write(path, string(data)+"\n", 0o644); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return nil
}

// commonDirectories are what Debian's tmpfiles would make on every host.
func commonDirectories() []guest.Directory {
	return []guest.Directory{
		{Path: "/run/lock", Owner: "root", Mode: 0o755},
		{Path: "/run/resource-agents", Owner: "root", Mode: 0o755},
		{Path: "/run/holdfast", Owner: "root", Mode: 0o755},
	}
}
