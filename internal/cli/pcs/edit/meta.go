package edit

import (
	"fmt"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Meta sets meta attributes of a resource; empty values remove.
func (e *Editor) Meta(id string, pairs []Pair) error {
	r := e.Doc.Resource(id)
	if r == nil {
		return fmt.Errorf("unable to find a resource/clone/group: %s%s", id, e.near(id))
	}
	out := make([]Pair, len(pairs))
	for i, p := range pairs {
		out[i] = p
		if IsClone(r) {
			out[i].Name = presentMeta(p.Name)
		}
		if role, ok := presentRole(p.Value); ok && p.Name == "target-role" {
			out[i].Value = role
		}
	}
	setPairs(r, "meta_attributes", out)
	return nil
}

// SetEnabled lets the cluster run resources, or makes it stop them.
func (e *Editor) SetEnabled(ids []string, on bool) error {
	for _, id := range ids {
		r, err := e.Resource(id)
		if err != nil {
			return err
		}
		if !on {
			cib.SetMeta(r, "target-role", "Stopped")
			continue
		}
		for _, x := range e.enableScope(r) {
			cib.SetMeta(x, "target-role", "")
		}
	}
	return nil
}

// enableScope is what must not be disabled for r to run: r, the clones and groups around it, and what is inside a clone.
func (e *Editor) enableScope(r *cib.Element) []*cib.Element {
	out := []*cib.Element{r}
	if IsClone(r) {
		out = append(out, Members(r)...)
	}
	if p := e.Inside(r); p != nil && IsClone(p) {
		out = append(out, p)
	}
	return out
}

// SetManaged lets the cluster act on resources, or makes it leave them alone. With monitors the recurring monitors are
// switched too.
func (e *Editor) SetManaged(ids []string, on, monitors bool) error {
	for _, id := range ids {
		r, err := e.Resource(id)
		if err != nil {
			return err
		}
		if on {
			for x := r; x != nil; x = e.Inside(x) {
				cib.SetMeta(x, "is-managed", "")
			}
		}
		for _, p := range Primitives(r) {
			cib.SetMeta(p, "is-managed", falseUnless(on))
		}
		if monitors {
			e.switchMonitors(r, on)
		}
	}
	return nil
}

// falseUnless is the value that unsets a flag, or sets it to false.
func falseUnless(on bool) string {
	if on {
		return ""
	}
	return "false"
}

func (e *Editor) switchMonitors(r *cib.Element, on bool) {
	for _, p := range Primitives(r) {
		for _, op := range p.Child("operations").ChildrenNamed("op") {
			if op.Get("name") != "monitor" {
				continue
			}
			op.Del("enabled")
			if !on {
				op.Set("enabled", "false")
			}
		}
	}
}

// SetDefaults sets values in rsc_defaults or op_defaults; empty values remove.
func (e *Editor) SetDefaults(section string, pairs []Pair) error {
	conf := e.Doc.Configuration()
	sec := conf.EnsureChild(section)
	for _, p := range pairs {
		if p.Name == "" || strings.ContainsAny(p.Name, " <>&\"") {
			return fmt.Errorf("'%s' is not a valid name of a default", p.Name)
		}
		cib.SetNV(sec, "meta_attributes", section+"-meta_attributes", p.Name, p.Value)
	}
	if len(sec.Children) == 0 {
		conf.Remove(sec)
	}
	e.warnf("Defaults do not apply to resources which override them with their own defined values")
	return nil
}

// SetNodeFlags sets a permanent attribute (standby, maintenance) of nodes to on, or removes it.
func (e *Editor) SetNodeFlags(nodes []string, name string, on bool) error {
	value := ""
	if on {
		value = "on"
	}
	for _, n := range nodes {
		if !e.Doc.SetNodeAttribute(n, name, value) {
			return fmt.Errorf("node '%s' does not appear to exist in configuration%s", n, e.knownNodes())
		}
	}
	return nil
}

// SetNodeAttributes sets permanent attributes of a node; empty values remove.
func (e *Editor) SetNodeAttributes(node string, pairs []Pair) error {
	for _, p := range pairs {
		if !e.Doc.SetNodeAttribute(node, p.Name, p.Value) {
			return fmt.Errorf("node '%s' does not appear to exist in configuration%s", node, e.knownNodes())
		}
	}
	return nil
}

// Nodes lists the names of the CIB's nodes.
func Nodes(doc *cib.Document) []string {
	var out []string
	for _, n := range doc.Nodes().ChildrenNamed("node") {
		out = append(out, n.Get("uname"))
	}
	return out
}

func (e *Editor) knownNodes() string {
	return "; there are: " + strings.Join(Nodes(e.Doc), ", ")
}
