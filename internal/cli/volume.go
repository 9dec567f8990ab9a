package cli

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/frontend"
	"holdfast/internal/block/kernel/fuseloop"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/resload"
	"holdfast/internal/block/volume"
	"holdfast/internal/clock"
	"holdfast/internal/guard"
	"holdfast/internal/guard/leasepage"
)

// runVolume is the process of the volumes of one resource: `holdfast volume RESOURCE`.
func runVolume(args []string, e environment) int {
	if len(args) != 1 {
		fmt.Fprintln(e.stderr, "usage: holdfast volume RESOURCE   (started by the daemon; to work with volumes use drbdadm)")
		return 1
	}
	return process("volume", e, func(ctx context.Context, log *slog.Logger) error {
		return serveVolume(ctx, args[0], e, log.With("volume", args[0]))
	})
}

// resource reads the configuration of a volume.
func (e environment) resource(name string) (*resfile.Resource, error) {
	conf, err := resload.Load(e.root)
	if err == nil {
		err = resload.Locate(conf, e.hostname)
	}
	if err != nil {
		return nil, err
	}
	res, ok := conf.Resource(name)
	if !ok {
		return nil, fmt.Errorf("'%s' not defined in your config (for this host)", name)
	}
	return res, nil
}

func serveVolume(ctx context.Context, name string, e environment, log *slog.Logger) error {
	res, err := e.resource(name)
	if err != nil {
		return err
	}
	self, _, err := res.For(e.hostname)
	if err != nil {
		return err
	}
	holder := guard.NewKeeper(e.root, log)
	fuseloop.PrepareProcess(log)
	return volume.Run(ctx, volume.Config{
		Root: e.root, Resource: res, Node: e.hostname, Clock: clock.System{}, Log: log,
		Frontend: func(v *resfile.Volume, t kernel.Target) (kernel.Frontend, error) {
			policy, err := frontend.LoadPolicy(e.root)
			if err != nil {
				return nil, err
			}
			device := self.DeviceName(name, v)
			return frontend.Open(kernel.Config{Name: device, Identity: "holdfast:" + string(e.root) + ":" + device, Target: t, Guard: holder,
				BlockSize: blockSize(v), Log: log}, policy.For(name))
		},
		Reload: func() (*resfile.Resource, error) { return e.resource(name) },
		Lease:  func() (volume.Lease, error) { return leasepage.Open(e.root.LeasePage()) },
	})
}

// blockSize is the logical block size of a volume's disk, which the volume offers too; 0, the front end's choice, if it
// cannot be told (the attach, a moment later, says why).
func blockSize(v *resfile.Volume) int {
	fd, err := unix.Open(v.Disk, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	size, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
	if err != nil {
		return 0
	}
	return size
}
