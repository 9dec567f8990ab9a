package state

import "fmt"

// ClusterReunite ends a split brain of the cluster: an operator has given up the branch of the log that Node goes on with, for
// this one. The hosts of that branch, and of those it has left behind, hear of it from the heartbeats, give their logs up and are
// taken in again. Undo takes that back; it is what a host that is to give itself up begins with, lest each of two is
// given up for the other: then neither is.
type ClusterReunite struct {
	Node string `json:"node"`
	// Lost is the lineage of the branch given up.
	Lost        Lineage `json:"lost"`
	Undo        bool    `json:"undo,omitempty"`
	By          string  `json:"by"`
	UnixSeconds int64   `json:"unix_seconds"`
}

func (c *ClusterReunite) verb() string { return "cluster.reunite" }

func (c *ClusterReunite) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	if _, err := t.member(c.Node); err != nil {
		return Result{}, err
	}
	if c.Undo {
		t.forgetBranch(c.Lost.Branch)
		return Result{}, nil
	}
	if t.Cluster.Judge(c.Lost) != Diverged {
		return refuse("branch %x of %s has not diverged from branch %x of the log: it is %s", c.Lost.Branch, c.Node, t.Cluster.Branch, t.Cluster.Judge(c.Lost))
	}
	for _, f := range append(c.Lost.Former, FormerBranch{ID: c.Lost.Branch}) {
		if _, known := t.Cluster.left(f.ID); known || f.ID == t.Cluster.Branch {
			continue
		}
		if err := t.leaveBehind(f); err != nil {
			return Result{}, err
		}
	}
	t.note(OperatorRecord{By: c.By, What: "reunite", UnixSeconds: c.UnixSeconds, Text: fmt.Sprintf(
		"branch %x of the log, which %s went on with, was given up for branch %x", c.Lost.Branch, c.Node, t.Cluster.Branch)})
	return Result{}, nil
}

// forgetBranch takes a branch out of those left behind.
func (t *tx) forgetBranch(id uint64) {
	var kept []FormerBranch
	for _, f := range t.Cluster.Former {
		if f.ID != id {
			kept = append(kept, f)
		}
	}
	t.Cluster.Former = kept
}
