package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// skippedVar are directories below /var whose content a host has no use for; the directories themselves are made.
var skippedVar = [...]string{
	"/var/backups", "/var/cache", "/var/lib/apt", "/var/lib/corosync", "/var/lib/docker", "/var/lib/dpkg", "/var/lib/man-db",
	"/var/lib/mysql", "/var/lib/pacemaker/cib", "/var/lib/postgresql", "/var/lib/swcatalog", "/var/lib/systemd", "/var/lib/ucf",
	"/var/log", "/var/mail", "/var/spool", "/var/tmp", "/var/www",
}

// logDirectories are made below /var/log, with their owners, although nothing else of it is taken.
const logDirectories = "/var/log"

// copiedBelow are the directories of /var whose files are taken too; of the rest only directories and links.
var copiedBelow = [...]string{"/var/lib/wordpress", "/var/lib/php"}

// copyConfiguration takes all of /etc.
func (t tree) copyConfiguration() error {
	return t.walk("/etc", func(string, fs.DirEntry) verdict { return take })
}

// copyVar takes the skeleton of /var.
func (t tree) copyVar(stateDir string) error {
	return t.walk("/var", func(path string, e fs.DirEntry) verdict {
		if path == stateDir {
			return leave
		}
		if e.IsDir() || e.Type() == fs.ModeSymlink {
			return directoryVerdict(path)
		}
		for _, dir := range copiedBelow {
			if isBelow(path, dir) {
				return take
			}
		}
		return leave
	})
}

func directoryVerdict(path string) verdict {
	if isBelow(path, logDirectories) {
		return take
	}
	for _, dir := range skippedVar {
		if path == dir {
			return takeEmpty
		}
	}
	return take
}

func isBelow(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// verdict says what walk does with an entry.
type verdict int

const (
	take      verdict = iota // copy it and look into it
	takeEmpty                // copy the directory and not what is in it
	leave                    // neither
)

// walk copies what choose takes below the machine's directory from to the same place in the tree.
func (t tree) walk(from string, choose func(path string, e fs.DirEntry) verdict) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we looked
		}
		if err != nil {
			return err
		}
		v := choose(path, e)
		if v != leave {
			if err := t.copyEntry(path, e); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("copy %s: %w", path, err)
			}
		}
		if v != take && e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

// copyEntry copies a directory, symbolic link or regular file with its owner and mode; sockets and devices are left.
func (t tree) copyEntry(path string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	to := t.at(path)
	switch info.Mode().Type() {
	case fs.ModeDir:
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	case fs.ModeSymlink:
		return copyLink(path, to)
	case 0:
		if err := CopyFile(path, to, 0o600); err != nil {
			return err
		}
	default:
		return nil
	}
	st := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode())
}

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	return os.Symlink(target, to)
}

// CopyFile copies a file's content into another, which is made with the mode if it is not there.
func CopyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
