// Package paths names every file and directory the product uses on a host, all below one root so that a test or a
// second instance can be moved as a whole (`--root`).
package paths

import "path/filepath"

// Port is the TCP port of the daemon: peers, Raft, first contact. The number is pcsd's, which holdfast replaces.
const Port = 2224

// Root is the directory all other paths are relative to; "" and "/" mean the host's own.
type Root string

func (r Root) join(p string) string { return filepath.Join("/", string(r), p) }

// Etc holds configuration an operator may read: node identity, certificates, the balancer's options.
func (r Root) Etc() string { return r.join("etc/holdfast") }

// Lib holds state that must survive a reboot: the Raft log, volume epochs, the CIB of a stopped cluster.
func (r Root) Lib() string { return r.join("var/lib/holdfast") }

// Run holds sockets and other state of the running processes; it is empty after a boot.
func (r Root) Run() string { return r.join("run/holdfast") }

// Log holds the daemon's log (holdfast.log, text) and its failover timeline (events.jsonl).
func (r Root) Log() string { return r.join("var/log/holdfast") }

// DRBD is the configuration file read for volumes; it includes drbd.d/*.res as DRBD's packages ship it.
func (r Root) DRBD() string { return r.join("etc/drbd.conf") }

// DRBDDir is the directory of .res files, read when DRBD() is absent.
func (r Root) DRBDDir() string { return r.join("etc/drbd.d") }

// OCF is OCF_ROOT: agents are in resource.d/PROVIDER/TYPE below it.
func (r Root) OCF() string { return r.join("usr/lib/ocf") }

// DaemonSocket is the control socket of the daemon (HTTP with JSON, see package api).
func (r Root) DaemonSocket() string { return filepath.Join(r.Run(), "holdfast.sock") }

// GuardSocket is the control socket of the guard.
func (r Root) GuardSocket() string { return filepath.Join(r.Run(), "guard.sock") }

// LeasePage is the file mapped by the guard and the volume processes that holds the lease deadline.
func (r Root) LeasePage() string { return filepath.Join(r.Run(), "lease") }

// VolumeSocket is the control socket of the process of one volume.
func (r Root) VolumeSocket(resource string) string {
	return filepath.Join(r.Run(), "volume-"+resource+".sock")
}

// BalancerSocket is the control socket of the balancer process.
func (r Root) BalancerSocket() string { return filepath.Join(r.Run(), "balancer.sock") }

// Cgroup is the cgroup v2 directory below which each resource and each of our processes has its own.
func (r Root) Cgroup() string { return r.join("sys/fs/cgroup/holdfast") }

// ResourceCgroups are the cgroups below which everything lives that resources run: what agents start, and the units that the
// service manager starts for them, in the slice ResourceSlice.
func (r Root) ResourceCgroups() []string {
	return []string{filepath.Join(r.Cgroup(), "resource"), r.join("sys/fs/cgroup/holdfast.slice/" + ResourceSlice)}
}

// ResourceSlice is the slice of systemd that resources' units are put in. Its cgroup is below that of holdfast.slice
// (systemd.slice(5)).
const ResourceSlice = "holdfast-resource.slice"

// UnitDropIns is the directory whose UNIT.d hold what is added to the system's units until the next boot (systemd.unit(5)).
func (r Root) UnitDropIns() string { return r.join("run/systemd/system") }
