package api

// The methods of the cluster plane, as the pcs grammar uses them:
//
//	cluster.auth      AuthRequest      -> AuthReply
//	cluster.setup     SetupRequest     -> SetupReply
//	cluster.start     NodesRequest     -> NodesReply     (every named node; All for the whole cluster)
//	cluster.stop      NodesRequest     -> NodesReply     (hands over first)
//	cluster.destroy   NodesRequest     -> NodesReply
//	cluster.status    Empty            -> ClusterStatus
//	cib.get           CIBGetRequest    -> CIB
//	cib.push          CIBPushRequest   -> CIB
//	resource.cleanup  CleanupRequest   -> Empty
//	member.add        MemberRequest    -> Empty          (witness, follower)
//	member.remove     MemberRequest    -> Empty
//	member.lead       MemberRequest    -> Empty          (no node: a witness)
//	volume.status     VolumeRequest    -> VolumesReply
//	volume.watch      VolumeWatchRequest -> VolumeWatchReply
//	volume.do         VolumeDoRequest  -> VolumeReply
//	volume.survivor   SurvivorRequest  -> Empty
//	volume.forget     ForgetRequest    -> Empty
//	cluster.recover   RecoverRequest   -> RecoverReply
//	cluster.rejoin    RejoinRequest    -> RejoinReply
//	balancer.rules    Empty            -> BalancerRules
//	balancer.set      BalancerRule     -> Empty
//	balancer.remove   BalancerRule     -> Empty
//	balancer.status   Empty            -> BalancerStatus

// Empty is no content.
type Empty struct{}

// AuthRequest authenticates hosts with the hacluster password: first contact, see cluster/transport.
type AuthRequest struct {
	Hosts    []AuthHost `json:"hosts"`
	Username string     `json:"username"`
	Password string     `json:"password"`
}

// AuthHost is a host to authenticate, with the address to reach it at (Name is resolved when empty).
type AuthHost struct {
	Name string `json:"name"`
	Addr string `json:"addr,omitempty"`
}

// AuthReply tells for each host, in the order asked: "Authorized", "Already authorized", or why not.
type AuthReply struct {
	Results []NodeResult `json:"results"`
}

// NodeResult is what came of one node. OK false means Message says what failed and what to do next.
type NodeResult struct {
	Node    string `json:"node"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// SetupRequest makes a new cluster of already authenticated hosts.
type SetupRequest struct {
	Name  string   `json:"name"`
	Nodes []string `json:"nodes"`
	// Token in milliseconds; 0 for the default of 1000.
	Token int  `json:"token,omitempty"`
	Force bool `json:"force,omitempty"` // destroys a cluster the hosts are already in
	Start bool `json:"start,omitempty"`
}

// SetupReply lists what was done on each node, and warnings.
type SetupReply struct {
	Results  []NodeResult `json:"results"`
	Warnings []string     `json:"warnings,omitempty"`
}

// NodesRequest names nodes; All means every member.
type NodesRequest struct {
	Nodes []string `json:"nodes,omitempty"`
	All   bool     `json:"all,omitempty"`
	Force bool     `json:"force,omitempty"`
}

// NodesReply is what came of each.
type NodesReply struct {
	Results []NodeResult `json:"results"`
}

// CIBGetRequest asks for the CIB; Local reads this node's copy without a quorum read.
type CIBGetRequest struct {
	Local bool `json:"local,omitempty"`
}

// CIB is the document in Pacemaker's schema.
type CIB struct {
	XML string `json:"xml"`
}

// CIBPushRequest replaces the configuration section. Base is the version ("admin_epoch.epoch.num_updates") the change
// was made from; the push is refused if the configuration has changed since, unless Base is empty.
type CIBPushRequest struct {
	XML  string `json:"xml"`
	Base string `json:"base,omitempty"`
	By   string `json:"by,omitempty"` // who: cib's update-client
}

// CleanupRequest forgets failures and history of a resource (all when empty) on a node (all when empty).
type CleanupRequest struct {
	Resource string `json:"resource,omitempty"`
	Node     string `json:"node,omitempty"`
}

// MemberRequest adds or removes a Raft member that is no CIB node.
type MemberRequest struct {
	Node    string `json:"node"`
	Witness bool   `json:"witness"` // a voter without data; false: a follower without a vote
}

// ClusterStatus is everything `pcs status` prints.
type ClusterStatus struct {
	ClusterName string `json:"cluster_name"`
	LocalNode   string `json:"local_node"`
	Version     string `json:"version"`
	Configured  bool   `json:"configured"` // this host belongs to a cluster
	Running     bool   `json:"running"`    // and takes part in it now
	DC          string `json:"dc"`         // the Raft leader, empty when none is known
	// Lead is the voter an operator wants to lead; empty means a witness.
	Lead    string         `json:"lead,omitempty"`
	Quorate bool           `json:"quorate"`
	Members []MemberStatus `json:"members"`
	CIB     string         `json:"cib"` // XML, with status
	Volumes []VolumeRecord `json:"volumes"`
	// Reasons says for a resource instance why it is not running or not promoted, as the scheduler saw it.
	Reasons []Reason `json:"reasons,omitempty"`
	// Branch is that of the log (hexadecimal); Apart are members that go on with another one, a split brain.
	Branch   string        `json:"branch,omitempty"`
	Apart    []ApartStatus `json:"apart,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
}

// ApartStatus is a member that goes on with another branch of the log.
type ApartStatus struct {
	Node   string `json:"node"`
	Branch string `json:"branch"`
}

// Reason explains a resource's present state.
type Reason struct {
	Resource string `json:"resource"`
	Node     string `json:"node,omitempty"`
	Text     string `json:"text"`
}

// MemberStatus is one Raft member.
type MemberStatus struct {
	Node string `json:"node"`
	// Kind: data (CIB node, votes), witness (votes, no data), follower (no vote).
	Kind   string   `json:"kind"`
	Voter  bool     `json:"voter"`
	Addrs  []string `json:"addrs"`
	Online bool     `json:"online"` // heard from within token
	// Lease: active, expired, none.
	Lease string `json:"lease"`
}

// VolumeRecord is the log's record of a volume.
type VolumeRecord struct {
	Resource string    `json:"resource"`
	Epoch    uint64    `json:"epoch"`
	Version  uint64    `json:"version"`
	Primary  string    `json:"primary"`
	U        []Replica `json:"u"`
}

// VolumeRequest names a volume (all when empty) for volume.status.
type VolumeRequest struct {
	Resource string `json:"resource,omitempty"`
}

// VolumesReply lists the volumes of this host.
type VolumesReply struct {
	Volumes []VolumeStatus `json:"volumes"`
}

// VolumeWatchRequest waits for what volumes say after the event with the number After. Now asks for all of them at once.
type VolumeWatchRequest struct {
	After uint64 `json:"after"`
	Now   bool   `json:"now,omitempty"`
}

// VolumeWatchReply has the events since, none after a while without any, or, where some are not kept any more, the state of all
// volumes (Whole). The next request is After Number.
type VolumeWatchReply struct {
	Number  uint64         `json:"number"`
	Events  []VolumeEvent  `json:"events,omitempty"`
	Whole   bool           `json:"whole,omitempty"`
	Volumes []VolumeStatus `json:"volumes,omitempty"`
}

// VolumeEvent is a change of a volume of this host. Status is nil when it is not up any more.
type VolumeEvent struct {
	Number   uint64        `json:"number"`
	Resource string        `json:"resource"`
	Status   *VolumeStatus `json:"status,omitempty"`
}

// RecoverRequest has this host go on alone after the loss of a majority.
type RecoverRequest struct {
	Survivor string `json:"survivor"` // must be this host
	// AcceptLoss does it; without, the answer only says what may be lost.
	AcceptLoss bool   `json:"accept_loss"`
	By         string `json:"by"`
}

// RecoverReply says what may be lost, for people, a line each.
type RecoverReply struct {
	AtRisk []string `json:"at_risk"`
	Done   bool     `json:"done"`
}

// RejoinRequest ends a split brain of the cluster: this host gives its branch of the log up for that of Keep. The answer comes when Keep
// has agreed; this host's daemon ends then, and is taken in again.
type RejoinRequest struct {
	Keep string `json:"keep"`
	// Look changes nothing, and says what of Resource differs.
	Look     bool   `json:"look,omitempty"`
	Resource string `json:"resource,omitempty"`
	By       string `json:"by"`
}

// RejoinReply is what each side of a volume has written alone, in KiB, of its size, for Look.
type RejoinReply struct {
	MineKiB   uint64 `json:"mine_kib"`
	TheirsKiB uint64 `json:"theirs_kib"`
	SizeKiB   uint64 `json:"size_kib"`
}

// SurvivorRequest names this host's disk as the one up-to-date replica of a volume.
type SurvivorRequest struct {
	Resource   string `json:"resource"`
	AcceptLoss bool   `json:"accept_loss"`
	By         string `json:"by"`
}

// ForgetRequest takes the replica on Node, which is gone for good, out of a volume's record; without Node the record itself
// is forgotten.
type ForgetRequest struct {
	Resource string `json:"resource"`
	Node     string `json:"node,omitempty"`
	By       string `json:"by"`
}

// VolumeDoRequest is a drbdadm verb for a volume of this host.
type VolumeDoRequest struct {
	Resource string   `json:"resource"`
	Do       VolumeDo `json:"do"`
}
