package api

// The control socket of a volume process (paths.Root.VolumeSocket) carries VolumeMessage frames both ways (see
// frame.go). The daemon connects; at most one daemon at a time, a newer connection replaces the older one. The process
// works on without any daemon: I/O goes on, acknowledgements freeze only where a rule demands the log.

// VolumeProtocol is the version of the messages; both ends refuse another major version with a clear error.
const VolumeProtocol = 1

// VolumeMessage is one frame. Exactly one of the pointers is set; ID pairs Do with Reply.
type VolumeMessage struct {
	ID     uint64        `json:"id,omitempty"`
	Hello  *VolumeHello  `json:"hello,omitempty"`  // both ways, first frame
	Do     *VolumeDo     `json:"do,omitempty"`     // daemon -> volume
	Reply  *VolumeReply  `json:"reply,omitempty"`  // volume -> daemon
	View   *VolumeView   `json:"view,omitempty"`   // daemon -> volume, whenever the log's record of this volume changed
	Status *VolumeStatus `json:"status,omitempty"` // volume -> daemon, after every change (coalesced), at least every second while syncing
	Want   *VolumeWant   `json:"want,omitempty"`   // volume -> daemon: a change of U it needs; repeated until a View shows it or it is moot
}

// VolumeHello opens a control connection.
type VolumeHello struct {
	Version  int    `json:"version"`
	Resource string `json:"resource"`
	PID      int    `json:"pid"`
}

// VolumeVerb is an operation on a volume, named as drbdadm names it.
type VolumeVerb string

// The verbs. Up is attach and connect; Down is disconnect, detach and the end of the process.
const (
	VolumeUp               VolumeVerb = "up"
	VolumeDown             VolumeVerb = "down"
	VolumeAttach           VolumeVerb = "attach"
	VolumeDetach           VolumeVerb = "detach"
	VolumeConnect          VolumeVerb = "connect"
	VolumeDisconnect       VolumeVerb = "disconnect"
	VolumePrimary          VolumeVerb = "primary"
	VolumeSecondary        VolumeVerb = "secondary"
	VolumeInvalidate       VolumeVerb = "invalidate"
	VolumeInvalidateRemote VolumeVerb = "invalidate-remote"
	VolumeVerify           VolumeVerb = "verify"
	VolumePauseSync        VolumeVerb = "pause-sync"
	VolumeResumeSync       VolumeVerb = "resume-sync"
	VolumeSuspendIO        VolumeVerb = "suspend-io"
	VolumeResumeIO         VolumeVerb = "resume-io"
	VolumeOutdate          VolumeVerb = "outdate"
	// VolumeResize changes the size of the device while it is in use, to what both disks have room for or to SizeBytes.
	VolumeResize VolumeVerb = "resize"
	// VolumeAdjust reads the configuration again and applies what differs; VolumeShow gives what runs, in Config.
	VolumeAdjust VolumeVerb = "adjust"
	VolumeShow   VolumeVerb = "show"
	// VolumeRate bounds the resync under way, and later ones, until the volume is adjusted or its process ends.
	VolumeRate VolumeVerb = "rate"
	// VolumeHeal gives this side of a split brain up, after its blocks have been saved; VolumeHealUndo writes them back.
	// Both are answered when they have begun: VolumeStatus.Heal tells how far they are.
	VolumeHeal     VolumeVerb = "heal"
	VolumeHealUndo VolumeVerb = "heal-undo"
)

// VolumeDo asks a volume process to do something.
type VolumeDo struct {
	Verb VolumeVerb `json:"verb"`
	// Volume is the number of the one volume it is about; nil for all of the resource.
	Volume *int `json:"volume,omitempty"`
	// Force is --force: primary makes an Inconsistent disk UpToDate. Never overrides the rules of a bound volume.
	Force bool `json:"force,omitempty"`
	// DiscardMyData is --discard-my-data of connect: in a split brain this side is given up. Unbound volumes only.
	DiscardMyData bool `json:"discard_my_data,omitempty"`
	// Epoch is the epoch a bound volume is promoted in; the promotion is refused if the last View differs.
	Epoch uint64 `json:"epoch,omitempty"`
	// RateKiB is the most a resync to this node moves per second, for VolumeRate; 0: no bound but the configuration's.
	RateKiB uint64 `json:"rate_kib,omitempty"`
	// SizeBytes is the size VolumeResize is to lead to, 0 for the largest. AssumePeerHasSpace allows it without the peer, of an
	// unbound volume only; AssumeClean has the new blocks not resynced.
	SizeBytes          int64 `json:"size_bytes,omitempty"`
	AssumePeerHasSpace bool  `json:"assume_peer_has_space,omitempty"`
	AssumeClean        bool  `json:"assume_clean,omitempty"`
	// File is the absolute path of the file with the saved blocks: made by VolumeHeal, read by VolumeHealUndo.
	File string `json:"file,omitempty"`
	// Whole has VolumeHeal save every block of the volume, so that it can be undone whatever is written later.
	Whole bool `json:"whole,omitempty"`
	// Look has VolumeHeal and VolumeHealUndo find out what they would do, and change nothing.
	Look bool `json:"look,omitempty"`
}

// VolumeReply answers a VolumeDo. Code is drbdadm's exit code (0, 10, 11, 17 ...), Error the text for people.
type VolumeReply struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
	// Config is the resource as it runs, in the grammar of a .res file: the answer to VolumeShow.
	Config string `json:"config,omitempty"`
}

// Replica is a member of a volume's U: which disk, and which data generation it must hold (DESIGN S1).
type Replica struct {
	Node string `json:"node"`
	// DeviceUUID is the random identity made at create-md (v08's device_uuid), hex.
	DeviceUUID string `json:"device_uuid"`
	// Generation is the current UUID (hex, without the Primary bit); PrevGeneration stays valid until the replica has
	// confirmed Generation, and is empty afterwards.
	Generation     string `json:"generation"`
	PrevGeneration string `json:"prev_generation,omitempty"`
}

// VolumeView is the log's record of a volume as of a quorum read or a later applied entry. A volume process that has
// had no View in its life accepts and dials no peer if it is bound to a cluster (S3).
type VolumeView struct {
	// Bound: the node is in a cluster. False: plain DRBD rules, and the rest is empty.
	Bound bool   `json:"bound"`
	Node  string `json:"node"` // this node's name
	// Adopted: the volume is in the log. A bound volume not yet adopted follows DRBD's rules, connects within epoch 0,
	// and reports its status, from which the daemon proposes the first U.
	Adopted bool `json:"adopted"`
	// Branch is that of the cluster's log. Epochs and versions of different branches do not compare.
	Branch  uint64    `json:"branch,omitempty"`
	Epoch   uint64    `json:"epoch"`
	Version uint64    `json:"version"` // of U; grows with every change of U within the life of the volume
	Primary string    `json:"primary"` // node, or empty
	U       []Replica `json:"u"`
	// Leaning: a Primary without a disk may have written to the one replica in U; a new generation of that finds every block of
	// others out of sync.
	Leaning bool `json:"leaning,omitempty"`
	// TLS names the files for the replication connections of a bound volume.
	TLS *TLSFiles `json:"tls,omitempty"`
}

// TLSFiles are PEM files of this node.
type TLSFiles struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// VolumeWant is a change the volume needs in the log, as a compare-and-set on (Epoch, Version) of Branch.
type VolumeWant struct {
	Branch  uint64 `json:"branch,omitempty"`
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version"`
	// Remove names a node to take out of U. Generation is the new current UUID the Primary will write once the removal
	// is applied (drawn before asking, the same on every repetition).
	Remove     string `json:"remove,omitempty"`
	Generation string `json:"generation,omitempty"`
	// Add is a replica that is UpToDate after resync.
	Add *Replica `json:"add,omitempty"`
	// Confirm: this node's disk now holds U's Generation; PrevGeneration of Node's entry may go.
	Confirm string `json:"confirm,omitempty"`
	// Alone: this Primary, of a volume that is not in the log yet, goes on without its peer once the log has refused in
	// advance what was proposed of both (a View with a higher version says so).
	Alone bool `json:"alone,omitempty"`
}

// VolumeStatus is all a volume process knows of one of its volumes. Strings are DRBD's words.
type VolumeStatus struct {
	Resource string `json:"resource"`
	Volume   int    `json:"volume,omitempty"` // its number in the resource
	Minor    int    `json:"minor"`
	Device   string `json:"device"` // configured: /dev/drbd1
	Kernel   string `json:"kernel"` // what the front end made: /dev/loop7
	// KernelNumber is Kernel's device number, MAJOR:MINOR: a mount may outlive the node.
	KernelNumber string `json:"kernel_number,omitempty"`
	// Front is the front end, one of the Front constants; empty while there is no device.
	Front string `json:"front,omitempty"`
	PID   int    `json:"pid"`

	Conn     string `json:"cs"` // StandAlone Disconnecting Unconnected WFConnection WFReportParams Connected SyncSource SyncTarget PausedSyncS ...
	Role     string `json:"role"`
	PeerRole string `json:"peer_role"` // Primary Secondary Unknown
	Disk     string `json:"disk"`      // Diskless Attaching Failed Inconsistent Outdated Consistent UpToDate
	PeerDisk string `json:"peer_disk"` // + DUnknown
	Protocol string `json:"protocol"`  // A B C
	Flags    string `json:"flags"`     // six characters of /proc/drbd: r----- s--- ...

	Counters VolumeCounters `json:"counters"`
	Resync   *ResyncStatus  `json:"resync,omitempty"`

	SizeBytes   int64     `json:"size_bytes"`
	DeviceUUID  string    `json:"device_uuid"`
	CurrentUUID string    `json:"current_uuid"`
	BitmapUUID  string    `json:"bitmap_uuid"`
	History     [2]string `json:"history"`
	// CrashedPrimary: the activity log said so at attach, and no resync has finished since.
	CrashedPrimary bool   `json:"crashed_primary,omitempty"`
	PeerDeviceUUID string `json:"peer_device_uuid,omitempty"` // known from a holdfast peer only
	PeerUUID       string `json:"peer_uuid,omitempty"`

	Bound   bool   `json:"bound"`
	Adopted bool   `json:"adopted,omitempty"` // as the last View says
	Branch  uint64 `json:"branch,omitempty"`  // of the last View applied
	Epoch   uint64 `json:"epoch"`             // of the last View applied
	Version uint64 `json:"version"`           // of the last View applied
	// Resuming: an earlier process was Primary, and the log's word on whether this one is to be waits.
	Resuming bool `json:"resuming,omitempty"`
	// Frozen says why acknowledgements wait, empty when they do not.
	Frozen string `json:"frozen,omitempty"`
	// Reason says why the connection was refused, empty when it was not.
	Reason string `json:"reason,omitempty"`
	// InUse is who holds the device (kernel.Frontend.InUse).
	InUse []string `json:"in_use,omitempty"`
	// ResyncedBytes counts what resync has moved since the process started, both directions.
	ResyncedBytes int64 `json:"resynced_bytes"`
	// Heal is the last heal or undo of this process; nil if there was none.
	Heal *HealStatus `json:"heal,omitempty"`
}

// HealStatus is how far a heal, or its undo, is.
type HealStatus struct {
	Phase HealPhase `json:"phase"`
	File  string    `json:"file,omitempty"`
	// Bytes are saved, or written back, of Total that are known to be due.
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
	// Least and Most bound the bytes a heal would save, in HealFound.
	Least int64 `json:"least,omitempty"`
	Most  int64 `json:"most,omitempty"`
	// Error says why it failed, in HealFailed.
	Error string `json:"error,omitempty"`
}

// HealPhase is a step of a heal.
type HealPhase string

// The phases. A heal that has failed has changed nothing on the disk; an undo that has failed can be begun again.
const (
	HealWaiting   HealPhase = "waiting"   // for the peer
	HealSaving    HealPhase = "saving"    // the blocks that differ; nothing is overwritten yet
	HealResyncing HealPhase = "resyncing" // the file is durable; the peer's blocks replace this side's
	HealDone      HealPhase = "done"
	HealFound     HealPhase = "found" // the answer of a heal or undo that only looks
	HealChecking  HealPhase = "checking"
	HealUndoing   HealPhase = "undoing"
	HealUndone    HealPhase = "undone"
	HealFailed    HealPhase = "failed"
)

// Ended tells whether nothing more will happen.
func (p HealPhase) Ended() bool {
	return p == HealDone || p == HealFound || p == HealUndone || p == HealFailed
}

// VolumeCounters are /proc/drbd's: ns nr dw dr and oos in KiB, the rest counts.
type VolumeCounters struct {
	NS uint64 `json:"ns"`
	NR uint64 `json:"nr"`
	DW uint64 `json:"dw"`
	DR uint64 `json:"dr"`
	AL uint64 `json:"al"`
	BM uint64 `json:"bm"`
	LO uint64 `json:"lo"`
	PE uint64 `json:"pe"`
	UA uint64 `json:"ua"`
	AP uint64 `json:"ap"`
	EP uint64 `json:"ep"`
	WO string `json:"wo"` // b f d n
	// OOS is KiB out of sync.
	OOS uint64 `json:"oos"`
}

// ResyncStatus is the progress of a running resync.
type ResyncStatus struct {
	Percent    float64 `json:"percent"`
	LeftKiB    uint64  `json:"left_kib"`
	TotalKiB   uint64  `json:"total_kib"`
	SpeedKiB   uint64  `json:"speed_kib"`   // per second, over the last seconds
	AverageKiB uint64  `json:"average_kib"` // per second, since it began
	ETASeconds uint64  `json:"eta_seconds"`
	// WantKiB is the rate a target aims at, per second; 0 when it takes what it gets.
	WantKiB uint64 `json:"want_kib,omitempty"`
}
