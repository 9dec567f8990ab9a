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

// dumpLogs reads /var/log out of the image of a host that is down. What was written last is in the journal: that is
// replayed on a copy, so that the host finds its image as the power cut left it.
func (h *Host) dumpLogs(ctx context.Context, to string) error {
	image, err := os.CreateTemp(filepath.Dir(to), "image-*")
	if err != nil {
		return err
	}
	image.Close()
	defer os.Remove(image.Name())
	if err := runTool(ctx, 0, "cp", "--sparse=always", h.lab.dir.image(h.name), image.Name()); err != nil {
		return fmt.Errorf("copy the image of %s: %w", h.name, err)
	}
	if err := runTool(ctx, 1, "e2fsck", "-y", "-E", "journal_only", image.Name()); err != nil {
		return fmt.Errorf("replay the journal of %s's image: %w", h.name, err)
	}
	// debugfs puts the directory `log` itself into its destination.
	if err := runTool(ctx, 0, "debugfs", "-R", "rdump /var/log "+filepath.Dir(to), image.Name()); err != nil {
		return fmt.Errorf("read the logs of %s from its image: %w", h.name, err)
	}
	return nil
}

// runTool runs a program that may end with an exit code up to allowed.
func runTool(ctx context.Context, allowed int, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() <= allowed {
		return nil // e2fsck's 1: it changed something, as it was to
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
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

// CollectDisks copies the data disk of every host that has one into the directory to, as HOST.disk, sparse: the content as
// its host would read it, or as it is on the medium when the host is down.
func (l *Lab) CollectDisks(ctx context.Context, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("collect the lab's disks: %w", err)
	}
	var errs []error
	for _, spec := range l.topology.Hosts {
		if !hasDisk(spec) {
			continue
		}
		from := l.dir.dataDisk(spec.Name)
		args := []string{"if=" + from}
		if h := l.Host(spec.Name); h.Running() {
			args = []string{"if=" + h.Path(dataDiskPath), "iflag=direct"}
		}
		args = append(args, "of="+filepath.Join(to, spec.Name+".disk"), "bs=1M", "conv=sparse", "status=none")
		errs = append(errs, runTool(ctx, 0, "dd", args...))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("collect the lab's disks: %w", err)
	}
	return nil
}
