package raftlog

import (
	"go.etcd.io/raft/v3"

	"holdfast/internal/cluster"
)

// learnName notes under which name a Raft ID was last heard: a host that is just joining has no other source.
func (n *Node) learnName(id uint64, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.names) < maxNames || n.names[id] != "" {
		n.names[id] = name
	}
}

// maxNames bounds the table: every incarnation a host ever had may be in it.
const maxNames = 16 * cluster.MaxMembers

// lookup finds the member a Raft ID belongs to, empty if nobody knows.
func (n *Node) lookup(id uint64) string {
	if m, ok := n.machine.View().MemberByIncarnation(id); ok {
		return m.Name
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[id]
}

// nameOf is lookup for people: the ID itself when the name is not known.
func (n *Node) nameOf(id uint64) string {
	switch name := n.lookup(id); {
	case id == raft.None:
		return ""
	case id == n.store.incarnation:
		return n.cfg.Name
	case name != "":
		return name
	}
	return idText(id)
}
