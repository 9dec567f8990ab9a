package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/guest"
)

// Host is one host of a lab, up or down.
type Host struct {
	lab  *Lab
	name string
}

// Name is the host's name.
func (h *Host) Name() string { return h.name }

// Address is the host's IPv4 address.
func (h *Host) Address() string {
	spec, _ := h.lab.topology.host(h.name) // Lab.Host has checked it
	return spec.Address.String()
}

// Running tells whether the host has been booted and not died since; a frozen host runs.
func (h *Host) Running() bool {
	s, err := h.lab.dir.load()
	return err == nil && s.Hosts[h.name].alive()
}

// PID is the host's PID 1 in the machine's numbering, for looking at it from outside (/proc/PID/root); 0 when it is down.
func (h *Host) PID() int {
	s, err := h.lab.dir.load()
	if err != nil || !s.Hosts[h.name].alive() {
		return 0
	}
	return s.Hosts[h.name].PID
}

// Path is where the machine finds a path of the running host. Symbolic links in it are followed in the machine's tree.
func (h *Host) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(h.PID()), "root", path)
}

// Console is the machine's directory with one log per service of what it printed; it survives kill and start.
func (h *Host) Console() string { return h.lab.dir.console(h.name) }

func (h *Host) group() cgroup { return h.lab.group.child(h.name) }

// running returns the host's cgroup, or the error for a host that is down.
func (h *Host) running() (cgroup, error) {
	if !h.Running() {
		return "", h.down()
	}
	return h.group(), nil
}

func (h *Host) down() error {
	return fmt.Errorf("it is down; `holdfast lab start %s --name %s` boots it", h.name, h.lab.name)
}

// pidfd opens the host's PID 1.
func (h *Host) pidfd() (int, error) {
	pid := h.PID()
	if pid == 0 {
		return -1, h.down()
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("open the host's init: %w", err)
	}
	return fd, nil
}

// Start boots a host that is down and waits until the services that start at boot are up.
func (h *Host) Start(ctx context.Context) error {
	return h.lab.dir.update(func(s *state) error {
		if s.Hosts[h.name].alive() {
			return fmt.Errorf("host %s: it runs already", h.name)
		}
		p, err := h.lab.boot(ctx, s, h.name)
		if err != nil {
			return err
		}
		s.Hosts[h.name] = p
		return nil
	})
}

// boot starts the host's processes; the caller records its PID 1.
func (l *Lab) boot(ctx context.Context, s *state, name string) (process, error) {
	spec, ok := s.Topology.host(name)
	if !ok {
		return process{}, unknownHost(s, name)
	}
	p, err := l.bootSpec(ctx, s, spec)
	if err != nil {
		// What has come up of it must not stay.
		err = errors.Join(err, l.clearHost(ctx, s, name))
		return process{}, fmt.Errorf("start host %s: %w", name, err)
	}
	return p, nil
}

func (l *Lab) bootSpec(ctx context.Context, s *state, spec HostSpec) (process, error) {
	group := l.group.child(spec.Name)
	if err := group.create(); err != nil {
		return process{}, err
	}
	if err := group.thaw(); err != nil {
		return process{}, err
	}
	disks, err := l.attachDisk(ctx, spec)
	if err != nil {
		return process{}, err
	}
	console, err := os.OpenFile(filepath.Join(l.dir.console(spec.Name), "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, err
	}
	defer console.Close()
	c := child{
		program: l.dir.program(), args: []string{"lab-init", "boot"}, group: group, output: console,
		flags: hostNamespaces &^ unix.CLONE_NEWCGROUP, limit: bootLimit, // Boot makes its cgroup namespace itself
	}
	return c.start(ctx, func(pid int) (any, error) { return l.guestSpec(s, spec, disks), l.connect(s, spec, pid) })
}

// connect gives the booting host, whose first process is pid, its link.
func (l *Lab) connect(s *state, spec HostSpec, pid int) error {
	r, err := openRouter(s)
	if err != nil {
		return err
	}
	defer r.close()
	return r.connect(s.Topology, spec, pid)
}

func (l *Lab) guestSpec(s *state, spec HostSpec, disks []guest.Node) guest.Spec {
	subnet, _ := s.Topology.subnetOf(spec.Address) // checked with the topology
	return guest.Spec{
		Name: spec.Name, Root: l.dir.root(spec.Name), Image: l.dir.image(spec.Name), ImageMount: l.dir.mount(spec.Name),
		Bin: l.dir.bin(), Console: l.dir.console(spec.Name),
		Address: fmt.Sprintf("%s/%d", spec.Address, subnet.CIDR.Bits()), Gateway: subnet.Gateway().String(), Link: hostLink,
		Disks: disks,
	}
}

// Freeze stops every process of the host until Thaw, as a hypervisor that pauses a machine does; its clocks run on.
func (h *Host) Freeze() error {
	group, err := h.running()
	if err != nil {
		return fmt.Errorf("freeze host %s: %w", h.name, err)
	}
	return group.freeze(freezeLimit)
}

// Thaw lets a frozen host go on.
func (h *Host) Thaw() error {
	group, err := h.running()
	if err != nil {
		return fmt.Errorf("thaw host %s: %w", h.name, err)
	}
	return group.thaw()
}

// Frozen tells whether the host is frozen.
func (h *Host) Frozen() bool { return h.group().frozen() }

// Service asks the host's PID 1 to start, stop or tell the status of one of its services.
func (h *Host) Service(ctx context.Context, op guest.Op, service string) ([]guest.Status, error) {
	if _, err := h.running(); err != nil {
		return nil, fmt.Errorf("host %s: %w", h.name, err)
	}
	resp, err := guest.Control(ctx, h.Path(guest.ControlSocket), guest.Request{Op: op, Service: service})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.name, err)
	}
	return resp.Services, nil
}

func unknownHost(s *state, name string) error {
	names := make([]string, 0, len(s.Topology.Hosts))
	for _, h := range s.Topology.Hosts {
		names = append(names, h.Name)
	}
	sort.Strings(names)
	return fmt.Errorf("lab %s has no host %q; it has %v", s.Name, name, names)
}
