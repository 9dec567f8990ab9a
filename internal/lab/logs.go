package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// CollectLogs copies what a lab leaves to look at into the directory to: the keeper's log, and for each host its console
// and its /var/log; that of a host that is down is read from its image without replaying the journal. It copies what it
// can and returns what it could not.
func (l *Lab) CollectLogs(ctx context.Context, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("collect the lab's logs: %w", err)
	}
	errs := []error{copyFile(l.dir.keeperLog(), filepath.Join(to, "keeper.log"))}
	for _, h := range l.Hosts() {
		errs = append(errs, h.collectLogs(ctx, filepath.Join(to, h.name)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("collect the lab's logs: %w", err)
	}
	return nil
}

func (h *Host) collectLogs(ctx context.Context, to string) error {
	console := copyLogs(h.Console(), filepath.Join(to, "console"))
	if h.Running() {
		return errors.Join(console, copyLogs(h.Path("/var/log"), filepath.Join(to, "log")))
	}
	return errors.Join(console, h.dumpLogs(ctx, filepath.Join(to, "log")))
}

// dumpLogs reads /var/log out of the image of a host that is down; debugfs needs no mount for it.
func (h *Host) dumpLogs(ctx context.Context, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "debugfs", "-R", "rdump /var/log "+to, h.lab.dir.image(h.name)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("read the logs of %s from its image: %w: %s", h.name, err, out)
	}
	return nil
}

// copyLogs copies the regular files below from.
func copyLogs(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // rotated while we looked
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case e.Type().IsRegular():
			return copyFile(path, filepath.Join(to, rel))
		}
		return nil
	})
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
