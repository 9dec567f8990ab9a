package cib

import (
	"strconv"
	"strings"
	"time"
)

// SetTransientAttribute sets an attribute that lasts until the node leaves; the empty value removes it.
func (d *Document) SetTransientAttribute(node, name, value string) {
	state := d.nodeState("", node)
	if value == "" && state.Child("transient_attributes") == nil {
		return
	}
	t := state.Child("transient_attributes")
	if t == nil {
		t = state.Append(NewElement("transient_attributes", "id", state.ID()))
	}
	SetNV(t, "instance_attributes", "status-"+state.ID(), name, value)
	if len(t.Children) == 0 {
		state.Remove(t)
	}
}

// TransientAttribute reads an attribute set with SetTransientAttribute; "" when there is none.
func (d *Document) TransientAttribute(node, name string) string {
	e := d.Status().ChildWith("node_state", "uname", node)
	v, _ := NVLookup(e.Child("transient_attributes"), "instance_attributes", name)
	return v
}

// TransientAttributes reads all transient attributes of a node.
func (d *Document) TransientAttributes(node string) map[string]string {
	out := map[string]string{}
	e := d.Status().ChildWith("node_state", "uname", node)
	for _, set := range e.Child("transient_attributes").ChildrenNamed("instance_attributes") {
		for _, nv := range set.ChildrenNamed("nvpair") {
			out[nv.Get("name")] = nv.Get("value")
		}
	}
	return out
}

// PromotionScoreName is the transient attribute in which an agent (crm_master, crm_attribute --promotion) stores how
// much it wants the resource promoted on a node. The resource is named without an instance number.
func PromotionScoreName(rsc string) string { return "master-" + rsc }

// FailCountName is the transient attribute that counts failures of one operation of a resource.
func FailCountName(rsc, task string, interval time.Duration) string {
	return "fail-count-" + opRef(rsc, task, interval)
}

// LastFailureName is the transient attribute with the time (Unix seconds) of the last such failure.
func LastFailureName(rsc, task string, interval time.Duration) string {
	return "last-failure-" + opRef(rsc, task, interval)
}

func opRef(rsc, task string, interval time.Duration) string {
	return rsc + "#" + task + "_" + strconv.FormatInt(interval.Milliseconds(), 10)
}

// infinity is the score that nothing exceeds.
const infinity = 1000000

// RecordFailure counts a failed operation: fail-count rises by one, or becomes INFINITY when the failure is fatal (a
// failed stop; a failed start while start-failure-is-fatal), and last-failure is set to now.
func (d *Document) RecordFailure(node, rsc, task string, interval time.Duration, fatal bool, now time.Time) {
	name := FailCountName(rsc, task, interval)
	value := "INFINITY"
	if !fatal {
		n, err := strconv.Atoi(d.TransientAttribute(node, name))
		if d.TransientAttribute(node, name) != value && (err == nil || d.TransientAttribute(node, name) == "") && n+1 < infinity {
			value = strconv.Itoa(n + 1)
		}
	}
	d.SetTransientAttribute(node, name, value)
	d.SetTransientAttribute(node, LastFailureName(rsc, task, interval), strconv.FormatInt(now.Unix(), 10))
}

// ClearFailures removes the fail counts and failure times of a resource on a node and tells whether there were any. An
// empty task clears all operations; otherwise only that task with that interval.
func (d *Document) ClearFailures(node, rsc, task string, interval time.Duration) bool {
	found := false
	for name := range d.TransientAttributes(node) {
		if isFailureOf(name, rsc, task, interval) {
			d.SetTransientAttribute(node, name, "")
			found = true
		}
	}
	return found
}

func isFailureOf(attr, rsc, task string, interval time.Duration) bool {
	for _, prefix := range [2]string{"fail-count-", "last-failure-"} {
		rest, ok := strings.CutPrefix(attr, prefix)
		if !ok {
			continue
		}
		if task != "" {
			return rest == opRef(rsc, task, interval)
		}
		name, _, _ := strings.Cut(rest, "#")
		return name == rsc || strings.HasPrefix(name, rsc+":")
	}
	return false
}
