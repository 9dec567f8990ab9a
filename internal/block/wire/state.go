package wire

import "holdfast/internal/block/generation"

// Role is a node's role; the numbers are the wire's.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota
	Primary
	Secondary
)

// String gives the role as `drbdadm role` prints it.
func (r Role) String() string {
	switch r {
	case Primary:
		return "Primary"
	case Secondary:
		return "Secondary"
	}
	return "Unknown"
}

// Conn is a connection state; the numbers are the wire's, and their order means something: from Connected on the
// handshake is done.
type Conn uint8

// The connection states of DRBD 8.4.
const (
	StandAlone Conn = iota
	Disconnecting
	Unconnected
	Timeout
	BrokenPipe
	NetworkFailure
	ProtocolError
	TearDown
	WFConnection
	WFReportParams
	Connected
	StartingSyncS
	StartingSyncT
	WFBitMapS
	WFBitMapT
	WFSyncUUID
	SyncSource
	SyncTarget
	VerifyS
	VerifyT
	PausedSyncS
	PausedSyncT
	Ahead
	Behind
)

// String gives the state as `drbdadm cstate` prints it.
func (c Conn) String() string {
	names := [...]string{"StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe", "NetworkFailure",
		"ProtocolError", "TearDown", "WFConnection", "WFReportParams", "Connected", "StartingSyncS", "StartingSyncT",
		"WFBitMapS", "WFBitMapT", "WFSyncUUID", "SyncSource", "SyncTarget", "VerifyS", "VerifyT", "PausedSyncS",
		"PausedSyncT", "Ahead", "Behind"}
	if int(c) < len(names) {
		return names[c]
	}
	return "Unknown"
}

// States is a volume's state as one side sees it, and as P_STATE carries it, in 32 bits.
type States struct {
	Role, Peer     Role
	Conn           Conn
	Disk, PeerDisk generation.DiskState
	Susp           bool // I/O frozen
	AfterDep       bool // resync paused: another resource syncs first
	PeerISP        bool // resync paused by the peer's operator
	UserISP        bool // resync paused by the operator
	SuspNoData     bool
	SuspFencing    bool
}

// Where the fields of a state are: shift and width in bits.
const (
	shiftPeer, widthRole = 2, 2
	shiftConn, widthConn = 4, 5
	shiftDisk, widthDisk = 9, 4
	shiftPeerDisk        = 13
	shiftFlags           = 17
)

func (s *States) flags() [6]*bool {
	return [...]*bool{&s.Susp, &s.AfterDep, &s.PeerISP, &s.UserISP, &s.SuspNoData, &s.SuspFencing}
}

// Word packs the state.
func (s States) Word() uint32 {
	w := uint32(s.Role) | uint32(s.Peer)<<shiftPeer | uint32(s.Conn)<<shiftConn | uint32(s.Disk)<<shiftDisk |
		uint32(s.PeerDisk)<<shiftPeerDisk
	for i, f := range s.flags() {
		if *f {
			w |= 1 << (shiftFlags + i)
		}
	}
	return w
}

// StatesOf unpacks a state. Values outside the enumerations are kept; their String is "Unknown".
func StatesOf(w uint32) States {
	field := func(shift, width int) uint32 { return w >> shift & (1<<width - 1) }
	s := States{
		Role: Role(field(0, widthRole)), Peer: Role(field(shiftPeer, widthRole)), Conn: Conn(field(shiftConn, widthConn)),
		Disk: generation.DiskState(field(shiftDisk, widthDisk)), PeerDisk: generation.DiskState(field(shiftPeerDisk, widthDisk)),
	}
	for i, f := range s.flags() {
		*f = field(shiftFlags+i, 1) != 0
	}
	return s
}

// Masks of a StateChange: which fields of Value count.
const (
	MaskRole     = 1<<widthRole - 1
	MaskPeer     = MaskRole << shiftPeer
	MaskConn     = (1<<widthConn - 1) << shiftConn
	MaskDisk     = (1<<widthDisk - 1) << shiftDisk
	MaskPeerDisk = (1<<widthDisk - 1) << shiftPeerDisk
)

// StateReturn is the answer to a StateChange: positive for yes.
type StateReturn int32

// The answers of DRBD 8.4.
const (
	Success            StateReturn = 1
	NothingToDo        StateReturn = 2
	TwoPrimaries       StateReturn = -1
	NoUpToDateDisk     StateReturn = -2
	NoLocalDisk        StateReturn = -4
	NoRemoteDisk       StateReturn = -5
	ConnectedOutdates  StateReturn = -6
	PrimaryNop         StateReturn = -7
	ResyncRunning      StateReturn = -8
	AlreadyStandAlone  StateReturn = -9
	FailedByPeer       StateReturn = -10
	IsDiskless         StateReturn = -11
	DeviceInUse        StateReturn = -12
	NoNetConfig        StateReturn = -13
	NoVerifyAlgorithm  StateReturn = -14
	NeedConnection     StateReturn = -15
	LowerThanOutdated  StateReturn = -16
	NotSupported       StateReturn = -17
	InTransientState   StateReturn = -18
	ConcurrentChange   StateReturn = -19
	OtherVolumePrimary StateReturn = -20
	OutdateWithoutConn StateReturn = -21
)

// String gives the sentence drbdsetup prints for a refusal.
func (r StateReturn) String() string {
	switch r {
	case Success, NothingToDo:
		return "Success"
	case TwoPrimaries:
		return "Multiple primaries not allowed by config"
	case NoUpToDateDisk:
		return "Need access to UpToDate data"
	case NoLocalDisk:
		return "Can not resync without local disk"
	case NoRemoteDisk:
		return "Can not resync without remote disk"
	case ConnectedOutdates:
		return "Refusing to be Outdated while Connected"
	case PrimaryNop:
		return "Refusing to be Primary while peer is not outdated"
	case ResyncRunning:
		return "Can not start OV/resync since it is already active"
	case AlreadyStandAlone:
		return "Can not disconnect a StandAlone device"
	}
	return r.more()
}

func (r StateReturn) more() string {
	switch r {
	case FailedByPeer:
		return "State change was refused by peer node"
	case IsDiskless:
		return "Device is diskless, the requested operation requires a disk"
	case DeviceInUse:
		return "Device is held open by someone"
	case NoNetConfig:
		return "Have no net/connection configuration"
	case NoVerifyAlgorithm:
		return "Need a verify algorithm to start online verify"
	case NeedConnection:
		return "Need a connection to start verify or resync"
	case NotSupported:
		return "Peer does not support protocol"
	case LowerThanOutdated:
		return "Disk state is lower than outdated"
	case InTransientState:
		return "In transient state, retry after next state change"
	case ConcurrentChange:
		return "Concurrent state changes detected and aborted"
	case OtherVolumePrimary:
		return "Other vol primary on peer not allowed by config"
	case OutdateWithoutConn:
		return "Need a connection for a graceful disconnect/outdate peer"
	}
	return "Unknown error"
}
