package cib

// NodeState is what the cluster knows of a node: a <node_state> of the status section.
type NodeState struct {
	ID, Name string
	// Member: the node is in the membership (in_ccm).
	Member bool
	// Online: its controller takes part (crmd).
	Online bool
	// Join is the controller's progress: "down", "pending" or "member".
	Join string
	// Expected is what the node should be: "member", or "down" after a clean leave. A node expected to be a member
	// that is not one is lost and unclean.
	Expected string
}

// OnlineState is the state of a node that takes part in everything.
func OnlineState(id, name string) NodeState {
	return NodeState{ID: id, Name: name, Member: true, Online: true, Join: "member", Expected: "member"}
}

// OfflineState is the state of a node that left cleanly, or that was lost and is known to be fenced.
func OfflineState(id, name string) NodeState {
	return NodeState{ID: id, Name: name, Join: "down", Expected: "down"}
}

// SetNodeState writes a node's state, keeping its history and transient attributes.
func (d *Document) SetNodeState(s NodeState) {
	e := d.nodeState(s.ID, s.Name)
	e.Set("uname", s.Name)
	e.Set("in_ccm", boolText(s.Member))
	crmd := "offline"
	if s.Online {
		crmd = "online"
	}
	e.Set("crmd", crmd)
	e.Set("crm-debug-origin", "holdfast")
	e.Set("join", s.Join)
	e.Set("expected", s.Expected)
}

// NodeState reads a node's state and tells whether there is one.
func (d *Document) NodeState(uname string) (NodeState, bool) {
	e := d.Status().ChildWith("node_state", "uname", uname)
	if e == nil {
		return NodeState{}, false
	}
	return NodeState{ID: e.ID(), Name: uname, Member: e.Get("in_ccm") == "true", Online: e.Get("crmd") == "online",
		Join: e.Get("join"), Expected: e.Get("expected")}, true
}

// ForgetNode removes everything the status section holds about a node: done when a node that was lost and fenced comes
// back, since nothing of what it ran survived. It tells whether there was anything.
func (d *Document) ForgetNode(uname string) bool {
	e := d.Status().ChildWith("node_state", "uname", uname)
	return e != nil && d.Status().Remove(e)
}

// ClearHistory removes all operation history of a node, leaving its state and attributes.
func (d *Document) ClearHistory(uname string) bool {
	e := d.Status().ChildWith("node_state", "uname", uname)
	lrm := e.Child("lrm")
	return lrm != nil && e.Remove(lrm)
}

// ClearTransient removes all transient attributes of a node.
func (d *Document) ClearTransient(uname string) bool {
	e := d.Status().ChildWith("node_state", "uname", uname)
	t := e.Child("transient_attributes")
	return t != nil && e.Remove(t)
}

// nodeState finds the state element by id, else by name, else makes one.
func (d *Document) nodeState(id, uname string) *Element {
	st := d.Status()
	if e := st.ChildWith("node_state", "id", id); e != nil && id != "" {
		return e
	}
	if e := st.ChildWith("node_state", "uname", uname); e != nil {
		return e
	}
	if id == "" {
		id = d.NodeID(uname)
	}
	return st.Append(NewElement("node_state", "id", id, "uname", uname))
}

// NodeID is the id of the node with that name, or the name itself when the configuration has no such node.
func (d *Document) NodeID(uname string) string {
	if n := d.Node(uname); n != nil {
		return n.ID()
	}
	return uname
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
