package lab

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ReplaceDisk puts a new, empty data disk of the same size into a host that is down.
func (h *Host) ReplaceDisk(context.Context) error {
	return h.lab.dir.update(func(s *state) error {
		if s.Hosts[h.name].alive() {
			return fmt.Errorf("replace the data disk of %s: it runs; cut its power first", h.name)
		}
		if err := emptyInPlace(h.lab.dir.dataDisk(h.name)); err != nil {
			return fmt.Errorf("replace the data disk of %s: %w", h.name, err)
		}
		return nil
	})
}

// Replace puts a new machine in the place of a host that is down: same name, address and programs, an image as at `lab
// up`, an empty data disk. Nothing of the old machine is left.
func (h *Host) Replace(ctx context.Context) error {
	err := h.lab.dir.update(func(s *state) error {
		if s.Hosts[h.name].alive() {
			return errors.New("it runs; cut its power first")
		}
		spec, _ := s.Topology.host(h.name) // Lab.Host has checked it
		if err := os.Remove(h.lab.dir.image(h.name)); err != nil {
			return err
		}
		if hasDisk(spec) {
			if err := emptyInPlace(h.lab.dir.dataDisk(h.name)); err != nil {
				return err
			}
		}
		return h.lab.makeImage(ctx, Config{Dir: h.lab.dir.base(), Daemon: defaultDaemon()}, spec)
	})
	if err != nil {
		return fmt.Errorf("replace host %s: %w", h.name, err)
	}
	return nil
}

// emptyInPlace makes a file of zeros of the same size. The keeper holds it open, so that it must stay the same file.
func emptyInPlace(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, info.Size())
}
