package api

import "fmt"

// The guard (one per host, `holdfast guard`) listens on paths.Root.GuardSocket, a unix stream socket with the frames of
// frame.go. Descriptors travel beside a frame as SCM_RIGHTS. It holds what the kernel devices of all volumes need to
// outlive their processes, so that a volume process can be replaced under a mounted filesystem, and it enforces the lease
// deadline alone (S6).

// GuardProtocol is the version of the guard's messages.
const GuardProtocol = 1

// GuardRequest is one frame to the guard; it answers each with a GuardReply.
type GuardRequest struct {
	Version int `json:"version"`
	// Do is one of: hold (with a descriptor), get (answer carries the descriptor), release, lease, disarm, clear, status.
	Do string `json:"do"`
	// Name of a held device: the volume's resource name.
	Name string `json:"name,omitempty"`
	// GuardHeld is the device, for hold.
	GuardHeld
	// Deadline, for lease: the CLOCK_BOOTTIME nanoseconds after which everything must be stopped. It never moves back.
	// The guard arms itself with the first one.
	Deadline int64 `json:"deadline,omitempty"`
	// Session is the lease session (see cluster/state); a deadline of a session that has been enforced is refused until
	// `clear` names a newer session.
	Session uint64 `json:"session,omitempty"`
}

// GuardHeld is a volume's kernel device, as the guard keeps it for the next process and ends it at the deadline.
type GuardHeld struct {
	// Front is the front end, one of the Front constants; empty in a request of a version that had one only: FrontFUSE.
	Front string `json:"front,omitempty"`
	// Connection, with FrontFUSE, is the number of the FUSE connection below /sys/fs/fuse/connections. The descriptor beside
	// it is that of /dev/fuse, or none.
	Connection uint32 `json:"connection,omitempty"`
	// Device, with the others, is N of /dev/nbdN or /dev/ublkbN. With FrontNBD the descriptor beside it is the kernel's end
	// of the socket.
	Device uint32 `json:"device,omitempty"`
	// Process, with FrontUBLK, is the process that serves the device.
	Process int `json:"process,omitempty"`
	// Meta is opaque text kept with the device (fuseloop stores its loop device there).
	Meta string `json:"meta,omitempty"`
}

// The front ends of a volume.
const (
	FrontFUSE = "fuse"
	FrontNBD  = "nbd"
	FrontUBLK = "ublk"
)

// Kind is the front end; empty if nothing is held.
func (h GuardHeld) Kind() string {
	if h.Front == "" && h.Connection != 0 {
		return FrontFUSE
	}
	return h.Front
}

// Describe names the device for people.
func (h GuardHeld) Describe() string {
	if h.Kind() == FrontFUSE {
		return fmt.Sprintf("FUSE connection %d", h.Connection)
	}
	return fmt.Sprintf("%s device %d", h.Kind(), h.Device)
}

// GuardReply answers a GuardRequest.
type GuardReply struct {
	Error string `json:"error,omitempty"`
	// GuardHeld is the device, for get; empty if nothing is held.
	GuardHeld
	// State, for status: disarmed, armed, enforcing, enforced, failed.
	State    string `json:"state,omitempty"`
	Session  uint64 `json:"session,omitempty"`
	Deadline int64  `json:"deadline,omitempty"`
	// Floor is the oldest session that may begin, for status; 0 when any may.
	Floor uint64   `json:"floor,omitempty"`
	Held  []string `json:"held,omitempty"`
	// Survivors are processes still there after enforcement (state failed).
	Survivors []int `json:"survivors,omitempty"`
}
