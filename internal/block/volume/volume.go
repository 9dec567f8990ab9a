// Package volume is the process of one replicated resource: it joins the cores (writepath, peer, resync) of each of its volumes to
// the backing disk, the peer's connection, the kernel's front end and the daemon. One goroutine drives the cores; threads carry
// out disk I/O, and nothing else waits for a disk or a socket.
//
// A resource has one volume or several. They share the goroutine, the connection and its epochs of writes (resource); disk,
// metadata, generations, write path, resync and kernel's device are each volume's (engine).
//
// Files: volume-RES.epoch below the root's lib directory holds the epoch of a bound volume (JSON); volume-RES.primary
// below run says that this process is Primary, for its successor (JSON, peer.Resume). Where there are several volumes, the names
// of the files of all but volume 0 end in -N.
package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"holdfast/internal/block/kernel"
	"holdfast/internal/block/resfile"
	"holdfast/internal/clock"
	"holdfast/internal/disk"
	"holdfast/internal/paths"
)

// Lease tells until when this node may complete requests: the guard's page.
type Lease interface {
	// Deadline is the CLOCK_BOOTTIME reading from which on nothing may be completed; 0 if the guard is not armed.
	Deadline() clock.Boottime
}

// Config says what volume to run and gives the real things around it.
type Config struct {
	Root     paths.Root
	Resource *resfile.Resource
	// Reload reads the resource's configuration again, for VolumeAdjust; nil if it cannot change.
	Reload func() (*resfile.Resource, error)
	Node   string // this node's name, as `on` sections have it
	Clock  clock.Source
	Log    *slog.Logger
	// OpenDisk opens a backing disk or metadata device; nil for the real one.
	OpenDisk func(path string) (disk.Device, error)
	// CreateSide makes the file a heal saves blocks in; nil for the real one.
	CreateSide func(path string) (SideStore, error)
	// Frontend makes the kernel's device of a volume for a target; nil for none (tests use the target itself).
	Frontend func(*resfile.Volume, kernel.Target) (kernel.Frontend, error)
	// Lease opens the lease page; it is asked for when the volume is bound to a cluster. nil: a bound volume is never
	// Primary.
	Lease func() (Lease, error)
	// OnTarget, if not nil, gets the target when the volume of that number is attached.
	OnTarget func(number int, t kernel.Target)
}

// Run serves the volume until the daemon takes it down or ctx ends. When ctx ends the process is to end too: requests of
// the kernel stay with the front end for the next process.
func Run(ctx context.Context, cfg Config) error {
	name := cfg.Resource.Name
	r, control, err := newResource(cfg)
	if err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	l, err := listen(cfg.Root.VolumeSocket(name))
	if err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	defer l.Close()
	go control.serve(l)
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	return nil
}

// listen takes over a socket file nobody listens on; a live process of the volume keeps its own.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("control socket %s: another process serves this volume", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}
