// Package kernel is the seam between the replicated volume and the kernel's side of its block device. A front end
// (fuseloop; later nbd and ublk) turns the kernel's requests into Requests and submits them to a Target; the target
// answers each exactly once, from any goroutine, in any order.
package kernel

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
	// DevicePath is the block device node the kernel gave, such as /dev/loop7.
	DevicePath() string
	// InUse tells who holds the device: mounted anywhere, or opened by a process; empty means nobody. The texts are for
	// people: `mounted on /var/lib/mysql`, `open in process 412 (mariadbd)`.
	InUse() ([]string, error)
	// Close takes the kernel device away. It fails, changing nothing, while the device is in use.
	Close() error
	// Abort fails every request in flight and to come with EIO at once, whoever uses the device.
	Abort() error
}
