package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/lab/image"
	"holdfast/internal/lab/labdisk"
)

// Snapshot copies the image and the data disk of every host into the directory to, which is made. All hosts must be down: the
// copies are of one moment, and of what is on the medium.
func (l *Lab) Snapshot(ctx context.Context, to string) error {
	err := l.dir.update(func(s *state) error {
		for name, p := range s.Hosts {
			if p.alive() {
				return fmt.Errorf("host %s runs; shut it down or cut its power first", name)
			}
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		var errs []error
		for _, h := range s.Topology.Hosts {
			errs = append(errs, copySparse(ctx, l.dir.image(h.Name), snapshotOf(to, h.Name, "system")))
			if hasDisk(h) {
				errs = append(errs, copySparse(ctx, l.dir.dataDisk(h.Name), snapshotOf(to, h.Name, "data")))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("lab %s: snapshot into %s: %w", l.name, to, err)
	}
	return nil
}

func snapshotOf(dir, host, what string) string { return filepath.Join(dir, host+"."+what) }

// Restore puts every host back to a snapshot and boots all of them with the holdfast binary at program, which is copied. The
// power of hosts that run is cut first, cuts are healed, disks too. All hosts go back together: one alone would have
// forgotten what it told the others.
func (l *Lab) Restore(ctx context.Context, from, program string) error {
	err := l.dir.update(func(s *state) error {
		var names []string
		for _, h := range s.Topology.Hosts {
			names = append(names, h.Name)
		}
		if err := l.cutPower(ctx, s, names); err != nil {
			return err
		}
		s.Cuts = nil
		if err := applyCuts(s); err != nil {
			return err
		}
		if err := l.replaceProgram(program); err != nil {
			return err
		}
		if err := l.eachHost(func(h HostSpec) error { return l.putBack(ctx, h, from) }); err != nil {
			return err
		}
		return l.bootAll(ctx, s)
	})
	if err != nil {
		return fmt.Errorf("lab %s: restore the snapshot in %s: %w", l.name, from, err)
	}
	return nil
}

// replaceProgram gives the hosts another holdfast under the same name; the old file goes on for whoever runs it, as the keeper.
func (l *Lab) replaceProgram(program string) error {
	fresh := l.dir.program() + ".new"
	if err := image.CopyFile(program, fresh, 0o755); err != nil {
		return fmt.Errorf("replace holdfast: %w", err)
	}
	if err := os.Rename(fresh, l.dir.program()); err != nil {
		return fmt.Errorf("replace holdfast: %w", err)
	}
	return nil
}

// putBack puts a host that is down back to a snapshot. The data disk's file must stay the same, as for emptyInPlace.
func (l *Lab) putBack(ctx context.Context, h HostSpec, from string) error {
	if err := os.Remove(l.dir.image(h.Name)); err != nil {
		return err
	}
	if err := copySparse(ctx, snapshotOf(from, h.Name, "system"), l.dir.image(h.Name)); err != nil || !hasDisk(h) {
		return err
	}
	if _, err := l.askDisk(ctx, h.Name, labdisk.Command{Do: "heal"}); err != nil {
		return err
	}
	if err := emptyInPlace(l.dir.dataDisk(h.Name)); err != nil {
		return err
	}
	return runTool(ctx, 0, "dd", "if="+snapshotOf(from, h.Name, "data"), "of="+l.dir.dataDisk(h.Name), "bs=64K", "conv=sparse,notrunc", "status=none")
}

func copySparse(ctx context.Context, from, to string) error {
	return runTool(ctx, 0, "cp", "--sparse=always", from, to)
}
