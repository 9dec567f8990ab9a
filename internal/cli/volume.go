package cli

import (
	"context"
	"fmt"
	"log/slog"

	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/fuseloop"
	"holdfast/internal/block/resload"
	"holdfast/internal/block/volume"
	"holdfast/internal/clock"
	"holdfast/internal/guard"
	"holdfast/internal/guard/leasepage"
)

// runVolume is the process of one volume: `holdfast volume RESOURCE`.
func runVolume(args []string, e environment) int {
	if len(args) != 1 {
		fmt.Fprintln(e.stderr, "usage: holdfast volume RESOURCE   (started by the daemon; to work with volumes use drbdadm)")
		return 1
	}
	return process("volume", e, func(ctx context.Context, log *slog.Logger) error {
		return serveVolume(ctx, args[0], e, log.With("volume", args[0]))
	})
}

func serveVolume(ctx context.Context, name string, e environment, log *slog.Logger) error {
	conf, err := resload.Load(e.root)
	if err != nil {
		return err
	}
	res, ok := conf.Resource(name)
	if !ok {
		return fmt.Errorf("'%s' not defined in your config (for this host)", name)
	}
	holder, err := guard.Dial(e.root)
	if err != nil {
		return fmt.Errorf("volume %s: its kernel device needs the guard: %w", name, err)
	}
	defer holder.Close()
	fuseloop.PrepareProcess(log)
	return volume.Run(ctx, volume.Config{
		Root: e.root, Resource: res, Node: e.hostname, Clock: clock.System{}, Log: log,
		Frontend: func(t kernel.Target) (kernel.Frontend, error) {
			return fuseloop.Open(fuseloop.Config{Name: name, Target: t, Guard: holder, Log: log})
		},
		Lease: func() (volume.Lease, error) { return leasepage.Open(e.root.LeasePage()) },
	})
}
