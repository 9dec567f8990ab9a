package show

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Resources prints all resources with where they run, as crm_mon's full list; empty when there are none. Inactive ones
// are left out when hide is set. Only those named (with what holds them) are printed when names is not empty.
func Resources(doc *cib.Document, hide bool, names ...string) []string {
	v := &view{doc: doc, hide: hide}
	for _, r := range doc.Resources().Children {
		if cib.IsResource(r) && (len(names) == 0 || holdsAny(r, names)) {
			v.resource(r, 1)
		}
	}
	return v.out
}

// holdsAny tells whether r or a resource inside it is named.
func holdsAny(r *cib.Element, names []string) bool {
	return r.Find(func(e *cib.Element) bool { return cib.IsResource(e) && slices.Contains(names, e.ID()) }) != nil
}

type view struct {
	doc  *cib.Document
	hide bool
	out  []string
}

func (v *view) line(depth int, format string, a ...any) {
	v.out = append(v.out, strings.Repeat("  ", depth)+"* "+fmt.Sprintf(format, a...))
}

func (v *view) resource(r *cib.Element, depth int) {
	switch r.Name {
	case "primitive":
		v.primitive(r, depth)
	case "group":
		v.group(r, depth)
	case "clone", "master":
		v.clone(r, depth)
	default:
		v.line(depth, "%s (%s)", r.ID(), r.Name)
	}
}

func (v *view) primitive(r *cib.Element, depth int) {
	active := v.active(r.ID())
	if len(active) == 0 {
		if !v.hide {
			v.line(depth, "%s\t(%s):\t %s", r.ID(), Agent(r), flags("Stopped", v.marks(r)))
		}
		return
	}
	if len(active) == 1 {
		v.line(depth, "%s\t(%s):\t %s", r.ID(), Agent(r), v.where(r, active[0]))
		return
	}
	var nodes []string
	for _, p := range active {
		nodes = append(nodes, p.Node)
	}
	v.line(depth, "%s\t(%s):\t Started [ %s ]", r.ID(), Agent(r), strings.Join(nodes, " "))
}

// where prints state and node of one place: Started db1 (unmanaged).
func (v *view) where(r *cib.Element, p Place) string {
	word := p.Role
	if p.Failed {
		word = "FAILED"
		if p.Role == "Promoted" {
			word = "FAILED Promoted"
		}
	}
	if p.Pending != "" && p.Pending != "Monitoring" {
		word = p.Pending
	}
	marks := v.marks(r)
	if p.Blocked {
		marks = append(marks, "blocked")
	}
	return flags(word+" "+p.Node, marks)
}

func flags(text string, marks []string) string {
	if len(marks) > 0 {
		text += " (" + strings.Join(marks, ", ") + ")"
	}
	return text
}

// marks are the remarks in brackets: disabled, unmanaged.
func (v *view) marks(r *cib.Element) []string {
	var out []string
	if strings.EqualFold(Meta(v.doc, r, "target-role"), "Stopped") {
		out = append(out, "disabled")
	}
	if managed, ok := cib.ParseBool(Meta(v.doc, r, "is-managed")); ok && !managed {
		out = append(out, "unmanaged")
	}
	if on, _ := cib.ParseBool(Meta(v.doc, r, "maintenance")); on {
		out = append(out, "maintenance")
	}
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

// active lists the places where a primitive is active or has just been asked to act.
func (v *view) active(id string) []Place {
	var out []Place
	for _, p := range Places(v.doc, id) {
		if p.Active() || p.Failed || p.Pending != "" && p.Pending != "Monitoring" {
			out = append(out, p)
		}
	}
	return out
}

// Agent prints a primitive's agent: ocf:heartbeat:Filesystem.
func Agent(r *cib.Element) string {
	parts := []string{r.Get("class")}
	if r.Get("provider") != "" {
		parts = append(parts, r.Get("provider"))
	}
	return strings.Join(append(parts, r.Get("type")), ":")
}

func (v *view) group(r *cib.Element, depth int) {
	at := len(v.out)
	for _, m := range r.ChildrenNamed("primitive") {
		v.primitive(m, depth+1)
	}
	if v.hide && len(v.out) == at {
		return
	}
	head := strings.Repeat("  ", depth) + "* " + flags("Resource Group: "+r.ID(), v.marks(r)) + ":"
	v.out = slices.Insert(v.out, at, head)
}

func (v *view) clone(r *cib.Element, depth int) {
	inner := r.Child("primitive")
	if inner == nil {
		inner = r.Child("group")
	}
	if inner == nil {
		v.line(depth, "Clone Set: %s [?]", r.ID())
		return
	}
	promotable := isPromotable(r)
	var marks []string
	if promotable {
		marks = append(marks, "promotable")
	}
	for _, m := range v.marks(r) {
		if m != "disabled" {
			marks = append(marks, m)
		}
	}
	v.line(depth, "%s:", flags("Clone Set: "+r.ID()+" ["+inner.ID()+"]", marks))
	v.instances(r, inner, promotable, depth+1)
}

func isPromotable(r *cib.Element) bool {
	on, _ := cib.ParseBool(cib.Meta(r, "promotable"))
	return on || r.Name == "master"
}

// instances prints a clone's nodes by role; instances that are not simply running get a line of their own.
func (v *view) instances(clone, inner *cib.Element, promotable bool, depth int) {
	byRole := map[string][]string{}
	seen := map[string]bool{}
	for _, p := range v.clonePlaces(inner) {
		if p.Failed || p.Pending != "" && p.Pending != "Monitoring" {
			v.line(depth, "%s\t(%s):\t %s", inner.ID(), agentOf(inner), v.where(inner, p))
			seen[p.Node] = true
			continue
		}
		if p.Active() {
			byRole[p.Role] = append(byRole[p.Role], p.Node)
			seen[p.Node] = true
		}
	}
	v.roles(byRole, promotable, depth)
	if stopped := v.stopped(clone, seen); len(stopped) > 0 && !v.hide {
		word := "Stopped"
		if strings.EqualFold(Meta(v.doc, inner, "target-role"), "Stopped") {
			word = "Stopped (disabled)"
		}
		v.line(depth, "%s: [ %s ]", word, strings.Join(stopped, " "))
	}
}

func agentOf(r *cib.Element) string {
	if r.Name == "primitive" {
		return Agent(r)
	}
	return "group"
}

func (v *view) roles(byRole map[string][]string, promotable bool, depth int) {
	if promotable {
		byRole["Unpromoted"] = append(byRole["Unpromoted"], byRole["Started"]...)
		delete(byRole, "Started")
	}
	for _, role := range []string{"Promoted", "Started", "Unpromoted"} {
		if nodes := byRole[role]; len(nodes) > 0 {
			slices.Sort(nodes)
			v.line(depth, "%s: [ %s ]", role, strings.Join(nodes, " "))
		}
	}
}

// clonePlaces is where the clone's primitive is; of a cloned group, where all of its members are.
func (v *view) clonePlaces(inner *cib.Element) []Place {
	if inner.Name == "primitive" {
		return v.active(inner.ID())
	}
	var out []Place
	for i, m := range inner.ChildrenNamed("primitive") {
		here := v.active(m.ID())
		if i == 0 {
			out = here
			continue
		}
		out = slices.DeleteFunc(out, func(p Place) bool {
			return !slices.ContainsFunc(here, func(q Place) bool { return q.Node == p.Node })
		})
	}
	return out
}

// stopped lists the nodes where an instance could run and none does, up to the number of instances missing.
func (v *view) stopped(clone *cib.Element, seen map[string]bool) []string {
	nodes := Nodes(v.doc)
	missing := Instances(v.doc, clone) - len(seen)
	var out []string
	for _, n := range nodes {
		if !seen[n.Name] && len(out) < missing {
			out = append(out, n.Name)
		}
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
		if !cib.IsResource(r) {
			continue
		}
		n := 0
		r.Find(func(e *cib.Element) bool {
			if e.Name == "primitive" {
				n++
			}
			return false
		})
		total += n * Instances(doc, r)
	}
	return total
}
