// Package show prints what pcs and crm_mon print: status, resources, constraints, properties. It is pure: a CIB and the
// cluster's status in, lines of text out. The layouts are those of Pacemaker 2.1.5 and pcs 0.11, from their output.
package show

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Place is a resource's state on one node, as its operation history tells.
type Place struct {
	Node string
	// Role: Stopped, Started, Unpromoted, Promoted.
	Role string
	// Failed: the last thing known of it is a failure. Blocked: a stop failed, nothing can follow.
	Failed, Blocked bool
	// Pending is the operation under way (Starting, Stopping, Promoting, Demoting, Monitoring); empty when none.
	Pending string
	// Online: the node takes part in the cluster.
	Online bool
}

// Active tells whether the resource is, or may be, running there.
func (p Place) Active() bool { return p.Role != "Stopped" }

// Node is a cluster node as status lists it.
type Node struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// State: online, offline, unclean, pending.
	State       string `json:"state"`
	Standby     bool   `json:"standby"`
	Maintenance bool   `json:"maintenance"`
}

// Nodes reads the nodes of a CIB in name order.
func Nodes(doc *cib.Document) []Node {
	var out []Node
	for _, e := range doc.Nodes().ChildrenNamed("node") {
		n := Node{Name: e.Get("uname"), ID: e.ID()}
		n.State = nodeState(doc, n.Name)
		standby, _ := cib.ParseBool(doc.NodeAttribute(n.Name, "standby"))
		transient, _ := cib.ParseBool(doc.TransientAttribute(n.Name, "standby"))
		n.Standby = standby || transient
		n.Maintenance, _ = cib.ParseBool(doc.NodeAttribute(n.Name, "maintenance"))
		out = append(out, n)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func nodeState(doc *cib.Document, name string) string {
	s, ok := doc.NodeState(name)
	e := doc.Status().ChildWith("node_state", "uname", name)
	member := s.Member || e.Get("in_ccm") == "1"
	switch {
	case !ok:
		return "offline"
	case member && s.Online && s.Join == "member":
		return "online"
	case member:
		return "pending"
	case s.Expected == "member":
		return "unclean"
	}
	return "offline"
}

// Places tells where a primitive is, in the order of its nodes' names; nodes it has no history on are left out. Instances
// of a clone are taken together by node.
func Places(doc *cib.Document, primitive string) []Place {
	var out []Place
	for _, state := range doc.Status().ChildrenNamed("node_state") {
		for _, rsc := range state.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource") {
			if base(rsc.ID()) != primitive && rsc.ID() != primitive {
				continue
			}
			p := history(rsc)
			p.Node = state.Get("uname")
			p.Online = nodeState(doc, p.Node) == "online"
			if !p.Online && nodeState(doc, p.Node) != "unclean" {
				p.Role, p.Failed, p.Pending = "Stopped", false, ""
			}
			out = append(out, p)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Node < out[j].Node })
	return merge(out)
}

// base takes the instance number from a resource's name.
func base(id string) string {
	name, n, ok := strings.Cut(id, ":")
	if _, err := strconv.Atoi(n); ok && err == nil {
		return name
	}
	return id
}

// merge keeps, for each node, the active ones of several instances, or one stopped one.
func merge(places []Place) []Place {
	var out []Place
	for _, p := range places {
		i := slices.IndexFunc(out, func(q Place) bool { return q.Node == p.Node })
		switch {
		case i < 0:
			out = append(out, p)
		case !out[i].Active() && p.Active():
			out[i] = p
		}
	}
	return out
}

// history replays the operations of a resource on a node in the order of their calls.
func history(rsc *cib.Element) Place {
	ops := rsc.ChildrenNamed("lrm_rsc_op")
	sorted := slices.Clone(ops)
	sort.SliceStable(sorted, func(i, j int) bool { return callOrder(sorted[i]) < callOrder(sorted[j]) })
	p := Place{Role: "Stopped"}
	for _, op := range sorted {
		p.replay(op)
	}
	return p
}

// callOrder sorts operations: pending ones last.
func callOrder(op *cib.Element) int {
	n, err := strconv.Atoi(op.Get("call-id"))
	if err != nil || n < 0 {
		return 1 << 30
	}
	return n
}

// replay applies one operation's result.
func (p *Place) replay(op *cib.Element) {
	task := op.Get("operation")
	switch op.Get("op-status") {
	case "-1":
		p.Pending = pendingWord(task, op.Get("interval"))
		return
	case "1":
		return
	}
	if op.Get("op-status") == "0" && ended(op) {
		p.succeed(task, op.Get("rc-code"))
		return
	}
	p.fail(task, op.Get("rc-code"), op.Get("op-status"))
}

// ended tells whether an operation that ran ended as it may: with the code expected, or with one that only tells a state.
func ended(op *cib.Element) bool {
	rc := op.Get("rc-code")
	switch op.Get("operation") {
	case "monitor":
		interval := op.Get("interval")
		probe := interval == "" || interval == "0"
		return rc == "0" || rc == "8" || rc == "7" && probe || rc == "190" || rc == "191"
	case "stop":
		return rc == "0" || rc == "7"
	}
	return rc == "0"
}

func (p *Place) succeed(task, rc string) {
	p.Failed, p.Blocked, p.Pending = false, false, ""
	switch {
	case task == "monitor" && rc == "7", task == "stop", task == "migrate_to":
		p.Role = "Stopped"
	case task == "monitor" && (rc == "8" || rc == "191"), task == "promote":
		p.Role = "Promoted"
	case task == "monitor" && p.Role == "Promoted", task == "notify", task == "reload", task == "reload-agent":
		p.Role = keepStarted(p.Role)
	case task == "monitor", task == "start", task == "demote", task == "migrate_from":
		p.Role = "Started"
	}
}

// keepStarted is the role after something succeeded that only a running resource does.
func keepStarted(role string) string {
	if role == "Stopped" {
		return "Started"
	}
	return role
}

func (p *Place) fail(task, rc, status string) {
	p.Pending = ""
	if task == "notify" {
		return
	}
	if rc == "5" || rc == "6" || status == "7" {
		if task == "monitor" || task == "start" {
			return // it cannot be there
		}
	}
	p.Failed = true
	switch {
	case rc == "9" || rc == "8" || task == "promote" && p.Role == "Promoted" || task == "demote":
		p.Role = "Promoted"
	case task == "monitor" && rc == "7":
		p.Role = "Stopped"
	default:
		p.Role = keepStarted(p.Role)
	}
	p.Blocked = task == "stop"
}

func pendingWord(task, interval string) string {
	words := map[string]string{"start": "Starting", "stop": "Stopping", "promote": "Promoting", "demote": "Demoting",
		"migrate_to": "Migrating", "migrate_from": "Migrating"}
	if task == "monitor" && (interval == "0" || interval == "") {
		return "Monitoring"
	}
	return words[task]
}

// primitivesOf lists the ids of the primitives at or below a resource.
func primitivesOf(r *cib.Element) []string {
	var out []string
	r.Find(func(e *cib.Element) bool {
		if e.Name == "primitive" {
			out = append(out, e.ID())
		}
		return false
	})
	return out
}

// Running lists the nodes where a resource (a primitive, or any one inside a group or clone) is active, sorted; with
// promoted, where it is Promoted.
func Running(doc *cib.Document, r *cib.Element, promoted bool) []string {
	var out []string
	for _, id := range primitivesOf(r) {
		for _, p := range Places(doc, id) {
			if p.Active() && (!promoted || p.Role == "Promoted") && !slices.Contains(out, p.Node) {
				out = append(out, p.Node)
			}
		}
	}
	slices.Sort(out)
	return out
}
