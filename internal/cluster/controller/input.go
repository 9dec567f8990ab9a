package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/state"
)

// Why completes "replica not in U": what keeps a replica out, such as "resync 43 %". It may return "".
type Why func(volume, node string) string

// Input is what the scheduler decides on, made from a state of the log: also what `pcs status` explains a state with, on
// any node. why may be nil.
func Input(view *state.View, now time.Time, quorate bool, dc string, why Why) scheduler.Input {
	return scheduler.Input{CIB: view.CIB, Now: now, Quorate: quorate, DC: dc, Forbid: forbid(view, why), Cautious: true}
}

// forbid lists the promotions the volume log would refuse (DESIGN S1, S3), sorted by resource and node.
func forbid(view *state.View, why Why) []scheduler.Forbid {
	var out []scheduler.Forbid
	if view.CIB == nil {
		return nil
	}
	for _, p := range cib.VolumePrimitives(view.CIB.Resources()) {
		v := view.Volumes[p.Volume]
		for _, node := range view.MemberNames() {
			if view.Members[node].Kind != state.Data {
				continue
			}
			if text := forbidden(v, p.Volume, node, why); text != "" {
				out = append(out, scheduler.Forbid{Resource: p.Resource, Node: node, Why: text})
			}
		}
	}
	slices.SortFunc(out, func(a, b scheduler.Forbid) int {
		return strings.Compare(a.Resource+" "+a.Node, b.Resource+" "+b.Node)
	})
	return out
}

func forbidden(v state.Volume, volume, node string, why Why) string {
	if !v.Adopted {
		return fmt.Sprintf("volume %s is not in the cluster's log yet: its replicas have to be connected and UpToDate once", volume)
	}
	if _, in := v.Replica(node); in {
		return ""
	}
	text := fmt.Sprintf("the replica of volume %s is not up to date", volume)
	if why != nil {
		if more := why(volume, node); more != "" {
			text += ": " + more
		}
	}
	return text
}

// CleanupEdits are the edits that make the cluster forget failures and history of a resource (a primitive, or everything
// in a group or clone; all resources when empty) on a node (all when empty): what it then does not know it probes again.
// The error says that there is no such resource or node.
func CleanupEdits(view *state.View, resource, node string) ([]state.StatusEdit, error) {
	nodes, err := cleanupNodes(view, node)
	if err != nil {
		return nil, err
	}
	ids, err := cleanupResources(view, resource, nodes)
	if err != nil {
		return nil, err
	}
	var edits []state.StatusEdit
	for _, n := range nodes {
		for _, id := range ids {
			edits = append(edits, state.StatusEdit{ClearFailures: &state.HistoryEdit{Node: n, Resource: id}},
				state.StatusEdit{DeleteHistory: &state.HistoryEdit{Node: n, Resource: id}})
		}
	}
	return edits, nil
}

func cleanupNodes(view *state.View, node string) ([]string, error) {
	var nodes []string
	for _, n := range view.MemberNames() {
		if view.Members[n].Kind == state.Data && (node == "" || n == node) {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("node %q is not in the cluster: it has the nodes %s", node, strings.Join(view.MemberNames(), ", "))
	}
	return nodes, nil
}

// cleanupResources names the history entries meant. Without a resource that is all there are, also orphans'.
func cleanupResources(view *state.View, resource string, nodes []string) ([]string, error) {
	ids := map[string]bool{}
	if resource == "" {
		for _, key := range slices.Sorted(maps.Keys(historyKeys(view))) {
			if node, rsc, ok := strings.Cut(key, "\x00"); ok && slices.Contains(nodes, node) {
				ids[rsc] = true
			}
		}
		return slices.Sorted(maps.Keys(ids)), nil
	}
	e := find(view.CIB.Resources(), resource)
	if e == nil {
		if _, known := historyOf(view, resource); !known {
			return nil, fmt.Errorf("there is no resource %q in the configuration or the history", resource)
		}
		return []string{resource}, nil
	}
	for _, p := range primitives(e) {
		ids[p] = true
		instances, _ := historyOf(view, p)
		for _, id := range instances {
			ids[id] = true // web:0, web:1 of a unique clone
		}
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

// historyOf lists the history entries of a primitive and its numbered instances.
func historyOf(view *state.View, id string) (ids []string, known bool) {
	for key := range historyKeys(view) {
		_, rsc, _ := strings.Cut(key, "\x00")
		if rsc == id || strings.HasPrefix(rsc, id+":") {
			ids = append(ids, rsc)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), len(ids) > 0
}

func find(e *cib.Element, id string) *cib.Element {
	for _, c := range e.Children {
		if c.ID() == id && slices.Contains([]string{"primitive", "group", "clone", "master"}, c.Name) {
			return c
		}
		if x := find(c, id); x != nil {
			return x
		}
	}
	return nil
}

func primitives(e *cib.Element) []string {
	if e.Name == "primitive" {
		return []string{e.ID()}
	}
	var out []string
	for _, c := range e.Children {
		out = append(out, primitives(c)...)
	}
	return out
}
