package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/guest"
	"holdfast/internal/lab/image"
	"holdfast/internal/paths"
)

// Defaults of a Config.
const (
	DefaultName     = "tutorial"
	defaultDiskMiB  = 256
	defaultImageMiB = 1024
)

// Config says what lab to bring up. The zero value is the tutorial's.
type Config struct {
	// Name tells labs of one machine apart; DefaultName if empty.
	Name string
	// Topology is what it consists of; Tutorial() if it has no hosts.
	Topology Topology
	// Dir holds the labs' directories; DefaultDir if empty.
	Dir string
	// Program is the holdfast binary the hosts get a copy of; the running program if empty.
	Program string
	// DiskMiB is the size of a database host's data disk in MiB, 256 if 0. The file is sparse.
	DiskMiB int
	// Daemon is the command of the `holdfast` service of every host; `holdfast daemon` if nil, no such service if empty.
	Daemon []string
}

func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.Dir == "" {
		c.Dir = DefaultDir
	}
	if c.DiskMiB == 0 {
		c.DiskMiB = defaultDiskMiB
	}
	if len(c.Topology.Hosts) == 0 {
		c.Topology = Tutorial()
	}
	if c.Daemon == nil {
		c.Daemon = defaultDaemon()
	}
	if c.Program == "" {
		program, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find the holdfast binary: %w", err)
		}
		c.Program = program
	}
	if err := checkName(c.Name); err != nil {
		return c, err
	}
	return c, c.Topology.check()
}

var labName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

func checkName(name string) error {
	if !labName.MatchString(name) {
		return fmt.Errorf("%q cannot name a lab: use at most 32 letters, digits, - and _", name)
	}
	return nil
}

// Lab is a running lab, in this process's hands or another's: what it knows is on disk.
type Lab struct {
	name     string
	dir      labDir
	group    cgroup
	topology Topology
	// delegating: see cgroupMount.
	delegating bool
}

func newLab(base, name string) (*Lab, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab makes namespaces, mounts and loop devices: run it as root")
	}
	if base == "" {
		base = DefaultDir
	}
	cgroups, err := findCgroups()
	if err != nil {
		return nil, err
	}
	return &Lab{
		name: name, dir: labDir(filepath.Join(base, name)),
		group: cgroups.root.child(cgroupParent).child(name), delegating: cgroups.delegating,
	}, nil
}

// Open returns the running lab of that name below DefaultDir.
func Open(name string) (*Lab, error) { return OpenAt(DefaultDir, name) }

// OpenAt returns the running lab of that name below a Config's Dir.
func OpenAt(base, name string) (*Lab, error) {
	l, err := newLab(base, name)
	if err != nil {
		return nil, err
	}
	s, err := l.dir.load()
	if err != nil {
		return nil, err
	}
	l.topology = s.Topology
	return l, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// Dir is the lab's directory on the machine; keeper.log and hosts/HOST/console are worth looking at.
func (l *Lab) Dir() string { return string(l.dir) }

// Topology is what the lab consists of.
func (l *Lab) Topology() Topology { return l.topology }

// Host returns the host of that name. It panics if the topology has none; Find asks.
func (l *Lab) Host(name string) *Host {
	h, err := l.Find(name)
	if err != nil {
		panic(err.Error())
	}
	return h
}

// Find returns the host of that name.
func (l *Lab) Find(name string) (*Host, error) {
	if _, ok := l.topology.host(name); !ok {
		return nil, unknownHost(&state{Name: l.name, Topology: l.topology}, name)
	}
	return &Host{lab: l, name: name}, nil
}

// Hosts returns every host in the topology's order.
func (l *Lab) Hosts() []*Host {
	var all []*Host
	for _, h := range l.topology.Hosts {
		all = append(all, &Host{lab: l, name: h.Name})
	}
	return all
}

// Up brings a lab up and returns when every host has booted. When it fails or ctx ends it leaves nothing behind.
func Up(ctx context.Context, c Config) (*Lab, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("lab up: %w", err)
	}
	l, err := newLab(c.Dir, c.Name)
	if err != nil {
		return nil, fmt.Errorf("lab up: %w", err)
	}
	l.topology = c.Topology
	if err := l.claim(); err != nil {
		return nil, fmt.Errorf("lab up: %w", err)
	}
	if err := l.up(ctx, c); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s up: %w", c.Name, err), l.Down())
	}
	return l, nil
}

// claim makes the lab's directory, which nobody else may have made.
func (l *Lab) claim() error {
	if err := os.MkdirAll(filepath.Dir(string(l.dir)), 0o755); err != nil {
		return fmt.Errorf("make the directory of the labs: %w", err)
	}
	err := os.Mkdir(string(l.dir), 0o755)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("lab %s exists in %s: take it down first with `holdfast lab down --name %s`", l.name, l.dir, l.name)
	}
	if err != nil {
		return fmt.Errorf("make the lab's directory: %w", err)
	}
	return nil
}

func (l *Lab) up(ctx context.Context, c Config) error {
	s := &state{Name: l.name, Topology: c.Topology, DiskMiB: c.DiskMiB, Hosts: map[string]process{}}
	if err := l.dir.save(s); err != nil {
		return err
	}
	if err := l.installPrograms(c.Program); err != nil {
		return err
	}
	group := l.group.child(keeperName)
	if err := group.create(); err != nil {
		return err
	}
	keeper, err := startKeeper(ctx, l.dir, c.Topology, group)
	if err != nil {
		return err
	}
	s.Keeper = keeper
	if err := l.dir.save(s); err != nil {
		return err
	}
	if err := l.eachHost(func(h HostSpec) error { return l.furnish(ctx, c, h) }); err != nil {
		return err
	}
	return l.bootAll(ctx, s)
}

// bootAll boots every host and records them.
func (l *Lab) bootAll(ctx context.Context, s *state) error {
	var mu sync.Mutex
	err := l.eachHost(func(h HostSpec) error {
		p, err := l.boot(ctx, s, h.Name)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		s.Hosts[h.Name] = p
		return nil
	})
	return errors.Join(err, l.dir.save(s))
}

// upParallel bounds how many hosts are made or booted at a time.
const upParallel = 4

// eachHost runs f for every host of the topology, several at a time, and joins the errors.
func (l *Lab) eachHost(f func(HostSpec) error) error {
	errs := make([]error, len(l.topology.Hosts))
	slots := make(chan struct{}, upParallel)
	var all sync.WaitGroup
	for i, h := range l.topology.Hosts {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = f(h)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// furnish makes a host's directories, image and data disk.
func (l *Lab) furnish(ctx context.Context, c Config, h HostSpec) error {
	for _, dir := range []string{l.dir.root(h.Name), l.dir.mount(h.Name), l.dir.console(h.Name)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the host's directories: %w", err)
		}
	}
	if hasDisk(h) {
		size := h.DiskMiB
		if size == 0 {
			size = c.DiskMiB
		}
		if err := makeSparse(l.dir.dataDisk(h.Name), int64(size)<<20); err != nil {
			return fmt.Errorf("make the data disk of %s: %w", h.Name, err)
		}
	}
	return l.makeImage(ctx, c, h)
}

// makeImage makes the file system of a host's own /etc, /var and /root.
func (l *Lab) makeImage(ctx context.Context, c Config, h HostSpec) error {
	return image.Build(ctx, image.Options{
		Path: l.dir.image(h.Name), Bytes: defaultImageMiB << 20, Name: h.Name, Role: h.Role,
		Addresses: l.topology.addresses(), Services: daemonService(c.Daemon),
		DatabaseAddress: l.topology.DatabaseAddress, StateDir: c.Dir,
	})
}

func hasDisk(h HostSpec) bool { return h.Role == image.Database }

func makeSparse(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Truncate(bytes)
}

// daemonService is the service that stands in for the units of the tutorial's cluster packages. A command of a test's own
// in place of the daemon is ready at once.
func daemonService(argv []string) []guest.Service {
	if len(argv) == 0 {
		return nil
	}
	service := guest.Service{
		Name: "holdfast", Aliases: []string{"pcsd", "corosync", "pacemaker"}, Managed: "the host's init",
		Argv: argv, Stop: []string{argv[0], "cluster", "stop", "--local"}, AtBoot: true, Restart: true,
	}
	if slices.Equal(argv, defaultDaemon()) {
		service.Ready = []string{"test", "-S", paths.Root("/").DaemonSocket()}
	}
	return []guest.Service{service}
}

func defaultDaemon() []string { return []string{"holdfast", "daemon"} }

// Down removes the lab of that name below DefaultDir, whatever state it is in; that there is none is no error.
func Down(name string) error { return DownAt(DefaultDir, name) }

// DownAt is Down for a lab below a Config's Dir.
func DownAt(base, name string) error {
	l, err := newLab(base, name)
	if err != nil {
		return err
	}
	return l.Down()
}

// Down ends everything of the lab and removes what it left: processes, mounts, loop devices, cgroups, files. It needs
// neither the lab's processes nor a readable state, and can be repeated.
func (l *Lab) Down() error {
	held := holdingsOf(l.group)
	aborted := held.abortFuse()
	if err := l.group.kill(deathLimit); err != nil {
		return fmt.Errorf("lab %s down: %w", l.name, errors.Join(aborted, err))
	}
	errs := []error{aborted, held.release(), l.awaitImagesFree()}
	if l.group.exists() {
		errs = append(errs, l.group.remove())
	}
	_ = unix.Rmdir(filepath.Dir(string(l.group))) // stays while another lab runs
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lab %s down: %w", l.name, err)
	}
	if err := os.RemoveAll(string(l.dir)); err != nil {
		return fmt.Errorf("lab %s down: %w", l.name, err)
	}
	return nil
}

// awaitImagesFree waits until no loop device serves an image of the lab; the directory tells which there are.
func (l *Lab) awaitImagesFree() error {
	hosts, _ := os.ReadDir(filepath.Join(string(l.dir), "hosts")) // none: nothing to wait for
	var errs []error
	for _, h := range hosts {
		errs = append(errs, l.awaitImageFree(h.Name()))
	}
	return errors.Join(errs...)
}
