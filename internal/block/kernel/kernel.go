// Package kernel is the seam between the replicated volume and the kernel's side of its block device. A front end
// (fuseloop, nbd, ublk) turns the kernel's requests into Requests and submits them to a Target; the target
// answers each exactly once, from any goroutine, in any order.
package kernel

import (
	"errors"
	"fmt"
	"log/slog"

	"holdfast/internal/api"
)

// Op is what the kernel asks for.
type Op uint8

// The operations of a block device. Flush carries no range.
const (
	Read Op = iota + 1
	Write
	Flush
	Discard
	WriteZeroes
)

// Request is one operation on the device. Front ends keep Requests in a pool: nothing is allocated per request.
type Request struct {
	Op     Op
	FUA    bool  // Write: completes only when this write is durable on every replica that must have it.
	Unmap  bool  // WriteZeroes: it may be done by deallocating, as a Discard whose range reads as zeros afterwards.
	Offset int64 // bytes, a multiple of 512
	Length int64 // bytes, a multiple of 512; at most block.MaxIO, for Discard and WriteZeroes block.MaxDiscard
	// Data is the payload of a Write or the buffer a Read fills: Length bytes of page-aligned memory that belongs to
	// the target until it completes the request. nil for the other operations.
	Data []byte
	// Owner gets the answer.
	Owner Completer
}

// Completer receives the answer to a request: nil, or an error that the front end turns into an errno (EIO unless it
// wraps a syscall.Errno). It is called exactly once for each request and must not block.
type Completer interface {
	Complete(r *Request, err error)
}

// Target is the device as a front end sees it. Submit never blocks for I/O or the network; it may block for a bounded
// queue to have room.
type Target interface {
	Submit(r *Request)
	// Size is the capacity in bytes offered to the kernel.
	Size() int64
}

// Resizer is a Frontend whose device can follow a change of the target's size while it is in use.
type Resizer interface {
	// Resize has the kernel look at Target.Size again.
	Resize() error
}

// Frontend is a running kernel device.
type Frontend interface {
	// Kind is what made it, one of api's Front constants.
	Kind() string
	// DevicePath is the block device node the kernel gave, such as /dev/loop7.
	DevicePath() string
	// InUse tells who holds the device: mounted anywhere, or opened by a process; empty means nobody. The texts are for
	// people: `mounted on /var/lib/mysql`, `open in process 412 (mariadbd)`.
	InUse() ([]string, error)
	// Close takes the kernel device away. It fails, changing nothing, while the device is in use (blockdev.ErrInUse).
	Close() error
	// Abort fails every request in flight and to come with EIO at once, whoever uses the device.
	Abort() error
}

// Holder keeps what a device needs to outlive a process that may be replaced, and ends the device when the node's lease is
// over: the guard's client.
type Holder interface {
	// Hold keeps a device under a name, with a copy of descriptor fd, -1 for none. What was held under it is let go of. It is
	// refused once the node's lease has ended.
	Hold(name string, device api.GuardHeld, fd int) error
	// Get returns what is held under a name, with a descriptor of the caller's own, -1 if there is none. The Kind is empty if
	// nothing is held.
	Get(name string) (device api.GuardHeld, fd int, err error)
	// Release lets go of it; no error if there is nothing.
	Release(name string) error
}

// ErrNotHeld is what the error of a front end's Open wraps when the guard does not take the device. Another front end's would
// fare no better.
var ErrNotHeld = errors.New("leave the device with the guard")

// Config says what device a front end is to offer.
type Config struct {
	// Name is the resource, for people and as the name in the guard.
	Name string
	// Identity marks the device among all of this host, where the kernel keeps such a mark. Empty is "holdfast:" and Name.
	Identity string
	// Target gets the requests.
	Target Target
	// Guard keeps the device across a restart of this process; nil for a device that shall fail with the process.
	Guard Holder
	// BlockSize is the logical block size offered, in bytes, 512 to 4096: the backing disk's, as DRBD does it. 0 is 4096
	// if that divides the size, else 512.
	BlockSize int
	// ReadOnly has the kernel refuse writes, where it can.
	ReadOnly bool
	Log      *slog.Logger
}

// WithDefaults fills in what is not set. It fails if the device cannot have its size.
func (c Config) WithDefaults() (Config, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Identity == "" {
		c.Identity = "holdfast:" + c.Name
	}
	size := c.Target.Size()
	if c.BlockSize == 0 {
		c.BlockSize = 4096
		if size%4096 != 0 {
			c.BlockSize = 512
		}
	}
	if size <= 0 || size%int64(c.BlockSize) != 0 {
		return c, fmt.Errorf("volume %s: size %d is not a positive multiple of the block size %d", c.Name, size, c.BlockSize)
	}
	return c, nil
}
