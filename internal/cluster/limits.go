// Package cluster holds the named limits of the cluster plane: every interval, queue length, message size and retry of
// the packages below it. Constants only, so that cores and shells alike may read them.
package cluster

import "time"

// Raft's clock. An election begins after ElectionTicks to twice that many ticks, less one, without a leader.
const (
	// TickEvery is one tick of Raft's logical clock.
	TickEvery = 40 * time.Millisecond
	// ElectionTicks without a word from the leader start an election (320 to 600 ms, drawn by Raft).
	ElectionTicks = 8
	// RaftHeartbeatTicks are between two heartbeats of the Raft leader (80 ms).
	RaftHeartbeatTicks = 2
)

// Failure detection and the lease (DESIGN S6).
const (
	// Heartbeat is the interval between two heartbeats on every link, and between two lease renewals.
	Heartbeat = 100 * time.Millisecond
	// DefaultToken is how long a member may be silent before it is suspected; corosync.conf's token.
	DefaultToken = 1000 * time.Millisecond
	// MinToken and MaxToken bound the token a user may set.
	MinToken = 300 * time.Millisecond
	MaxToken = 60 * time.Second
	// LeaseLength is L with the default token: a grant lasts this long from the stamp of its renewal. It must be longer
	// than an election whose votes are split once (1.2 s and its rounds) plus a renewal interval.
	LeaseLength = 1500 * time.Millisecond
	// LeaseMargin is what the leader adds to L before it proposes an expiry: clock drift, and the time to stop hard.
	LeaseMargin = 200 * time.Millisecond
	// LeaseOverToken is L minus token, kept when a user sets another token.
	LeaseOverToken = LeaseLength - DefaultToken
	// MaxRenewalsInFlight bounds the renewals a holder remembers; the oldest is forgotten first.
	MaxRenewalsInFlight = 64
)

// The log and its state machine.
const (
	// MaxCommand bounds one encoded command, in bytes.
	MaxCommand = 4 << 20
	// MaxSnapshot bounds an encoded snapshot, in bytes.
	MaxSnapshot = 64 << 20
	// MaxMembers bounds the members of a cluster.
	MaxMembers = 64
	// MaxAddrs is the number of links between two members.
	MaxAddrs = 8
	// MaxVolumes bounds the volumes of a cluster.
	MaxVolumes = 1024
	// MaxReplicas bounds U.
	MaxReplicas = 16
	// MaxBalancerRules bounds the rules.
	MaxBalancerRules = 1024
	// BranchSessions is how many sessions a lost branch of the log may have given a member after the fork.
	BranchSessions = 1 << 20
	// MaxFormerBranches bounds the branches of the log that are remembered as left behind; a heartbeat carries them all.
	MaxFormerBranches = 64
	// MaxOperatorRecords are kept; the oldest goes first.
	MaxOperatorRecords = 128
	// MaxStatusEdits bounds the edits of one CIBStatus command.
	MaxStatusEdits = 4096
	// MaxName bounds names of nodes, volumes and rules, in bytes.
	MaxName = 255
	// ProposalWindow is how many log entries back a repeated proposal is recognised.
	ProposalWindow = 2048
	// SnapshotEntries applied since the last snapshot make the next one.
	SnapshotEntries = 4096
	// SnapshotTrailing entries before a snapshot are kept for followers that lag a little.
	SnapshotTrailing = 1024
	// MaxAppendBytes bounds the entries of one append message (a larger single entry still goes).
	MaxAppendBytes = 1 << 20
	// MaxInflightAppends bounds the append messages under way to one follower.
	MaxInflightAppends = 128
	// MaxUncommittedBytes bounds what a leader takes before it is committed.
	MaxUncommittedBytes = 32 << 20
	// MaxProposals bounds the proposals waiting for their outcome on this node.
	MaxProposals = 4096
	// MaxReads bounds the reads waiting for their index on this node.
	MaxReads = 1024
	// RaftInbox is the queue of received Raft messages; what does not fit is dropped, Raft sends again.
	RaftInbox = 4096
	// ProposalRetry is how long a proposal waits before it is sent again (with the same identity).
	ProposalRetry = 400 * time.Millisecond
	// ReadRetry is how long a read waits before it asks again.
	ReadRetry = 300 * time.Millisecond
	// LearnerLag is how many entries a learner may lag and still be promoted.
	LearnerLag = 64
	// CareEvery is the interval of the leader's housekeeping; ConfChangeRetry the time after which a change of the voters
	// that did not come about is begun again.
	CareEvery       = 200 * time.Millisecond
	ConfChangeRetry = 1 * time.Second
	// LeaderSettle is how long a leader leads before it may hand over.
	LeaderSettle = 2 * time.Second
	// TransferRetry is the time between two attempts to hand leadership over.
	TransferRetry = 3 * time.Second
	// StopTimeout bounds the wait for the log's goroutine at a stop.
	StopTimeout = 10 * time.Second
	// SnapshotResend is how long an unanswered snapshot waits before it counts as failed.
	SnapshotResend = 10 * time.Second
)

// Links between members.
const (
	// DialTimeout bounds connecting to a peer, the TLS handshake included.
	DialTimeout = 2 * time.Second
	// BackoffMin and BackoffMax bound the pause between two attempts to connect.
	BackoffMin = 50 * time.Millisecond
	BackoffMax = 1 * time.Second
	// MaxPeerFrame bounds one frame between members; a snapshot is the largest.
	MaxPeerFrame = MaxSnapshot + MaxCommand
	// MaxContactFrame bounds one frame before a cluster exists.
	MaxContactFrame = 1 << 20
	// RaftQueue, BeatQueue and BulkQueue are the frames waiting for one peer, by class.
	RaftQueue = 1024
	BeatQueue = 4
	BulkQueue = 4
	// MaxCalls bounds the calls under way to one peer, MaxServed those served at once for one connection.
	MaxCalls  = 256
	MaxServed = 64
	// LinkIdle closes a connection on which nothing came for so long (every class sends keep-alives, LinkKeepAlive).
	LinkIdle      = 3 * time.Second
	LinkKeepAlive = 500 * time.Millisecond
	// BeatIdle and BeatKeepAlive are the same for heartbeats, which must find out sooner.
	BeatIdle      = 1 * time.Second
	BeatKeepAlive = 250 * time.Millisecond
	// MaxBeat bounds a heartbeat, MaxHello the first frame of a connection.
	MaxBeat  = 64 << 10
	MaxHello = 4 << 10
	// WriteTimeout bounds writing one frame; a peer that takes nothing for so long is disconnected.
	WriteTimeout = 2 * time.Second
	// BulkWriteTimeout is the same for a snapshot.
	BulkWriteTimeout = 30 * time.Second
	// MaxConns bounds the connections accepted at once; MaxHandshakes those of them not yet authenticated.
	MaxConns      = 1024
	MaxHandshakes = 64
	// ContactTimeout bounds one contact call; CallTimeout one call between members whose caller sets no deadline.
	ContactTimeout = 20 * time.Second
	CallTimeout    = 60 * time.Second
	// UnreachableAfter is how long calls to a disconnected peer wait for a connection before they fail.
	UnreachableAfter = 500 * time.Millisecond
)

// First contact and certificates.
const (
	// AuthAttempts failures from one address within AuthWindow close the door to it until the window has passed.
	AuthAttempts = 5
	AuthWindow   = 60 * time.Second
	// AuthDelay is how long a failed password is answered later.
	AuthDelay = 1 * time.Second
	// AuthHelperTimeout bounds the PAM helper.
	AuthHelperTimeout = 10 * time.Second
	// MaxAuthSources bounds the remembered addresses of failures.
	MaxAuthSources = 1024
	// CertYears is the life of the CA and the certificates it issues. There is no renewal traffic to fail in between;
	// CertBackdate allows for clocks that disagree.
	CertYears    = 20
	CertBackdate = 48 * time.Hour
)

// Operations on resources.
const (
	// DefaultOpTimeout is an operation's timeout when the request has none; Pacemaker's default.
	DefaultOpTimeout = 20 * time.Second
	// MaxQueuedOps bounds the operations waiting for one resource.
	MaxQueuedOps = 64
	// MaxOutbox bounds the results waiting to be taken by a leader; beyond it the oldest is dropped, and logged.
	MaxOutbox = 4096
	// ReportRetryMin and ReportRetryMax bound the pause between two attempts to deliver a result.
	ReportRetryMin = 50 * time.Millisecond
	ReportRetryMax = 250 * time.Millisecond
	// MaxFinishedKeys are the operations remembered by key, so that one asked for twice runs once.
	MaxFinishedKeys = 256
	// DeathCheckGap is the least time between two monitors caused by the death of a resource's processes.
	DeathCheckGap = 1 * time.Second
	// MaxWatched bounds the processes watched for one resource.
	MaxWatched = 64
	// HardStopGrace is how long processes may take to disappear after their cgroup was killed.
	HardStopGrace = 2 * time.Second
	// OrphanPoll is how often an operation left by an earlier daemon is looked at.
	OrphanPoll = 50 * time.Millisecond
	// ReportGap is left in the numbers of a node's reports by each daemon of a boot: more than its predecessor can have
	// reported without being able to save its table.
	ReportGap = 1 << 32
	// MaxExitReason bounds an exit reason on its way to the CIB, in bytes.
	MaxExitReason = 1024
)

// The controller.
const (
	// MaxControllerInbox bounds the results and answers waiting for the controller.
	MaxControllerInbox = 1024
	// MaxResultBatch bounds the results recorded in one log entry.
	MaxResultBatch = 64
	// RecordTimeout bounds one attempt to record results in the log.
	RecordTimeout = 5 * time.Second
	// DispatchTimeout bounds one attempt to hand an operation to a node, or to ask what it is doing; DispatchRetry is the
	// pause before the next.
	DispatchTimeout = 2 * time.Second
	DispatchRetry   = 100 * time.Millisecond
	// ActionGrace is how long after its timeout an action's result is awaited (Pacemaker's cluster-delay).
	ActionGrace = 60 * time.Second
	// NoTimeoutAction bounds actions that have no timeout of their own: a clean leave, fencing.
	NoTimeoutAction = 10 * time.Minute
	// DefaultRecheck is cluster-recheck-interval when it is not set.
	DefaultRecheck = 15 * time.Minute
	// MaxSpins transitions in a row without anything having changed from outside make the controller pause SpinPause
	// before each further one.
	MaxSpins  = 10
	SpinPause = 1 * time.Second
)
