package scheduler

import (
	"slices"
	"strconv"
	"strings"
)

// readNodes lists the configured nodes, and those only the status section knows.
func (c *cluster) readNodes() {
	c.nodeByID, c.nodeByName = map[string]*node{}, map[string]*node{}
	for _, e := range c.doc.Root.Child("configuration").Child("nodes").ChildrenNamed("node") {
		n := c.addNode(e.ID(), e.Get("uname"))
		if n != nil {
			n.remote = e.Get("type") == "remote"
			if n.remote {
				// It counts as lost only with a connection, which is yet to be found.
				n.unclean = false
			}
			n.xml = e
			n.base = scoreOr(e.Get("score"), 0)
			c.nvPairs(n.attrs, "instance_attributes", ruleContext{now: c.now, node: n}, e)
			c.readNodeUtilization(n)
		}
	}
	c.addBundleGuests()
	for _, s := range c.doc.Root.Child("status").ChildrenNamed("node_state") {
		if c.nodeByID[s.ID()] == nil && s.Get("uname") != "" && s.Get("remote_node") == "" {
			c.addNode(s.ID(), s.Get("uname"))
		}
	}
	c.readRemoteNodes()
	slices.SortStableFunc(c.nodes, func(a, b *node) int { return naturalCompare(a.name, b.name) })
	for i, n := range c.nodes {
		n.index = i
		n.dc, n.clusterName = c.isDC(n), c.conf.clusterName
	}
}

func (c *cluster) addNode(id, name string) *node {
	if name == "" || c.nodeByID[id] != nil || c.nodeByName[name] != nil {
		return nil
	}
	n := &node{id: id, name: name, attrs: map[string]string{}}
	// Until its state is seen, a node may be running anything.
	n.unclean = c.conf.startupFencing && c.conf.stonith
	c.nodes = append(c.nodes, n)
	c.nodeByID[id], c.nodeByName[name] = n, n
	return n
}

// naturalCompare orders names with runs of digits as numbers, and without regard to case.
func naturalCompare(a, b string) int {
	x, y := strings.ToLower(a), strings.ToLower(b)
	for x != "" && y != "" {
		if isDigit(x[0]) && isDigit(y[0]) {
			nx, rx := digits(x)
			ny, ry := digits(y)
			if nx != ny {
				return nx - ny
			}
			x, y = rx, ry
			continue
		}
		if x[0] != y[0] {
			return int(x[0]) - int(y[0])
		}
		x, y = x[1:], y[1:]
	}
	if d := len(x) - len(y); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) (int, string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	n, err := strconv.Atoi(s[:min(i, 9)])
	if err != nil {
		n = 0
	}
	return n, s[i:]
}

// readNodeStates reads the node_state elements: who is online, lost, leaving, in standby.
func (c *cluster) readNodeStates() {
	for _, s := range c.doc.Root.Child("status").ChildrenNamed("node_state") {
		n := c.nodeByID[s.ID()]
		if n == nil {
			n = c.nodeByName[s.Get("uname")]
		}
		if n == nil {
			continue
		}
		n.state = s
		if n.remote {
			n.wasFenced = s.Get("node_fenced") != "" && s.Get("node_fenced") != "0"
		} else {
			n.seen, n.unclean = true, false
		}
		transient := map[string]string{}
		c.nvPairsLowest(transient, "instance_attributes", ruleContext{now: c.now, node: n}, s.Child("transient_attributes"))
		for k, v := range transient {
			n.attrs[k] = v
		}
	}
	for _, n := range c.nodes {
		c.nodeFlags(n)
		if n.seen && !n.remote {
			c.nodeOnline(n)
		}
		if n.seen && !n.remote && !c.quorum && n.online && c.conf.policy == quorumSuicide {
			c.mustFence(n, "cluster does not have quorum")
		}
	}
}

func (c *cluster) nodeFlags(n *node) {
	n.standby = boolOr(n.attrs["standby"], false)
	n.maint = boolOr(n.attrs["maintenance"], false)
	// Documented for Pacemaker Remote only: a cluster node is always looked at.
	n.noProbe = n.remote && !boolOr(n.attrs["resource-discovery-enabled"], true)
	if v := n.attrs["shutdown"]; v != "" && v != "0" {
		n.shutdown = true
	}
}

// nodeOnline decides from a node's state whether it takes part, is joining, or is lost.
func (c *cluster) nodeOnline(n *node) {
	s := n.state
	inCluster := boolOr(s.Get("in_ccm"), false) || timestamp(s.Get("in_ccm"))
	peer := s.Get("crmd") == "online" || timestamp(s.Get("crmd"))
	if !c.conf.stonith {
		c.onlineWithoutFencing(n, inCluster, peer)
		return
	}
	c.onlineWithFencing(n, inCluster, peer)
}

// timestamp tells whether a membership value is a time (as newer feature sets write) rather than a word.
func timestamp(s string) bool {
	v, err := strconv.ParseInt(s, 10, 64)
	return err == nil && v > 1
}

func (c *cluster) onlineWithoutFencing(n *node, inCluster, peer bool) {
	join := n.state.Get("join")
	switch {
	case !inCluster:
	case peer:
		n.online = join == "member"
	case !n.shutdown && n.state.Get("expected") == "member":
		c.mustFence(n, "peer is unexpectedly down")
	}
}

func (c *cluster) onlineWithFencing(n *node, inCluster, peer bool) {
	s := n.state
	join, expected := s.Get("join"), defaultTo(s.Get("expected"), "down")
	n.online = inCluster
	terminate := boolOr(n.attrs["terminate"], false) || timestamp(n.attrs["terminate"])
	switch {
	case n.shutdown:
		// A node that is leaving cannot be expected to be a member much longer.
		n.online = peer
	case s.Get("in_ccm") == "":
		c.mustFence(n, "peer has not been seen by the cluster")
	case join == "banned":
		c.mustFence(n, "peer failed Pacemaker membership criteria")
	case !terminate && expected == "down":
		n.pending = inCluster || peer
	case terminate && join == "down" && !inCluster && !peer:
		n.online = false
	case !inCluster:
		c.mustFence(n, "peer is no longer part of the cluster")
	case !peer:
		c.mustFence(n, "peer process is no longer available")
	case terminate:
		c.mustFence(n, "termination was requested")
	case join == "member":
		n.online = true
	case join == "pending" || join == "down":
		n.pending = true
	default:
		c.mustFence(n, "peer was in an unknown state")
	}
}

// mustFence marks a node that may be running things and must be made sure of.
func (c *cluster) mustFence(n *node, why string) {
	switch {
	case n.isGuest():
		c.recoverGuest(n)
		return
	case n.remote && n.connection != nil && n.connection.adrift:
		// What it was inside of is no longer configured: there is only the connection to be cleaned up.
		n.connection.failed, n.connection.failedStop = true, true
		return
	case n.remote:
		n.requiresReset = true
	}
	if !n.unclean || n.reason == "" {
		n.reason = why
	}
	n.unclean = true
}

// nodeStates describes the nodes for people.
func (c *cluster) nodeStates() []NodeState {
	out := make([]NodeState, 0, len(c.nodes))
	dc := c.doc.Root.Get("dc-uuid")
	for _, n := range c.nodes {
		s := NodeState{ID: n.id, Name: n.name, Online: n.online, Standby: n.standby, StandbyOnFail: n.onFail,
			Maintenance: n.maint, Pending: n.pending, Unclean: n.unclean, ShuttingDown: n.shutdown, Remote: n.isRemote(), Guest: n.isGuest(), Active: len(n.running),
			Health: c.healthColour(n), Attributes: n.attrs, Expected: !n.remote && !n.shutdown && n.state.Get("expected") == "member", DC: dc != "" && dc == n.id}
		if n.isGuest() && n.connection.container != nil {
			s.Container = n.connection.container.id
		}
		out = append(out, s)
	}
	return out
}
