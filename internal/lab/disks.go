package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab/ask"
	"holdfast/internal/lab/guest"
	"holdfast/internal/lab/labdisk"
)

// dataDiskPath is the tutorial's data disk.
const dataDiskPath = "/dev/sdc"

// diskRequest asks the keeper to do something with a host's data disk.
type diskRequest struct {
	Host string `json:"host"`
	labdisk.Command
}

type diskResponse struct {
	labdisk.Result
	// Number is the device number (st_rdev) of the block device while the disk is on.
	Number uint64 `json:"number,omitempty"`
}

// askDisk has the keeper carry out a command on a host's data disk.
func (l *Lab) askDisk(ctx context.Context, host string, c labdisk.Command) (diskResponse, error) {
	resp, err := ask.Once[diskRequest, diskResponse](ctx, l.dir.keeperSocket(), diskRequest{Host: host, Command: c})
	if err == nil && resp.Error != "" {
		err = errors.New(resp.Error)
	}
	if err != nil {
		return resp, fmt.Errorf("data disk of %s: %s: %w", host, c.Do, err)
	}
	return resp, nil
}

// ParseDiskCommand reads what to do with a disk from words: fail [read|write|flush]..., slow MILLISECONDS, or one of full,
// hang, heal and stats.
func ParseDiskCommand(words []string) (labdisk.Command, error) {
	c, rest := labdisk.Command{Do: words[0]}, words[1:]
	switch {
	case c.Do == "fail":
		c.What = rest
		return c, nil
	case c.Do == "slow" && len(rest) == 1:
		ms, err := strconv.Atoi(rest[0])
		if err != nil || ms < 0 {
			return c, fmt.Errorf("slow takes a number of milliseconds, not %q", rest[0])
		}
		c.DelayMS = ms
		return c, nil
	case slices.Contains(faultCommands[:], c.Do) && c.Do != "slow" && len(rest) == 0:
		return c, nil
	}
	return c, fmt.Errorf("a disk cannot %q; it can fail [read|write|flush]..., slow MILLISECONDS, full, hang, heal and stats", strings.Join(words, " "))
}

// faultCommands are what Disk passes on: the power belongs to Kill and Start.
var faultCommands = [...]string{"fail", "slow", "full", "hang", "heal", "stats"}

// Disk breaks the host's data disk, heals it, or tells its statistics; see labdisk.Command. A power cut heals nothing.
func (h *Host) Disk(ctx context.Context, c labdisk.Command) (labdisk.Result, error) {
	spec, _ := h.lab.topology.host(h.name) // Lab.Host has checked it
	if !hasDisk(spec) {
		return labdisk.Result{}, fmt.Errorf("host %s has no data disk", h.name)
	}
	if !slices.Contains(faultCommands[:], c.Do) {
		return labdisk.Result{}, fmt.Errorf("a disk cannot %q; it can %s", c.Do, strings.Join(faultCommands[:], ", "))
	}
	resp, err := h.lab.askDisk(ctx, h.name, c)
	return resp.Result, err
}

// attachDisk switches the data disk of a host on and returns its node, if it has one.
func (l *Lab) attachDisk(ctx context.Context, spec HostSpec) ([]guest.Node, error) {
	if !hasDisk(spec) {
		return nil, nil
	}
	resp, err := l.askDisk(ctx, spec.Name, labdisk.Command{Do: "power-on"})
	if err != nil {
		return nil, err
	}
	return []guest.Node{{Path: dataDiskPath, Major: unix.Major(resp.Number), Minor: unix.Minor(resp.Number)}}, nil
}

// releaseDisk takes the block device of a host's data disk away, which nobody uses any more; off already is as good.
func (l *Lab) releaseDisk(ctx context.Context, spec HostSpec) error {
	if !hasDisk(spec) {
		return nil
	}
	resp, err := l.askDisk(ctx, spec.Name, labdisk.Command{Do: "stats"})
	if err != nil || !resp.Stats.On {
		return err
	}
	_, err = l.askDisk(ctx, spec.Name, labdisk.Command{Do: "unplug"})
	return err
}

// diskServer is the keeper's part that owns the data disks.
type diskServer struct {
	dir   labDir
	mu    sync.Mutex
	disks map[string]*labdisk.Disk // opened when first asked for
}

func newDiskServer(dir labDir) *diskServer {
	return &diskServer{dir: dir, disks: map[string]*labdisk.Disk{}}
}

func (d *diskServer) answer(req diskRequest) diskResponse {
	disk, err := d.open(req.Host)
	if err != nil {
		return diskResponse{Result: labdisk.Result{Error: err.Error()}}
	}
	resp := diskResponse{Result: disk.Do(req.Command)}
	if dev, err := disk.Device(); err == nil {
		resp.Number, err = dev.Number64()
		if err != nil && resp.Error == "" {
			resp.Error = err.Error()
		}
	}
	return resp
}

func (d *diskServer) open(host string) (*labdisk.Disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if disk := d.disks[host]; disk != nil {
		return disk, nil
	}
	disk, err := labdisk.Open(labdisk.Config{
		Name: diskName(d.dir, host), Path: d.dir.dataDisk(host), Log: slog.Default().With("disk", host),
	})
	if err != nil {
		return nil, err
	}
	d.disks[host] = disk
	return disk, nil
}

// diskName is what losetup shows.
func diskName(dir labDir, host string) string { return fmt.Sprintf("lab %s %s", dir.name(), host) }
