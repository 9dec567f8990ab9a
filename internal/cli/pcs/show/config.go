package show

import (
	"fmt"
	"sort"
	"strings"

	"holdfast/internal/cluster/cib"
)

// ResourceConfig prints the options of resources as `pcs resource config`: those named with all inside, or all,
// primitives first, then groups, then clones. unknown lists names there is no resource of.
func ResourceConfig(doc *cib.Document, names []string) (lines, unknown []string) {
	c := &config{}
	if len(names) == 0 {
		for _, kind := range []string{"primitive", "group", "clone", "master"} {
			for _, r := range doc.Resources().ChildrenNamed(kind) {
				c.resource(r, 0)
			}
		}
		return c.out, nil
	}
	for _, n := range names {
		r := doc.Resource(n)
		if r == nil {
			unknown = append(unknown, n)
			continue
		}
		c.resource(r, 0)
	}
	return c.out, unknown
}

type config struct{ out []string }

func (c *config) line(depth int, format string, a ...any) {
	c.out = append(c.out, strings.Repeat("  ", depth)+fmt.Sprintf(format, a...))
}

func (c *config) resource(r *cib.Element, depth int) {
	switch r.Name {
	case "primitive":
		c.line(depth, "Resource: %s (%s)", r.ID(), agentAttrs(r))
	case "group":
		c.line(depth, "Group: %s", r.ID())
	case "clone", "master":
		c.line(depth, "Clone: %s", r.ID())
	default:
		c.line(depth, "%s: %s", r.Name, r.ID())
	}
	c.sets(r, "Attributes", "instance_attributes", depth+1)
	c.sets(r, "Meta Attributes", "meta_attributes", depth+1)
	c.operations(r, depth+1)
	for _, m := range r.Children {
		if cib.IsResource(m) {
			c.resource(m, depth+1)
		}
	}
}

func agentAttrs(r *cib.Element) string {
	var out []string
	for _, a := range []string{"class", "provider", "type"} {
		if v := r.Get(a); v != "" {
			out = append(out, a+"="+v)
		}
	}
	return strings.Join(out, " ")
}

func (c *config) sets(r *cib.Element, title, name string, depth int) {
	for _, set := range r.ChildrenNamed(name) {
		c.line(depth, "%s: %s", title, set.ID())
		for _, nv := range sortedNV(set) {
			c.line(depth+1, "%s", NameValue(nv.Get("name"), nv.Get("value")))
		}
	}
}

func sortedNV(set *cib.Element) []*cib.Element {
	out := set.ChildrenNamed("nvpair")
	sort.SliceStable(out, func(i, j int) bool { return out[i].Get("name") < out[j].Get("name") })
	return out
}

// NameValue prints NAME=VALUE, the value in quotation marks when it holds blanks, quotes or '='.
func NameValue(name, value string) string {
	if value == "" || strings.ContainsAny(value, " \t\n\"'=") {
		value = `"` + strings.ReplaceAll(value, `"`, `\"`) + `"`
	}
	return name + "=" + value
}

func (c *config) operations(r *cib.Element, depth int) {
	ops := r.Child("operations").ChildrenNamed("op")
	if len(ops) == 0 {
		return
	}
	sort.SliceStable(ops, func(i, j int) bool { return ops[i].Get("name") < ops[j].Get("name") })
	c.line(depth, "Operations:")
	for _, op := range ops {
		c.line(depth+1, "%s: %s", op.Get("name"), op.ID())
		for _, a := range opAttrs(op) {
			c.line(depth+2, "%s", a)
		}
	}
}

// opAttrs lists an operation's attributes: interval first, then by name.
func opAttrs(op *cib.Element) []string {
	var out []string
	for _, a := range op.Attrs {
		if a.Name != "id" && a.Name != "name" && a.Name != "interval" {
			out = append(out, NameValue(a.Name, a.Value))
		}
	}
	for _, set := range op.ChildrenNamed("instance_attributes") {
		for _, nv := range sortedNV(set) {
			out = append(out, NameValue(nv.Get("name"), nv.Get("value")))
		}
	}
	sort.Strings(out)
	if iv, ok := op.Lookup("interval"); ok {
		out = append([]string{NameValue("interval", iv)}, out...)
	}
	return out
}

// Properties prints the cluster's properties, those named or all set ones, as `pcs property`.
func Properties(doc *cib.Document, names []string) []string {
	out := []string{"Cluster Properties:"}
	for _, set := range doc.CRMConfig().ChildrenNamed("cluster_property_set") {
		for _, nv := range sortedNV(set) {
			if len(names) == 0 || contains(names, nv.Get("name")) {
				out = append(out, " "+nv.Get("name")+": "+nv.Get("value"))
			}
		}
	}
	return append(out, nodeAttributes(doc, names)...)
}

func nodeAttributes(doc *cib.Document, names []string) []string {
	if len(names) > 0 {
		return nil
	}
	lines := NodeAttributes(doc, "")
	if len(lines) == 1 {
		return nil
	}
	return lines
}

// NodeAttributes prints the permanent attributes of one node, or of all.
func NodeAttributes(doc *cib.Document, node string) []string {
	out := []string{"Node Attributes:"}
	for _, n := range doc.Nodes().ChildrenNamed("node") {
		var pairs []string
		for _, set := range n.ChildrenNamed("instance_attributes") {
			for _, nv := range sortedNV(set) {
				pairs = append(pairs, NameValue(nv.Get("name"), nv.Get("value")))
			}
		}
		if len(pairs) > 0 && (node == "" || n.Get("uname") == node) {
			out = append(out, " "+n.Get("uname")+": "+strings.Join(pairs, " "))
		}
	}
	return out
}

// Defaults prints the sets of rsc_defaults or op_defaults.
func Defaults(doc *cib.Document, section string) []string {
	var out []string
	for _, set := range doc.Configuration().Child(section).ChildrenNamed("meta_attributes") {
		out = append(out, "Meta Attrs: "+set.ID())
		for _, nv := range sortedNV(set) {
			out = append(out, "  "+NameValue(nv.Get("name"), nv.Get("value")))
		}
	}
	if len(out) == 0 {
		return []string{"No defaults set"}
	}
	return out
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
