package guard

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"holdfast/internal/fuse"
)

// held is one volume's FUSE connection.
type held struct {
	fd         int // /dev/fuse, or -1
	abort      int // the connection's control file, opened beforehand so that aborting needs nothing but a write
	connection uint32
	meta       string
}

// hold takes over fd. What was held under the name is let go of.
func (g *guard) hold(name string, fd int, connection uint32, meta string) error {
	if err := g.mayHold(name, connection); err != nil {
		closeIf(fd)
		return err
	}
	abort, err := fuse.OpenAbort(connection)
	if err != nil {
		closeIf(fd)
		return fmt.Errorf("hold %s: %w", name, err)
	}
	g.drop(name)
	g.held[name] = &held{fd: fd, abort: abort, connection: connection, meta: meta}
	return nil
}

func (g *guard) mayHold(name string, connection uint32) error {
	switch {
	case name == "" || connection == 0:
		return errors.New("hold: a name and the number of a FUSE connection are needed")
	case !g.machine.MayHold():
		return fmt.Errorf("hold %s: the node's lease has ended (%s); no device may be served before a newer session", name, g.machine.State())
	case len(g.held) >= maxHeld && g.held[name] == nil:
		return fmt.Errorf("hold %s: %d descriptors are held already", name, maxHeld)
	}
	return nil
}

func (g *guard) drop(name string) {
	h := g.held[name]
	if h == nil {
		return
	}
	delete(g.held, name)
	closeIf(h.fd)
	closeIf(h.abort)
}

// abortAll fails every device at once.
func (g *guard) abortAll() error {
	var errs []error
	for _, name := range g.names() {
		if err := fuse.AbortBy(g.held[name].abort); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (g *guard) names() []string { return slices.Sorted(maps.Keys(g.held)) }

func closeIf(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
