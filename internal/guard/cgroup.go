package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// killResources kills everything that resources run, and lists who is left of it. What failed for one of the cgroups keeps
// nobody in the others alive.
func (g *guard) killResources() (left []int, killed, listed error) {
	for _, dir := range g.cfg.Root.ResourceCgroups() {
		killed = errors.Join(killed, killAll(dir))
		pids, err := survivors(dir)
		left, listed = append(left, pids...), errors.Join(listed, err)
	}
	slices.Sort(left)
	return left, killed, listed
}

// killAll kills every process in a cgroup and below, those being forked meanwhile included. A cgroup that does not exist
// holds nobody.
func killAll(dir string) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return killFrozen(dir)
}

// killFrozen does it for kernels before 5.14, which have no cgroup.kill: frozen, nobody can fork while the list is read.
// The frozen die of SIGKILL without being thawed.
func killFrozen(dir string) error {
	freeze := filepath.Join(dir, "cgroup.freeze")
	err := os.WriteFile(freeze, []byte("1"), 0)
	pids, listErr := survivors(dir)
	for _, pid := range pids {
		if kerr := unix.Kill(pid, unix.SIGKILL); kerr != nil && !errors.Is(kerr, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("kill %d: %w", pid, kerr))
		}
	}
	if len(pids) == 0 && listErr == nil { // a later resource must not start frozen
		err = errors.Join(err, os.WriteFile(freeze, []byte("0"), 0))
	}
	return errors.Join(err, listErr)
}

// survivors lists the processes in a cgroup and below, in order.
func survivors(dir string) ([]int, error) {
	var out []int
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		for _, f := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return fmt.Errorf("%s names process %q", path, f)
			}
			out = append(out, pid)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the processes in %s: %w", dir, err)
	}
	slices.Sort(out)
	return out, nil
}
