// Package image makes the ext4 image that holds a host's own /etc, /var and /root: the machine's configuration and the
// skeleton of its /var, changed into those of a database, web or plain host of the tutorial.
package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"holdfast/internal/lab/guest"
)

// Role is what a host is for; it decides what its image holds besides the machine's /etc.
type Role string

// The roles. A Plain host has no service of its own but the daemon's.
const (
	Plain    Role = "plain"
	Database Role = "database"
	Web      Role = "web"
)

// Options describe one host's image.
type Options struct {
	// Path is the image file to make; it must not exist.
	Path string
	// Bytes is its size; the file is sparse.
	Bytes int64
	// Name is the host's name, Role what it is for.
	Name string
	Role Role
	// Addresses maps every host of the lab to its address, for /etc/hosts.
	Addresses map[string]string
	// Services are run before those of the role.
	Services []guest.Service
	// DatabaseAddress is where the web hosts find their database.
	DatabaseAddress string
	// StateDir is the directory of the labs on the machine, never copied.
	StateDir string
}

// Build makes the image. What it copies it takes from the machine's own /etc and /var; a tree is put together beside the
// image and removed again.
func Build(ctx context.Context, o Options) error {
	dir := o.Path + ".tree"
	defer os.RemoveAll(dir)
	t := tree{dir: dir}
	if err := t.fill(o); err != nil {
		return fmt.Errorf("make the image of %s: %w", o.Name, err)
	}
	if err := format(ctx, o, dir); err != nil {
		return fmt.Errorf("make the image of %s: %w", o.Name, err)
	}
	return nil
}

// format makes the file system with the tree in it. A new sparse file reads as zeros, so nothing need be zeroed.
func format(ctx context.Context, o Options, dir string) error {
	file, err := os.OpenFile(o.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(o.Bytes); err != nil {
		return fmt.Errorf("size %s: %w", o.Path, err)
	}
	out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-L", "etc-var", "-N", "65536", "-m", "0",
		"-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=1,assume_storage_prezeroed=1", "-d", dir, o.Path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4 %s: %w: %s", o.Path, err, out)
	}
	return nil
}

// fill puts the tree together.
func (t tree) fill(o Options) error {
	steps := []func() error{
		func() error { return t.copyConfiguration() },
		func() error { return t.copyVar(o.StateDir) },
		func() error { return os.MkdirAll(t.at("/root"), 0o700) },
		func() error { return t.identity(o.Name, o.Addresses) },
		t.clusterUser,
	}
	services, dirs := o.Services, commonDirectories()
	switch o.Role {
	case Database:
		steps = append(steps, t.database)
		services, dirs = append(services, databaseServices()...), append(dirs, databaseDirectories()...)
	case Web:
		fpm, err := findFPM()
		if err != nil {
			return err
		}
		steps = append(steps, func() error { return t.web(o.DatabaseAddress) })
		services, dirs = append(services, webServices(fpm)...), append(dirs, webDirectories()...)
	}
	steps = append(steps, func() error { return t.labConfiguration(services, dirs) })
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// tree is a directory that will become the image's root.
type tree struct{ dir string }

// at is where the host's path is in the tree.
func (t tree) at(path string) string { return filepath.Join(t.dir, path) }

// write makes or replaces a file, with its directory.
func (t tree) write(path, content string, mode os.FileMode) error {
	at := t.at(path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	if err := os.WriteFile(at, []byte(content), mode); err != nil {
		return err
	}
	return os.Chmod(at, mode) // whatever the umask
}
