package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"holdfast/internal/lab/ask"
	"holdfast/internal/loopdev"
)

// diskOp is what the keeper is asked to do with a host's data disk.
type diskOp string

const (
	diskAttach   diskOp = "attach"    // give it a loop device, switching it on
	diskPowerOff diskOp = "power-off" // drop what has not been flushed and fail all I/O from now on
	diskDetach   diskOp = "detach"    // take its loop device away
)

type diskRequest struct {
	Op   diskOp `json:"op"`
	Host string `json:"host"`
}

type diskResponse struct {
	Error string `json:"error,omitempty"`
	// Device is the number (st_rdev) of the block device after an attach.
	Device uint64 `json:"device,omitempty"`
}

// askKeeper has the keeper perform an operation on a host's data disk.
func askKeeper(ctx context.Context, dir labDir, req diskRequest) (diskResponse, error) {
	resp, err := ask.Once[diskRequest, diskResponse](ctx, dir.keeperSocket(), req)
	if err == nil && resp.Error != "" {
		err = errors.New(resp.Error)
	}
	if err != nil {
		return resp, fmt.Errorf("data disk of %s: %s: %w", req.Host, req.Op, err)
	}
	return resp, nil
}

// diskServer is the keeper's part that owns the data disks.
type diskServer struct {
	dir   labDir
	mu    sync.Mutex
	loops map[string]*loopdev.Device // of the attached disks
}

func newDiskServer(dir labDir) *diskServer {
	return &diskServer{dir: dir, loops: map[string]*loopdev.Device{}}
}

func (d *diskServer) answer(req diskRequest) diskResponse {
	d.mu.Lock()
	defer d.mu.Unlock()
	resp, err := d.perform(req)
	if err != nil {
		resp.Error = err.Error()
	}
	return resp
}

func (d *diskServer) perform(req diskRequest) (diskResponse, error) {
	switch req.Op {
	case diskAttach:
		return d.attach(req.Host)
	case diskPowerOff:
		return diskResponse{}, nil
	case diskDetach:
		return diskResponse{}, d.detach(req.Host)
	}
	return diskResponse{}, fmt.Errorf("unknown operation %q", req.Op)
}

// attach gives the disk a loop device, which frees itself when this process and all other users are gone.
func (d *diskServer) attach(host string) (diskResponse, error) {
	if d.loops[host] != nil {
		return diskResponse{}, errors.New("it is attached already")
	}
	file, err := os.OpenFile(d.dir.dataDisk(host), os.O_RDWR, 0)
	if err != nil {
		return diskResponse{}, err
	}
	defer file.Close()
	dev, err := loopdev.Attach(loopdev.Config{FD: int(file.Fd()), Name: "lab disk " + host})
	if err != nil {
		return diskResponse{}, err
	}
	d.loops[host] = dev
	number, err := dev.Number64()
	return diskResponse{Device: number}, err
}

func (d *diskServer) detach(host string) error {
	dev := d.loops[host]
	if dev == nil {
		return nil
	}
	delete(d.loops, host)
	gone, err := dev.Detach()
	dev.Release()
	if err == nil && !gone {
		err = fmt.Errorf("something still has %s open", dev.Path)
	}
	return err
}
