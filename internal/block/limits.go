// Package block holds the named limits of the block plane: every queue, retry, message size and timeout of the packages
// below it.
package block

import "time"

// Requests and memory.
const (
	// MaxIO is the largest read or write handled in one piece, in bytes: DRBD's largest request from protocol 100 on, and
	// the largest a FUSE front end sends.
	MaxIO = 1 << 20
	// MaxDiscard is the largest discard or write-zeroes handled in one piece, in bytes; longer ones are cut. It spans half
	// of the extents one activity-log transaction can name.
	MaxDiscard = 128 << 20
	// MaxInFlight is how many requests of the kernel a volume holds; Submit blocks above it.
	MaxInFlight = 1024
	// MaxPeerBytes bounds the memory of the peer's requests not yet carried out; its connection is not read above it.
	MaxPeerBytes = 64 << 20
	// MaxPeerRequests bounds their number likewise.
	MaxPeerRequests = 4096
	// MaxSendQueue bounds the packets waiting to be sent to a peer; a peer that lets more pile up is dropped.
	MaxSendQueue = 1 << 16
	// DiskDepth is how many reads, writes and flushes of one backing disk the kernel has at a time; more wait here.
	DiskDepth = 256
	// DiskWorkers carry out what the kernel cannot do beside its caller: discards, zeroings, transactions of the metadata,
	// and everything on a disk without asynchronous I/O.
	DiskWorkers = 8
	// MaxEpoch is the number of writes after which a barrier is sent even without a flush, unless max-epoch-size says how many;
	// writes that follow one another on the disk count as one. DRBD's default is 2048, its most 20000. A barrier has both disks
	// flushed, which may last as long as some hundred writes; what may have to be resynced when a peer is lost grows with it.
	MaxEpoch = 16384
)

// Time, for any peer.
const (
	// ConnectRetry is the pause between two attempts to reach an unbound peer. DRBD's connect-int is 10 s; its peers
	// retry sooner because either side may dial.
	ConnectRetry = time.Second
	// BoundConnectRetry is the same between members of a cluster, where a failover waits for it.
	BoundConnectRetry = 100 * time.Millisecond
	// DialTimeout bounds one attempt to reach the peer's port.
	DialTimeout = 2 * time.Second
	// HandshakeTimeout bounds TLS, hello, initial packets, features and authentication of a new connection.
	HandshakeTimeout = 5 * time.Second
	// ForeignPatience is added to HandshakeTimeout for a peer outside a cluster, beside its ping-timeout: the kernel module
	// lets its pair of sockets rest for that long before it speaks.
	ForeignPatience = 10 * time.Second
	// PairTimeout bounds the wait for the second connection of a pair after the first.
	PairTimeout = 5 * time.Second
	// PingInterval and PingTimeout are DRBD's ping-int and ping-timeout defaults.
	PingInterval = 10 * time.Second
	PingTimeout  = 500 * time.Millisecond
	// PeerTimeout is DRBD's timeout default: a peer that answers pings but does not finish a request for so long is lost.
	PeerTimeout = 6 * time.Second
	// KoCount is DRBD's ko-count default: how often timeout passes before the peer is given up.
	KoCount = 7
	// Patience stands for no limit (ko-count 0).
	Patience = 24 * time.Hour
	// FlushTimeout bounds the wait for a barrier's answer: a flush may take far longer than a write.
	FlushTimeout = 30 * time.Second
)

// Time, between members of a cluster.
const (
	// BoundPingInterval and BoundPingTimeout make a silent peer noticed within their sum.
	BoundPingInterval = 500 * time.Millisecond
	BoundPingTimeout  = 500 * time.Millisecond
	// BoundAbsence is how long a Primary waits for a connection to a replica that is in U before it wants it removed.
	BoundAbsence = 1500 * time.Millisecond
	// WantRepeat is the pause between two repetitions of an unanswered want.
	WantRepeat = 200 * time.Millisecond
)

// The volume process.
const (
	// Tick is the pace of everything that waits for time to pass.
	Tick = 50 * time.Millisecond
	// StatusEvery is the pause between two status messages that tell of nothing but counters and progress.
	StatusEvery = 500 * time.Millisecond
	// StatusGap is the least time between two status messages.
	StatusGap = 20 * time.Millisecond
	// DrainTimeout bounds what a role change waits for requests under way.
	DrainTimeout = 10 * time.Second
	// BitmapWriteback is how often changed bitmap pages are written although nothing demands it.
	BitmapWriteback = 5 * time.Second
	// ControlQueue bounds the messages waiting for a daemon that does not read; it is dropped above.
	ControlQueue = 256
)

// Resync.
const (
	// ResyncRequest is the largest piece of a resync, in bytes.
	ResyncRequest = 1 << 20
	// ResyncWindow is how much a target has asked for and not yet written, in bytes, when a resync begins and the application
	// is idle; then it follows the rate, between ResyncWindowLeast and ResyncWindowMost.
	ResyncWindow      = 8 << 20
	ResyncWindowLeast = 2 << 20
	ResyncWindowMost  = 24 << 20
	// ResyncYield is how long what has been asked for may keep the disks when the application begins.
	ResyncYield = 80 * time.Millisecond
	// ResyncBusyWindow is the same while the application writes.
	ResyncBusyWindow = 1 << 20
	// ResyncBusyFor is how long after its last request the application counts as active.
	ResyncBusyFor = 200 * time.Millisecond
	// ResyncBurst is how much of its rate a resync with a ceiling may ask for at once after a pause.
	ResyncBurst = 100 * time.Millisecond
	// ResyncMinRate is what a resync gets whatever the application does, in bytes per second.
	ResyncMinRate = 4 << 20
	// VerifyRequest is the largest piece of an online verify, in bytes, and VerifyWindow how many are under way.
	VerifyRequest = 64 << 10
	VerifyWindow  = 32
	// HealInline is how many bytes a heal saves while the peer waits with its writes; if more differ, the connection is given
	// back meanwhile.
	HealInline = 16 << 20
	// HandlerTimeout bounds the run of a handler of the configuration.
	HandlerTimeout = 5 * time.Minute
	// ResyncMarks and ResyncMarkEvery make the window over which the speed is shown.
	ResyncMarks     = 8
	ResyncMarkEvery = time.Second
)
