package api

// The guard (one per host, `holdfast guard`) listens on paths.Root.GuardSocket, a unix stream socket with the frames of
// frame.go. Descriptors travel beside a frame as SCM_RIGHTS. It holds the /dev/fuse descriptors of all volumes, so
// that a volume process can be replaced under a mounted filesystem, and it enforces the lease deadline alone (S6).

// GuardProtocol is the version of the guard's messages.
const GuardProtocol = 1

// GuardRequest is one frame to the guard; it answers each with a GuardReply.
type GuardRequest struct {
	Version int `json:"version"`
	// Do is one of: hold (with a descriptor), get (answer carries the descriptor), release, lease, disarm, clear, status.
	Do string `json:"do"`
	// Name of a held descriptor: the volume's resource name.
	Name string `json:"name,omitempty"`
	// Connection is the number of the FUSE connection below /sys/fs/fuse/connections, for hold.
	Connection uint32 `json:"connection,omitempty"`
	// Meta is opaque text kept with the descriptor (the volume process stores its mount point and loop device there).
	Meta string `json:"meta,omitempty"`
	// Deadline, for lease: the CLOCK_BOOTTIME nanoseconds after which everything must be stopped. It never moves back.
	// The guard arms itself with the first one.
	Deadline int64 `json:"deadline,omitempty"`
	// Session is the lease session (see cluster/state); a deadline of a session that has been enforced is refused until
	// `clear` names a newer session.
	Session uint64 `json:"session,omitempty"`
}

// GuardReply answers a GuardRequest.
type GuardReply struct {
	Error string `json:"error,omitempty"`
	// Meta and Connection of the descriptor, for get.
	Meta       string `json:"meta,omitempty"`
	Connection uint32 `json:"connection,omitempty"`
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
