// Package show prints what pcs and crm_mon print: status, resources, constraints, properties. It is pure: a CIB and the
// cluster's status in, lines of text out. Where resources are is the scheduler's to say, how that is worded package
// simulate's; the layouts around it are those of Pacemaker 2.1.5 and pcs 0.11, from their output.
package show

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
)

// Decide has the scheduler read where everything is, and why what does not run does not.
func Decide(doc *cib.Document, dc string, quorate bool, now time.Time) scheduler.Output {
	return scheduler.Schedule(scheduler.Input{CIB: doc, Now: now, Quorate: quorate, DC: dc})
}

// Resources prints all resources with where they run, as crm_mon's full list; empty when there are none. Inactive ones
// are left out when hide is set. Only those named (with what holds them) are printed when names is not empty.
func Resources(s *scheduler.State, hide bool, names ...string) []string {
	shown := *s
	shown.Resources = nil
	for _, r := range s.Resources {
		if len(names) > 0 && !holdsAny(r, names) || hide && !r.ActiveAny {
			continue
		}
		if hide {
			r = activeOnly(r)
		}
		shown.Resources = append(shown.Resources, r)
	}
	return indented(simulate.ResourceLines(&shown))
}

func indented(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = "  " + l
	}
	return out
}

// activeOnly leaves out what is not active inside a group or clone.
func activeOnly(r scheduler.ResourceState) scheduler.ResourceState {
	r.Candidates = nil
	r.Children = slices.DeleteFunc(slices.Clone(r.Children), func(k scheduler.ResourceState) bool { return !k.ActiveAny })
	for i := range r.Children {
		r.Children[i] = activeOnly(r.Children[i])
	}
	return r
}

// holdsAny tells whether a resource or one inside it has one of the names.
func holdsAny(r scheduler.ResourceState, names []string) bool {
	return slices.Contains(names, base(r.ID)) || slices.ContainsFunc(r.Children, func(k scheduler.ResourceState) bool { return holdsAny(k, names) })
}

// base takes the instance number from a resource's name.
func base(id string) string {
	name, n, ok := strings.Cut(id, ":")
	if _, err := strconv.Atoi(n); ok && err == nil {
		return name
	}
	return id
}

// walk visits a resource and all inside it.
func walk(list []scheduler.ResourceState, visit func(r scheduler.ResourceState)) {
	for _, r := range list {
		visit(r)
		walk(r.Children, visit)
	}
}

// Running lists the nodes where a resource (or anything inside it) is active, sorted; with promoted, where it is Promoted.
func Running(s *scheduler.State, id string, promoted bool) []string {
	var out []string
	walk(s.Resources, func(named scheduler.ResourceState) {
		if base(named.ID) != id {
			return
		}
		walk([]scheduler.ResourceState{named}, func(r scheduler.ResourceState) {
			if r.Kind == scheduler.Primitive && (!promoted || r.Role == scheduler.RolePromoted) {
				out = append(out, r.Nodes...)
			}
		})
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// NodeList prints the lines below "Node List:".
func NodeList(s *scheduler.State) []string {
	var out []string
	for _, l := range simulate.NodeLines(s.Nodes) {
		out = append(out, "  * "+l)
	}
	return out
}

// Instances is how many instances a resource has: 1, or a clone's clone-max (all nodes by default).
func Instances(doc *cib.Document, r *cib.Element) int {
	if r.Name != "clone" && r.Name != "master" {
		return 1
	}
	n, err := strconv.Atoi(cib.Meta(r, "clone-max"))
	if err != nil {
		n = len(doc.Nodes().ChildrenNamed("node"))
	}
	return n
}

// CountInstances is the number of resource instances configured, as crm_mon's summary counts them.
func CountInstances(doc *cib.Document) int {
	total := 0
	for _, r := range doc.Resources().Children {
		if cib.IsResource(r) {
			total += len(primitives(r)) * Instances(doc, r)
		}
	}
	return total
}

// primitives lists the primitives at or below a resource.
func primitives(r *cib.Element) []*cib.Element {
	var out []*cib.Element
	r.Find(func(e *cib.Element) bool {
		if e.Name == "primitive" {
			out = append(out, e)
		}
		return false
	})
	return out
}

// Meta reads a resource's meta attribute, its own, inherited from what holds it, or from rsc_defaults.
func Meta(doc *cib.Document, r *cib.Element, name string) string {
	for x := r; x != nil && cib.IsResource(x); x = doc.Resources().Parent(x) {
		if s := cib.Meta(x, name); s != "" {
			return s
		}
	}
	s, _ := cib.NVLookup(doc.Configuration().Child("rsc_defaults"), "meta_attributes", name)
	return s
}
