// Package state is the replicated state machine of the cluster: members and their incarnations, leases, the epochs and U
// sets of volumes, the CIB, balancer rules. Commands are applied in log order; each is checked against the state, and
// either changes it whole or is refused with a reason and changes nothing. The package is the log's half of DESIGN's
// rules S1 to S6: what it refuses, no node may do.
package state

import (
	"maps"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/liveness"
)

// View is the state after the entry Index. It is never changed once handed out: maps, slices and the document in it are
// shared between views and must not be modified by readers.
type View struct {
	// Index of the last applied log entry.
	Index   uint64  `json:"index"`
	Cluster Cluster `json:"cluster"`
	// Members by name.
	Members map[string]Member `json:"members,omitempty"`
	// Leases by node name. A node that never had one is absent.
	Leases map[string]Lease `json:"leases,omitempty"`
	// Volumes by resource name.
	Volumes map[string]Volume `json:"volumes,omitempty"`
	// Rules of the balancer by name.
	Rules map[string]api.BalancerRule `json:"rules,omitempty"`
	// Operator holds what operators did against advice, oldest first.
	Operator []OperatorRecord `json:"operator,omitempty"`
	// CIB is nil until ClusterInit. It is kept beside the JSON in a snapshot.
	CIB *cib.Document `json:"-"`
}

// Cluster is the identity and the settings of the cluster.
type Cluster struct {
	Name string `json:"name"`
	// UUID is random, drawn at setup; empty until ClusterInit.
	UUID string `json:"uuid"`
	// TokenMS is corosync's token in milliseconds; the lease's length follows from it.
	TokenMS int `json:"token_ms"`
	// LastNodeID is the highest Member.NodeID ever given; ids are never used twice.
	LastNodeID int `json:"last_node_id"`
	// Lead is the voter that an operator wants to lead, empty for a witness. It is a wish: whoever is elected leads until
	// that one is healthy and has the whole log.
	Lead string `json:"lead,omitempty"`
	// Lineage names the branch of the log: a survivor that goes on without a majority opens another (ClusterBranch).
	Lineage
}

// Token is how long a member may be silent before it is suspected.
func (c Cluster) Token() time.Duration {
	if c.TokenMS == 0 {
		return cluster.DefaultToken
	}
	return time.Duration(c.TokenMS) * time.Millisecond
}

// LeaseLength is L of DESIGN's S6.
func (c Cluster) LeaseLength() time.Duration { return c.Token() + cluster.LeaseOverToken }

// Kind of a member.
type Kind string

// The kinds of members.
const (
	Data     Kind = "data"     // CIB node, votes, holds volumes
	Witness  Kind = "witness"  // votes, holds no data
	Follower Kind = "follower" // gets the log, has no vote
)

// Member is one Raft member.
type Member struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// NodeID is the id of the node in the CIB (Pacemaker's corosync node id), from 1; 0 for members that are no CIB nodes.
	NodeID int `json:"node_id,omitempty"`
	// Incarnation is the member's Raft ID. It is drawn together with its log: a new one means an empty log. It is 0 for a
	// member whose log belongs to a branch that was given up, until it is taken in again.
	Incarnation uint64 `json:"incarnation"`
	// Voter tells whether the incarnation votes now; a data member or witness that returned with an empty log does not
	// until it has caught up.
	Voter bool `json:"voter"`
	// Addrs are the member's addresses, one per link, each HOST or HOST:PORT.
	Addrs []string `json:"addrs"`
	// Fingerprint is the SHA-256 of the member's identity certificate, hex.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Version of holdfast it runs, as it said last.
	Version string `json:"version,omitempty"`
}

// LeaseState is the log's word on a lease.
type LeaseState string

// The states of a lease.
const (
	LeaseActive  LeaseState = "active"
	LeaseExpired LeaseState = "expired" // the leader counted L and the margin: fenced
	LeaseEnded   LeaseState = "ended"   // the node itself reported that nothing of the session is left
)

// Lease is the lease session of a node. Everything a node runs belongs to a session.
type Lease struct {
	// Session grows by one with each LeaseStart of the node, from 1.
	Session uint64     `json:"session"`
	State   LeaseState `json:"state"`
	// Incarnation the session was begun with.
	Incarnation uint64 `json:"incarnation"`
	// Since is the log index of the last change of State.
	Since uint64 `json:"since"`
	// Reported is the highest Seq of the session's reports that have been recorded (ReportEdits), 0 before the first.
	Reported uint64 `json:"reported,omitempty"`
}

// Volume is the log's record of a replicated volume (S1).
type Volume struct {
	Name string `json:"name"`
	// Adopted: U is known. A forgotten volume keeps its record, so that its epoch never goes back.
	Adopted bool `json:"adopted"`
	// Epoch grows with each promotion, Version with each change of U; neither ever goes back.
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version"`
	// Primary is the node of the present tenure, empty when none. PrimarySession is its lease session.
	Primary        string `json:"primary,omitempty"`
	PrimarySession uint64 `json:"primary_session,omitempty"`
	// LastPrimary is the node of the present or last tenure.
	LastPrimary string `json:"last_primary,omitempty"`
	// Unclean: the last tenure ended without a demotion; the next promotion takes every other replica out of U (S5).
	Unclean bool `json:"unclean,omitempty"`
	// Leaning: a Primary whose own disk failed has left U, and may since have written to the replica left alone. Nobody but that
	// Primary knows what: until another replica enters U, each may lack anything.
	Leaning bool `json:"leaning,omitempty"`
	// U, sorted by node; never empty while Adopted.
	U []api.Replica `json:"u,omitempty"`
}

// Replica returns the member of U on node.
func (v Volume) Replica(node string) (api.Replica, bool) {
	for _, r := range v.U {
		if r.Node == node {
			return r, true
		}
	}
	return api.Replica{}, false
}

// Holds tells whether the disk with this identity and generation is in U: the node, its device UUID, and the current
// generation or the one before it while the replica has not confirmed the current one.
func (v Volume) Holds(node, deviceUUID, generation string) bool {
	r, ok := v.Replica(node)
	return ok && r.DeviceUUID == deviceUUID && generation != "" &&
		(generation == r.Generation || generation == r.PrevGeneration)
}

// VolumeView is what the process of a volume on node is to be told of its record; where the TLS files are is for the caller
// to add.
func (v *View) VolumeView(volume, node string) api.VolumeView {
	r := v.Volumes[volume]
	return api.VolumeView{Bound: true, Node: node, Adopted: r.Adopted, Branch: v.Cluster.Branch, Epoch: r.Epoch, Version: r.Version, Primary: r.Primary, U: r.U, Leaning: r.Leaning}
}

// SameView tells whether the volume processes have nothing new to learn from o.
func (v Volume) SameView(o Volume) bool {
	return v.Adopted == o.Adopted && v.Epoch == o.Epoch && v.Version == o.Version && v.Primary == o.Primary && slices.Equal(v.U, o.U)
}

// Record is the volume as the control socket shows it.
func (v Volume) Record() api.VolumeRecord {
	return api.VolumeRecord{Resource: v.Name, Epoch: v.Epoch, Version: v.Version, Primary: v.Primary, U: slices.Clone(v.U)}
}

// OperatorRecord is something an operator did against advice, kept for the day someone asks.
type OperatorRecord struct {
	Index uint64 `json:"index"`
	// By is who, What one word for the kind (survivor, forget, no-quorum-policy, ...), Text the whole story.
	By   string `json:"by"`
	What string `json:"what"`
	Text string `json:"text"`
	// UnixSeconds is the proposer's wall clock.
	UnixSeconds int64 `json:"unix_seconds"`
}

// MemberNames lists the members, sorted.
func (v *View) MemberNames() []string { return slices.Sorted(maps.Keys(v.Members)) }

// VolumeNames lists the adopted volumes, sorted.
func (v *View) VolumeNames() []string {
	var names []string
	for _, n := range slices.Sorted(maps.Keys(v.Volumes)) {
		if v.Volumes[n].Adopted {
			names = append(names, n)
		}
	}
	return names
}

// RuleNames lists the balancer rules, sorted.
func (v *View) RuleNames() []string { return slices.Sorted(maps.Keys(v.Rules)) }

// MemberByIncarnation finds a member by its Raft ID.
func (v *View) MemberByIncarnation(id uint64) (Member, bool) {
	for _, name := range v.MemberNames() {
		if m := v.Members[name]; m.Incarnation == id && id != 0 {
			return m, true
		}
	}
	return Member{}, false
}

// LeaseRecords are all leases as the leader's account observes them.
func (v *View) LeaseRecords() map[string]liveness.Record {
	records := make(map[string]liveness.Record, len(v.Leases))
	for node, l := range v.Leases {
		records[node] = liveness.Record{Session: l.Session, Active: l.State == LeaseActive}
	}
	return records
}

// LeaseLive tells whether session is node's active lease.
func (v *View) LeaseLive(node string, session uint64) bool {
	l := v.Leases[node]
	return session != 0 && l.Session == session && l.State == LeaseActive
}

// Lost lists the members whose lease has expired, sorted.
func (v *View) Lost() []string {
	var lost []string
	for _, n := range v.MemberNames() {
		if v.Leases[n].State == LeaseExpired {
			lost = append(lost, n)
		}
	}
	return lost
}

// Voters counts the members that vote.
func (v *View) Voters() int {
	n := 0
	for _, m := range v.Members {
		if m.Voter {
			n++
		}
	}
	return n
}
