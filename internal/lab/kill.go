package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/guest"
	"holdfast/internal/lab/labdisk"
)

// ext4Shutdown is EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), of the kernel's fs/ext4; noLogFlush makes it drop the journal's
// pending transactions instead of writing them.
const (
	ext4Shutdown = 0x8004587d
	noLogFlush   = 2
)

// Kill is a power cut: everything the host has not flushed is gone, and nothing it was about to send leaves it.
func (h *Host) Kill(ctx context.Context) error { return h.lab.Kill(ctx, h.name) }

// Kill cuts the power of several hosts at the same instant. A host that is down already is left alone.
func (l *Lab) Kill(ctx context.Context, names ...string) error {
	return l.dir.update(func(s *state) error {
		for _, name := range names {
			if _, ok := s.Topology.host(name); !ok {
				return unknownHost(s, name)
			}
		}
		return l.cutPower(ctx, s, names)
	})
}

// cutPower cuts the power of hosts of the topology at the same instant.
func (l *Lab) cutPower(ctx context.Context, s *state, names []string) error {
	err := l.stopAtOnce(s, names)
	for _, name := range names {
		err = errors.Join(err, l.losePower(ctx, s, name))
		delete(s.Hosts, name)
	}
	return err
}

// freezeAtOnce freezes hosts at the same instant. One whose process is between its fork and its exec would hang the starter, and
// with it whoever else wants to start anything: so that starts under way come first.
func (l *Lab) freezeAtOnce(names []string) error {
	var groups []cgroup
	for _, name := range names {
		group := l.group.child(name)
		if !group.exists() {
			continue
		}
		dir, err := group.settled(freezeLimit)
		if err != nil {
			return err
		}
		defer dir.Close()
		groups = append(groups, group)
	}
	for _, group := range groups {
		if err := group.write("cgroup.freeze", "1"); err != nil {
			return err
		}
	}
	return nil
}

// stopAtOnce stops all processes of the hosts where they are, then takes their links down, so that the kernel's sending
// no reset or FIN for a killed process can be seen.
func (l *Lab) stopAtOnce(s *state, names []string) error {
	if err := l.freezeAtOnce(names); err != nil {
		return err
	}
	r, err := openRouter(s)
	if err != nil {
		return err
	}
	defer r.close()
	for _, name := range names {
		if err := r.setUp(name, false); err != nil && !isNoLink(err) {
			return err
		}
	}
	return nil
}

// losePower drops what a stopped host has not flushed and ends it.
func (l *Lab) losePower(ctx context.Context, s *state, name string) error {
	var errs []error
	if spec, _ := s.Topology.host(name); hasDisk(spec) {
		errs = append(errs, l.cutDiskPower(ctx, name))
	}
	if p := s.Hosts[name]; p.alive() {
		errs = append(errs, shutDownImage(p))
	}
	errs = append(errs, l.clearHost(ctx, s, name))
	return errors.Join(errs...)
}

// cutDiskPower loses what the data disk has not flushed; off already is as good.
func (l *Lab) cutDiskPower(ctx context.Context, name string) error {
	resp, err := l.askDisk(ctx, name, labdisk.Command{Do: "stats"})
	if err != nil || !resp.Stats.On {
		return err
	}
	_, err = l.askDisk(ctx, name, labdisk.Command{Do: "power-off"})
	return err
}

// shutDownImage makes the host's ext4 image refuse everything from now on, without writing what it holds back.
func shutDownImage(p process) error {
	path := filepath.Join("/proc", strconv.Itoa(p.PID), "root/var")
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cut the image's power: %w", err)
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), ext4Shutdown, noLogFlush); err != nil {
		return fmt.Errorf("cut the image's power: shut down the file system of %s: %w", path, err)
	}
	return nil
}

// clearHost ends whatever is left of a host and waits until nothing of it remains: processes, mounts, loop devices.
func (l *Lab) clearHost(ctx context.Context, s *state, name string) error {
	group := l.group.child(name)
	held := holdingsOf(group)
	aborted := held.abortFuse()
	if err := group.kill(deathLimit); err != nil {
		return fmt.Errorf("host %s: %w", name, errors.Join(aborted, err))
	}
	spec, _ := s.Topology.host(name) // the callers have checked the name
	errs := []error{aborted, held.release(), l.awaitImageFree(name), l.releaseDisk(ctx, spec)}
	if group.exists() {
		errs = append(errs, group.remove())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("host %s: %w", name, err)
	}
	return nil
}

// awaitImageFree waits until the kernel has unmounted the host's image and freed its loop device, which it does some time
// after the last process of the mount namespace.
func (l *Lab) awaitImageFree(name string) error {
	if !await(detachLimit, func() bool { return !l.imageAttached(name) }) {
		return fmt.Errorf("its image %s is still attached to a loop device after %v", l.dir.image(name), detachLimit)
	}
	return nil
}

// Shutdown stops the host in an orderly way, as a reboot or power button does: services in reverse order, file systems
// unmounted.
func (h *Host) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	return h.lab.dir.update(func(s *state) error {
		p := s.Hosts[h.name]
		if !p.alive() {
			return fmt.Errorf("host %s: %w", h.name, h.down())
		}
		socket := filepath.Join("/proc", strconv.Itoa(p.PID), "root", guest.ControlSocket)
		if _, err := guest.Control(ctx, socket, guest.Request{Op: guest.OpShutdown}); err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
		if !await(shutdownLimit, func() bool { return !p.alive() || ctx.Err() != nil }) || p.alive() {
			return fmt.Errorf("host %s: it did not shut down within %v", h.name, shutdownLimit)
		}
		delete(s.Hosts, h.name)
		return h.lab.clearHost(ctx, s, h.name)
	})
}
