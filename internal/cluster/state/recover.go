package state

import (
	"fmt"
	"strings"

	"holdfast/internal/cluster"
)

// ClusterBranch begins a new branch of the log: a majority is gone for good, by an operator's word, or has been lost and may be
// gone on without (Fork); Survivor goes on alone. It is the first
// entry of the branch, made from the survivor's own copy of the log and never proposed to anybody. Every other member loses
// its vote and its lease; it rejoins with an empty log. What the majority has agreed on and the survivor has not heard is
// lost; branches never merge.
type ClusterBranch struct {
	Survivor string `json:"survivor"`
	// Branch is the ID of the new branch, drawn at random from FirstBranch on.
	Branch uint64 `json:"branch"`
	// Incarnation is the survivor's in the branch: a new one, so that what remains of the old branch counts no vote of it.
	Incarnation uint64 `json:"incarnation"`
	// Fork: the survivor does so by itself, as MayFork allows it.
	Fork        bool   `json:"fork,omitempty"`
	By          string `json:"by"`
	UnixSeconds int64  `json:"unix_seconds"`
}

func (c *ClusterBranch) verb() string { return "cluster.branch" }

func (c *ClusterBranch) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	me, err := t.member(c.Survivor)
	if err != nil {
		return Result{}, err
	}
	if me.Kind == Follower || c.Incarnation == 0 || c.Incarnation == me.Incarnation {
		return refuse("%s (%s) cannot go on alone as incarnation %x: it needs a vote and a new incarnation", me.Name, me.Kind, c.Incarnation)
	}
	if c.Branch < FirstBranch || c.Branch == t.Cluster.Branch {
		return refuse("a new branch of the log needs an ID of its own, not %x", c.Branch)
	}
	if c.Fork {
		if err := t.MayFork(c.Survivor); err != nil {
			return Result{}, err
		}
	}
	if err := t.leaveBehind(FormerBranch{ID: t.Cluster.Branch, Fork: c.Fork}); err != nil {
		return Result{}, err
	}
	for _, name := range t.MemberNames() {
		if err := t.forgetSession(name); err != nil {
			return Result{}, err
		}
		m := t.Members[name]
		m.Incarnation, m.Voter = 0, false
		if name == c.Survivor {
			m.Incarnation, m.Voter = c.Incarnation, true
		}
		t.setMember(m)
	}
	t.Cluster.Branch = c.Branch
	t.Cluster.Lead = ""
	t.note(c.record(t.Index - 1))
	return Result{}, nil
}

// record is what is kept of it for people; last is the last entry of the old branch that the survivor knows.
func (c *ClusterBranch) record(last uint64) OperatorRecord {
	r := OperatorRecord{By: c.By, What: "recover", UnixSeconds: c.UnixSeconds}
	r.Text = fmt.Sprintf("%s went on alone with branch %x of the log; what the lost majority had agreed on after entry %d is lost", c.Survivor, c.Branch, last)
	if c.Fork {
		r.What = "fork"
		r.Text = fmt.Sprintf("%s lost its peer and went on alone with branch %x of the log, since entry %d", c.Survivor, c.Branch, last)
	}
	return r
}

// forgetSession ends a member's session. The old branch may have begun others meanwhile: the next number is beyond all it
// can have given, since a guard refuses one that it has seen.
func (t *tx) forgetSession(name string) error {
	l, ok := t.Leases[name]
	if !ok {
		return nil
	}
	if l.State == LeaseActive {
		if _, err := t.endSession(name, l.Session, LeaseExpired); err != nil {
			return err
		}
		l = t.Leases[name]
	}
	l.Session += cluster.BranchSessions
	t.setLease(name, l)
	return nil
}

// Branch replaces the state by that of a new branch which begins at index, in the Raft term given, with c. It fails, and
// changes nothing, if the log cannot be branched so.
func (m *Machine) Branch(index, term uint64, c *ClusterBranch) error {
	data, err := Encode(ID{}, c)
	if err != nil {
		return err
	}
	return m.Apply(index, term, data).Err()
}

// AtRisk says for people what may be lost when node goes on alone: one line each.
func (v *View) AtRisk(node string) []string {
	lines := []string{fmt.Sprintf("everything the other members have agreed on after entry %d of the log, the last this host knows", v.Index)}
	for _, name := range v.VolumeNames() {
		vol := v.Volumes[name]
		_, in := vol.Replica(node)
		switch {
		case in && len(vol.U) == 1:
			lines = append(lines, fmt.Sprintf("volume %s: nothing, if no other host was promoted since; %s has its only up-to-date replica", name, node))
		case in:
			lines = append(lines, fmt.Sprintf("volume %s: writes acknowledged after this host was removed from its up-to-date replicas (%s), if it was", name, vol.nodes()))
		default:
			lines = append(lines, fmt.Sprintf("volume %s: acknowledged writes; its up-to-date replicas are on %s, not on %s", name, vol.nodes(), node))
		}
	}
	var gone []string
	for _, name := range v.MemberNames() {
		if name != node {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		lines = append(lines, "the votes of "+strings.Join(gone, ", ")+": each rejoins with an empty log")
	}
	return lines[:min(len(lines), cluster.MaxVolumes)]
}
