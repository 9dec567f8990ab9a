package cib

import "slices"

// Attr is one XML attribute.
type Attr struct {
	Name, Value string
}

// Element is one XML element. Attributes and children keep the order in which they were read or added.
type Element struct {
	Name     string
	Attrs    []Attr
	Children []*Element
	// Text is the character data directly inside the element, trimmed of surrounding white space.
	Text string

	line int
}

// NewElement makes an element; attrs are names and values in turn.
func NewElement(name string, attrs ...string) *Element {
	e := &Element{Name: name}
	for i := 0; i+1 < len(attrs); i += 2 {
		e.Attrs = append(e.Attrs, Attr{attrs[i], attrs[i+1]})
	}
	return e
}

// Line is the line of the element's start tag in the parsed text, from 1; 0 for an element made in memory.
func (e *Element) Line() int { return e.line }

// ID is the value of the attribute "id".
func (e *Element) ID() string { return e.Get("id") }

// Get returns the value of an attribute, or "" when there is none (also on a nil element).
func (e *Element) Get(name string) string {
	v, _ := e.Lookup(name)
	return v
}

// Lookup returns the value of an attribute and whether it is there.
func (e *Element) Lookup(name string) (string, bool) {
	if e == nil {
		return "", false
	}
	for i := range e.Attrs {
		if e.Attrs[i].Name == name {
			return e.Attrs[i].Value, true
		}
	}
	return "", false
}

// Set gives an attribute a value, keeping its place when it exists.
func (e *Element) Set(name, value string) {
	for i := range e.Attrs {
		if e.Attrs[i].Name == name {
			e.Attrs[i].Value = value
			return
		}
	}
	e.Attrs = append(e.Attrs, Attr{name, value})
}

// Del removes an attribute and tells whether it was there.
func (e *Element) Del(name string) bool {
	for i := range e.Attrs {
		if e.Attrs[i].Name == name {
			e.Attrs = slices.Delete(e.Attrs, i, i+1)
			return true
		}
	}
	return false
}

// Child returns the first child element of that name, or nil (also on a nil element).
func (e *Element) Child(name string) *Element {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// EnsureChild returns the first child of that name, appending an empty one when there is none.
func (e *Element) EnsureChild(name string) *Element {
	if c := e.Child(name); c != nil {
		return c
	}
	return e.Append(NewElement(name))
}

// ChildrenNamed returns the child elements of that name, in order.
func (e *Element) ChildrenNamed(name string) []*Element {
	if e == nil {
		return nil
	}
	var out []*Element
	for _, c := range e.Children {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// ChildWith returns the first child of that name whose attribute has the value, or nil.
func (e *Element) ChildWith(name, attr, value string) *Element {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.Name == name && c.Get(attr) == value {
			return c
		}
	}
	return nil
}

// Find returns the first element, in document order and including e itself, that match accepts; nil when none does.
func (e *Element) Find(match func(*Element) bool) *Element {
	if e == nil {
		return nil
	}
	if match(e) {
		return e
	}
	for _, c := range e.Children {
		if f := c.Find(match); f != nil {
			return f
		}
	}
	return nil
}

// ByID returns the first element below or at e whose id is the given one, or nil.
func (e *Element) ByID(id string) *Element {
	return e.Find(func(x *Element) bool { return x.Get("id") == id })
}

// Parent returns the element below or at e that has child as a direct child, or nil.
func (e *Element) Parent(child *Element) *Element {
	return e.Find(func(x *Element) bool { return slices.Contains(x.Children, child) })
}

// Append adds a child at the end and returns it.
func (e *Element) Append(child *Element) *Element {
	e.Children = append(e.Children, child)
	return child
}

// Insert adds a child at position i (clamped to the ends) and returns it.
func (e *Element) Insert(i int, child *Element) *Element {
	i = max(0, min(i, len(e.Children)))
	e.Children = slices.Insert(e.Children, i, child)
	return child
}

// Remove takes a direct child out and tells whether it was there.
func (e *Element) Remove(child *Element) bool {
	i := slices.Index(e.Children, child)
	if i < 0 {
		return false
	}
	e.Children = slices.Delete(e.Children, i, i+1)
	return true
}

// Clone copies the element and everything below it.
func (e *Element) Clone() *Element {
	if e == nil {
		return nil
	}
	c := &Element{Name: e.Name, Attrs: slices.Clone(e.Attrs), Text: e.Text, line: e.line}
	if len(e.Children) > 0 {
		c.Children = make([]*Element, len(e.Children))
		for i, k := range e.Children {
			c.Children[i] = k.Clone()
		}
	}
	return c
}
