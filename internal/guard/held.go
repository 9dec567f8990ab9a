package guard

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// held is one volume's kernel device.
type held struct {
	device api.GuardHeld
	fd     int // beside it, or -1
	ender  ender
}

// hold takes over fd. What was held under the name is let go of.
func (g *guard) hold(name string, device api.GuardHeld, fd int) error {
	if err := g.mayHold(name, device, fd); err != nil {
		closeIf(fd)
		return err
	}
	e, err := newEnder(device, fd)
	if err != nil {
		closeIf(fd)
		return fmt.Errorf("hold %s: %w", name, err)
	}
	g.drop(name)
	g.held[name] = &held{device: device, fd: fd, ender: e}
	return nil
}

func (g *guard) mayHold(name string, device api.GuardHeld, fd int) error {
	switch {
	case name == "" || device.Kind() == "":
		return errors.New("hold: a name and a kernel device are needed")
	case device.Kind() == api.FrontFUSE && device.Connection == 0, device.Kind() == api.FrontNBD && fd < 0, device.Kind() == api.FrontUBLK && device.Process <= 0:
		return fmt.Errorf("hold %s: a FUSE connection's number, an NBD device's socket or a ublk device's process is missing", name)
	case !g.machine.MayHold():
		return fmt.Errorf("hold %s: the node's lease has ended (%s); no device may be served before a newer session", name, g.machine.State())
	case len(g.held) >= maxHeld && g.held[name] == nil:
		return fmt.Errorf("hold %s: %d devices are held already", name, maxHeld)
	}
	return nil
}

func (g *guard) drop(name string) {
	h := g.held[name]
	if h == nil {
		return
	}
	delete(g.held, name)
	h.ender.close()
	closeIf(h.fd)
}

// endAll fails every device at once, and tells whether all have come to their end; else it is to be called again.
func (g *guard) endAll() (ended bool, err error) {
	ended = true
	var errs []error
	for _, name := range g.names() {
		done, err := g.held[name].ender.end()
		ended = ended && done
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return ended, errors.Join(errs...)
}

func (g *guard) names() []string { return slices.Sorted(maps.Keys(g.held)) }

func closeIf(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
