package cib

import "strings"

// propertySet is the id of the set that holds the cluster's properties, as Pacemaker and pcs make it.
const propertySet = "cib-bootstrap-options"

// Property reads a cluster property ("" when unset) from the first property set that has it.
func (d *Document) Property(name string) string {
	v, _ := NVLookup(d.CRMConfig(), "cluster_property_set", name)
	return v
}

// Property reads a cluster property of doc; see Document.Property.
func Property(doc *Document, name string) string { return doc.Property(name) }

// SetProperty sets a cluster property; the empty value removes it.
func (d *Document) SetProperty(name, value string) {
	SetNV(d.CRMConfig(), "cluster_property_set", propertySet, name, value)
}

// SetProperty sets a cluster property of doc; see Document.SetProperty.
func SetProperty(doc *Document, name, value string) { doc.SetProperty(name, value) }

// Meta reads a meta attribute of a resource, as written there: neither inherited nor defaulted.
func Meta(rsc *Element, name string) string {
	v, _ := NVLookup(rsc, "meta_attributes", name)
	return v
}

// SetMeta sets a meta attribute of a resource; the empty value removes it.
func SetMeta(rsc *Element, name, value string) {
	SetNV(rsc, "meta_attributes", rsc.ID()+"-meta_attributes", name, value)
}

// Instance reads an instance attribute (agent parameter) of a resource.
func Instance(rsc *Element, name string) string {
	v, _ := NVLookup(rsc, "instance_attributes", name)
	return v
}

// SetInstance sets an instance attribute of a resource; the empty value removes it.
func SetInstance(rsc *Element, name, value string) {
	SetNV(rsc, "instance_attributes", rsc.ID()+"-instance_attributes", name, value)
}

// NodeAttribute reads a permanent attribute of a node given by name.
func (d *Document) NodeAttribute(node, name string) string {
	v, _ := NVLookup(d.Node(node), "instance_attributes", name)
	return v
}

// SetNodeAttribute sets a permanent attribute of a node given by name; the empty value removes it. It tells whether the
// node exists.
func (d *Document) SetNodeAttribute(node, name, value string) bool {
	n := d.Node(node)
	if n == nil {
		return false
	}
	SetNV(n, "instance_attributes", "nodes-"+n.ID(), name, value)
	return true
}

// Node returns the <node> element of the node with that name, or nil.
func (d *Document) Node(uname string) *Element { return d.Nodes().ChildWith("node", "uname", uname) }

// AddNode enters a node, or renames the one with that id, and returns its element.
func (d *Document) AddNode(id, uname string) *Element {
	if n := d.Nodes().ChildWith("node", "id", id); n != nil {
		n.Set("uname", uname)
		return n
	}
	return d.Nodes().Append(NewElement("node", "id", id, "uname", uname))
}

// Resource returns the element of the resource (primitive, group, clone, bundle, also nested) with that id, or nil.
func (d *Document) Resource(id string) *Element {
	return d.Resources().Find(func(e *Element) bool { return IsResource(e) && e.ID() == id })
}

// IsResource tells whether an element configures a resource.
func IsResource(e *Element) bool {
	switch e.Name {
	case "primitive", "group", "clone", "master", "bundle":
		return true
	}
	return false
}

// NVLookup finds a name in the sets of one kind ("meta_attributes", ...) directly below an element.
func NVLookup(parent *Element, set, name string) (string, bool) {
	if parent == nil {
		return "", false
	}
	for _, s := range parent.Children {
		if s.Name != set {
			continue
		}
		if nv := s.ChildWith("nvpair", "name", name); nv != nil {
			return nv.Lookup("value")
		}
	}
	return "", false
}

// SetNV sets a name in the first set of that kind that has it, else in the first of the kind, else in a new one with
// the id setID. The empty value removes the name, and the set when nothing is left in it.
func SetNV(parent *Element, set, setID, name, value string) {
	target := nvSet(parent, set, name)
	if value == "" {
		removeNV(parent, target, name)
		return
	}
	if target == nil {
		target = NewElement(set, "id", setID)
		parent.Insert(nvSetPosition(parent), target)
	}
	if nv := target.ChildWith("nvpair", "name", name); nv != nil {
		nv.Set("value", value)
		return
	}
	id := target.ID() + "-" + sanitizeID(name)
	target.Append(NewElement("nvpair", "id", id, "name", name, "value", value))
}

func nvSet(parent *Element, set, name string) *Element {
	var first *Element
	for _, s := range parent.ChildrenNamed(set) {
		if s.ChildWith("nvpair", "name", name) != nil {
			return s
		}
		if first == nil {
			first = s
		}
	}
	return first
}

func removeNV(parent, set *Element, name string) {
	nv := set.ChildWith("nvpair", "name", name)
	if nv == nil {
		return
	}
	set.Remove(nv)
	if len(set.Children) == 0 && set.Name != "cluster_property_set" {
		parent.Remove(set)
	}
}

// nvSetPosition is where a new set goes: before what the schema wants after it.
func nvSetPosition(parent *Element) int {
	for i, c := range parent.Children {
		switch c.Name {
		case "primitive", "group", "operations", "template":
			return i
		}
	}
	return len(parent.Children)
}

// sanitizeID replaces what an XML id may not contain by dots.
func sanitizeID(s string) string {
	return strings.Map(func(c rune) rune {
		if isNameByte(byte(min(c, 0x80)), false) && c != ':' {
			return c
		}
		return '.'
	}, s)
}
