// Package peer is the brain of a volume: role, disk and connection states, generations, the log's view of U, and what each
// event permits. It is a state machine: events come in with the time and a fresh random number, effects go out in
// the order in which they must be carried out. Names and numbers of states are DRBD 8.4's; what a cluster adds to DRBD's
// rules are DESIGN's S1 to S6.
package peer

import (
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
)

// Env is what an event needs beside itself.
type Env struct {
	Now time.Duration // any steady clock
	// Fresh is random and drawn anew for each event.
	Fresh uint64
	// OOS is the number of bits out of sync.
	OOS uint64
	// Unconfirmed: the peer has not confirmed, by a flush, all it was sent.
	Unconfirmed bool
	// Idle: no request is under way.
	Idle bool
}

// Do is a kind of effect.
type Do uint8

// The effects.
const (
	Store          Do = iota + 1 // write Superblock durably before going on
	StoreEpoch                   // write Number durably as the epoch of this volume before going on
	SaveRole                     // note for a restart of the process whether this is a Primary, and of which epoch (Number)
	SetAllBits                   // set every bit out of sync, and write them durably
	ClearAllBits                 // clear every bit, and write them durably
	WriteBitmap                  // write changed pages of the bitmap durably
	MarkExtents                  // set the bits of all extents in the activity log
	SendSizes                    // P_SIZES with Number as the operator's size in sectors and the flags Word; ID not 0: wants the peer's
	SendFirst                    // P_PROTOCOL, P_SYNC_PARAM, P_SIZES
	SendUUIDs                    // P_UUIDS of UUIDs; the shell adds the count of bits
	SendState                    // P_STATE of Word
	SendBitmap                   // the whole bitmap
	SendSyncUUID                 // P_SYNC_UUID of Number
	SendChange                   // P_STATE_CHG_REQ of Change
	SendConnChange               // P_CONN_ST_CHG_REQ of Change
	SendReply                    // P_STATE_CHG_REPLY of Return
	SendConnReply                // P_CONN_ST_CHG_REPLY of Return
	CloseLink                    // drop the connection because of Text; LinkDown follows if it was up
	DropDisk                     // give the disk up as one that has failed, because of Text
	Grow                         // change the size of the device in use to Number bytes, then call Resized; Word is what becomes of new blocks
	Resize                       // make the device Number bytes long; nothing on it counts
	StartVerify                  // compare the disks: ask, or answer, as the connection's state says
	EndVerify                    // the comparison ended or was broken off
	RunHandler                   // run the handler named Text, if one is configured
	StartSource                  // serve the peer's resync requests
	StartTarget                  // resync from the peer
	EndResync                    // the resync ended or was broken off
	ResyncDurable                // the peer has flushed what the resync wrote
	PathReset                    // make a new write path if the old one is broken
	PathUp                       // writes need the peer's acknowledgement; Word is 1 if it may have lost what it had not flushed
	PathSuspend                  // the connection is lost, its acknowledgements are still needed
	PathGone                     // go on without the peer
	PathDropDisk                 // go on without the local disk
	PathTakeDisk                 // go on with the local disk again
	PathHold                     // acknowledge and start nothing
	PathRelease                  // end of PathHold
	PathBreak                    // fail everything, because of Text
	PathFlush                    // flush what is not known to be durable everywhere
	HealFound                    // a heal that only looks met a split brain; Number blocks were written by the peer, Word is 1 if all count
	HealHold                     // save the blocks that are out of sync, then call HealSaved
	HealEnded                    // the heal failed because of Text; this side is what it was
	Answer                       // answer request ID with Reply
	Log                          // tell the operator Text
	Warn                         // warn the operator with Text
)

// Effect is one thing to do.
type Effect struct {
	Do     Do
	Number uint64
	Word   uint32
	UUIDs  wire.UUIDSet
	Change wire.StateChange
	Return wire.StateReturn
	ID     uint64
	Reply  api.VolumeReply
	Text   string
}

// Settings do not change while the volume runs.
type Settings struct {
	Resource string
	Node     string // this node's name
	PeerNode string
	Minor    int
	// Timings; zero values are block's limits.
	Absence, WantRepeat, Handshake time.Duration
}

// LinkInfo is what was agreed when a connection was made.
type LinkInfo struct {
	Protocol         int
	Features         uint32
	ResolveConflicts bool
	// PeerDevice and PeerInstance come from the hello of a bound peer: its device UUID, and a name of its process's life.
	PeerDevice   uint64
	PeerInstance string
}

// remote is what is known of the peer.
type remote struct {
	role      wire.Role
	disk      generation.DiskState
	uuids     wire.UUIDSet
	hasUUIDs  bool
	sizes     wire.SizesInfo
	hasSizes  bool
	finished  bool // said that its resync is complete
	handshook bool
}

// Machine is the state of a volume. Not safe for concurrent use. Events are its methods; Effects returns what follows.
type Machine struct {
	set Settings
	env Env
	out []Effect

	attached bool
	disk     generation.DiskState
	uuids    generation.Set
	device   uint64 // device UUID
	size     int64  // bytes
	crashed  bool   // was Primary when it last went down uncleanly
	outdated bool   // the peer's disk is outdated or worse
	full     bool   // all bits are being set
	lent     bool   // it has been the source of a resync whose end it has not seen
	discard  bool   // connect --discard-my-data
	// exposed is the generation a Primary without a disk has shown its users; noData and holdNoData: see lostData.
	exposed uint64
	// renaming: the peer has been told that its disk is the only one, and has not told yet what generation that began.
	renaming           bool
	offered            generation.DiskState // of a disk that is Negotiating: what its flags say
	noData, holdNoData bool
	heal               healing

	role      wire.Role
	conn      wire.Conn
	policies  generation.Policies
	verifyAlg string
	wanted    bool   // the operator wants a connection
	reason    string // why StandAlone
	retryAt   time.Duration
	link      LinkInfo
	linkUp    bool
	linkAt    time.Duration
	peer      remote
	instance  string // of the peer the write path knows

	hasView bool
	view    api.VolumeView
	epoch   uint64 // stored durably
	resume  *Resume

	path      pathState
	frozen    string
	userHold  bool // the operator has suspended requests
	userPause bool // the operator wants no resync
	peerPause bool // the peer wants none
	lostAt    time.Duration
	removing  bool
	newGen    uint64
	leaving   bool // Primary without a disk: wants itself out of U
	left      bool // the same: is out of it
	addAsked  bool
	addAt     uint64 // version of U when Add was asked for
	alone     bool   // wants to go on without the peer, of a volume the log may be taking in
	aloneAt   uint64 // version of the record when that began

	resize  resizing
	pending request
}

type pathState uint8

const (
	pathGone pathState = iota
	pathUp
	pathSuspended
)

// request is an operator's request that takes more than one event.
type request struct {
	id       uint64
	verb     api.VolumeVerb
	force    bool
	deadline time.Duration
	// awaits: the peer is Primary as far as is known here, and has not been asked.
	awaits bool
}

// Resume says that an earlier process of this volume was Primary.
type Resume struct {
	// Branch is that of the cluster's log, which Epoch belongs to.
	Branch uint64 `json:"branch,omitempty"`
	Epoch  uint64 `json:"epoch"`
	Bound  bool   `json:"bound"`
	// AddDevice is the peer's disk that was to be taken into U when the log's record was at AddVersion; 0 for none.
	AddDevice  uint64 `json:"add_device,omitempty"`
	AddVersion uint64 `json:"add_version,omitempty"`
	// Diskless: it had no disk, so that the one it had lacks what it has written since.
	Diskless bool `json:"diskless,omitempty"`
}

// Resume is what the next process is to know if this one, Primary in epoch, ends.
func (m *Machine) Resume(epoch uint64) Resume {
	r := Resume{Branch: m.view.Branch, Epoch: epoch, Bound: m.Bound(), Diskless: !m.attached}
	if m.addAsked {
		r.AddDevice, r.AddVersion = m.link.PeerDevice, m.addAt
	}
	return r
}

// New makes the machine of a volume that is not attached. epoch is the one stored durably, 0 if none.
func New(s Settings, epoch uint64) *Machine {
	return &Machine{set: s.withDefaults(), role: wire.Secondary, conn: wire.StandAlone, epoch: epoch,
		peer: remote{disk: generation.DUnknown}}
}

// Effects returns what is to be done, in order, and forgets it.
func (m *Machine) Effects() []Effect {
	out := m.out
	m.out = nil
	return out
}

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }
func (m *Machine) do(list ...Do) {
	for _, d := range list {
		if d == PathRelease && m.userHold {
			continue
		}
		m.emit(Effect{Do: d})
	}
}
func (m *Machine) log(text string)      { m.emit(Effect{Do: Log, Text: text}) }
func (m *Machine) warn(text string)     { m.emit(Effect{Do: Warn, Text: text}) }
func (m *Machine) sendState()           { m.emit(Effect{Do: SendState, Word: m.States().Word()}) }
func (m *Machine) primary() bool        { return m.role == wire.Primary }
func (m *Machine) isSelf(n string) bool { return n == m.set.Node }

// begin takes over an event's environment.
func (m *Machine) begin(e Env) { m.env = e }

// States is the volume's state as DRBD counts it.
func (m *Machine) States() wire.States {
	s := wire.States{Role: m.role, Peer: m.peer.role, Conn: m.conn, Disk: m.disk, PeerDisk: m.peer.disk}
	s.Susp = m.frozen != "" || m.userHold
	s.UserISP, s.PeerISP = m.userPause, m.peerPause
	return s
}

// Attach is what the metadata said when the disk was attached.
type Attach struct {
	UUIDs  generation.Set
	Device uint64
	Flags  metadata.Flags
	Size   int64
}

// Attached: the disk is there, its activity log applied if it was a crashed Primary.
func (m *Machine) Attached(e Env, a Attach, resume *Resume) {
	m.begin(e)
	if m.primary() {
		m.attachedPrimary(a)
		return
	}
	m.attached, m.uuids, m.device, m.size, m.lent = true, a.UUIDs, a.Device, a.Size, false
	m.crashed = a.Flags&(metadata.PrimaryInd|metadata.CrashedPrimary) != 0
	m.outdated = a.Flags&metadata.PeerOutdated != 0
	sb := metadata.Superblock{Flags: a.Flags}
	m.disk = sb.Disk()
	if m.disk == generation.Consistent {
		m.disk = generation.UpToDate
	}
	m.uuids = m.uuids.WithRole(false)
	if resume != nil && (resume.Diskless || !resume.Bound && m.disk <= generation.Inconsistent) { // it lived on the peer's
		m.disk = min(m.disk, generation.Outdated)
		m.warn("an earlier process was Primary without this disk: what it wrote is on the peer only")
		m.emit(Effect{Do: SaveRole})
		resume = nil
	}
	if resume != nil && a.Flags&metadata.PrimaryInd != 0 {
		m.resume = resume
		m.freeze("the volume process was started again; waiting for the daemon")
	}
	m.do(Store)
	if m.adopted() { // the log may have given it a new generation while there was no process
		m.takeGeneration()
	}
	m.tryResume()
	if m.linkUp {
		m.emit(Effect{Do: CloseLink, Text: "a disk was attached"}) // the next connection compares it with the peer's
	}
}

// Detached: the disk was given back, or has failed.
func (m *Machine) Detached(e Env, failed bool) {
	m.begin(e)
	if !m.attached {
		return
	}
	m.attached = false
	m.endHeal("the disk is gone")
	whole := m.disk >= generation.Consistent
	m.disk = generation.Diskless
	if failed {
		m.disk = generation.Failed
	}
	if m.primary() {
		m.withoutDisk(whole)
		return
	}
	if m.linkUp {
		m.emit(Effect{Do: CloseLink, Text: "the disk was detached"})
	}
}

// Superblock fills in what the machine owns of it.
func (m *Machine) Superblock(sb *metadata.Superblock) {
	sb.UUIDs = m.uuids
	sb.Flags &^= metadata.Consistent | metadata.WasUpToDate | metadata.PrimaryInd | metadata.ConnectedInd |
		metadata.PeerOutdated | metadata.CrashedPrimary | metadata.FullSync
	for _, f := range []struct {
		on   bool
		flag metadata.Flags
	}{
		{m.disk > generation.Inconsistent, metadata.Consistent},
		{m.disk > generation.Outdated, metadata.WasUpToDate},
		{m.primary() || m.resume != nil, metadata.PrimaryInd},
		{m.conn >= wire.Connected, metadata.ConnectedInd},
		{m.peer.disk >= generation.Inconsistent && m.peer.disk <= generation.Outdated, metadata.PeerOutdated},
		{m.crashed, metadata.CrashedPrimary},
		{m.full, metadata.FullSync},
	} {
		if f.on {
			sb.Flags |= f.flag
		}
	}
}

// freeze holds acknowledgements back for a reason people can read.
func (m *Machine) freeze(why string) {
	if m.frozen == "" {
		m.do(PathHold)
	}
	m.frozen = why
}

func (m *Machine) thaw() {
	if m.frozen != "" {
		m.frozen = ""
		m.do(PathRelease)
	}
}
