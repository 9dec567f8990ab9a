// Package frontend chooses a volume's front end: ublk where the kernel has it, NBD otherwise, FUSE and a loop device
// everywhere else, or the one the host's configuration names.
//
// Format: volume.json in the configuration directory, see Policy.
package frontend

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/fuseloop"
	"holdfast/internal/block/kernel/nbd"
	"holdfast/internal/block/kernel/ublk"
	"holdfast/internal/nbddev"
	"holdfast/internal/paths"
	"holdfast/internal/ublkdev"
)

// Auto takes the first of ublk, nbd and fuse that this host has; the others are api's Front constants.
const Auto = "auto"

// Default is what volumes have when nothing is said: the front end that clusters have been broken on, in the lab. Auto is for a
// host whose operator has tried it.
const Default = api.FrontFUSE

// Variable, in a process's environment, overrides volume.json. The lab sets it, so that its hosts leave the machine's modules
// alone.
const Variable = "HOLDFAST_FRONTEND"

// Policy is what an installation wants: volume.json, whose keys are the ones below. Without the file everything is Default.
type Policy struct {
	// Frontend is for all volumes of the host: auto, ublk, nbd or fuse.
	Frontend string `json:"frontend"`
	// Volumes are the exceptions, by the resource's name.
	Volumes map[string]string `json:"volumes,omitempty"`
}

// LoadPolicy reads volume.json below root.Etc(), and Variable. A file or value that cannot be understood is an error: a volume
// that somebody wanted elsewhere must not come up as if nothing had been said.
func LoadPolicy(root paths.Root) (Policy, error) {
	path := filepath.Join(root.Etc(), "volume.json")
	p := Policy{Frontend: Default}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Policy{}, fmt.Errorf("read which front end the volumes want: %s: %w", path, err)
	}
	if p.Frontend == "" {
		p.Frontend = Default
	}
	if v := os.Getenv(Variable); v != "" {
		p, path = Policy{Frontend: v}, "environment variable "+Variable
	}
	for _, name := range append([]string{p.Frontend}, values(p.Volumes)...) {
		if !known(name) {
			return Policy{}, fmt.Errorf("%s: the front end %q does not exist; it can be auto, ublk, nbd or fuse", path, name)
		}
	}
	return p, nil
}

func values(m map[string]string) []string {
	var out []string
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func known(name string) bool {
	_, ok := drivers()[name]
	return ok || name == Auto
}

// For is what is wanted for a volume.
func (p Policy) For(resource string) string {
	if v, ok := p.Volumes[resource]; ok {
		return v
	}
	return p.Frontend
}

// driver is one front end.
type driver struct {
	module string // of the kernel, loaded if the probe fails without it
	probe  func() error
	open   func(kernel.Config) (kernel.Frontend, error)
}

// preferred is Auto's order.
func preferred() []string { return []string{api.FrontUBLK, api.FrontNBD, api.FrontFUSE} }

func drivers() map[string]driver {
	return map[string]driver{
		api.FrontUBLK: {"ublk_drv", ublkdev.Probe, func(c kernel.Config) (kernel.Frontend, error) { return front(ublk.Open(c)) }},
		api.FrontNBD:  {"nbd", nbddev.Probe, func(c kernel.Config) (kernel.Frontend, error) { return front(nbd.Open(c)) }},
		api.FrontFUSE: {"", func() error { return nil }, func(c kernel.Config) (kernel.Frontend, error) { return front(fuseloop.Open(c)) }},
	}
}

// front keeps a nil pointer from becoming an interface that is not nil.
func front[T kernel.Frontend](f T, err error) (kernel.Frontend, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// available asks the kernel itself, and loads the module where that is what is missing.
func (d driver) available() error {
	err := d.probe()
	if err == nil || d.module == "" {
		return err
	}
	if text, lerr := exec.Command("modprobe", "-q", d.module).CombinedOutput(); lerr != nil {
		return fmt.Errorf("%w (modprobe %s: %w: %s)", err, d.module, lerr, text)
	}
	return d.probe()
}

// Open makes a volume's kernel device with the front end that is wanted. A device that an earlier process of the volume left
// with the guard keeps its front end until it is taken away (drbdadm down): its users are on it.
func Open(cfg kernel.Config, want string) (kernel.Frontend, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	kind, err := heldKind(cfg)
	if err != nil {
		return nil, fmt.Errorf("volume %s: ask the guard for its kernel device: %w", cfg.Name, err)
	}
	all := drivers()
	switch d, held := all[kind]; {
	case held:
		want = kind
		return opened(cfg, want, d)
	case want != Auto:
		d := all[want]
		if err := d.available(); err != nil {
			return nil, fmt.Errorf("volume %s: the configured front end %s cannot be had: %w", cfg.Name, want, err)
		}
		return opened(cfg, want, d)
	}
	return openFirst(cfg, all)
}

// openFirst tries one after the other; the last is there on every kernel.
func openFirst(cfg kernel.Config, all map[string]driver) (kernel.Frontend, error) {
	var failed []error
	for _, name := range preferred() {
		d := all[name]
		if err := d.available(); err != nil {
			cfg.Log.Debug("front end not available", "front", name, "why", err)
			continue
		}
		f, err := opened(cfg, name, d)
		if err == nil || errors.Is(err, kernel.ErrNotHeld) {
			return f, err
		}
		failed = append(failed, err)
		cfg.Log.Warn("front end fails; trying the next", "front", name, "err", err)
	}
	return nil, errors.Join(failed...)
}

func opened(cfg kernel.Config, name string, d driver) (kernel.Frontend, error) {
	f, err := d.open(cfg)
	if err == nil {
		cfg.Log.Info("the kernel device is there", "front", name, "device", f.DevicePath())
	}
	return f, err
}

// heldKind is the front end of what the guard holds of a volume; empty if it holds nothing.
func heldKind(cfg kernel.Config) (string, error) {
	if cfg.Guard == nil {
		return "", nil
	}
	device, fd, err := cfg.Guard.Get(cfg.Name)
	if err != nil {
		return "", err
	}
	if fd >= 0 {
		unix.Close(fd)
	}
	return device.Kind(), nil
}
