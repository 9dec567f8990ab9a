package cib

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The patch format is Pacemaker's <diff format="2">, as crm_diff prints it and `cibadmin --patch` takes it: deletions, then
// modifications, creations and moves in document order. Elements are named by paths, /cib/configuration/nodes/node[@id='1'];
// positions count the children of the result, from 0.

// Diff makes the patch that turns old into new. It names the versions it leads from and to, and the digest of the result. It is
// nil when the documents are equal.
func Diff(old, new *Document) (*Element, error) {
	patch, err := diff(old, new)
	if patch == nil || err != nil {
		return nil, err
	}
	patch.Set("digest", new.Digest())
	version := NewElement("version")
	version.Append(versionElement("source", old.Version()))
	version.Append(versionElement("target", new.Version()))
	patch.Insert(0, version)
	return patch, nil
}

// DiffContents is Diff without versions and without what tells who wrote the documents: the patch fits every document in which
// what it changes is as it was in old, and leaves its version alone.
func DiffContents(old, new *Document) (*Element, error) {
	root := *new.Root
	root.Attrs = slices.DeleteFunc(slices.Clone(old.Root.Attrs), func(a Attr) bool {
		_, kept := new.Root.Lookup(a.Name)
		return !kept && !isHeader(a.Name)
	})
	for _, a := range new.Root.Attrs {
		if !isHeader(a.Name) {
			root.Set(a.Name, a.Value)
		}
	}
	return diff(old, &Document{Root: &root})
}

// isHeader tells whether an attribute of <cib> is the version, or tells who wrote it.
func isHeader(name string) bool {
	return name == "admin_epoch" || name == "epoch" || name == "num_updates" || tellsWriter(name)
}

func diff(old, new *Document) (*Element, error) {
	if old.Root.Name != new.Root.Name || old.Root.Text != new.Root.Text {
		return nil, fmt.Errorf("compare <%s> with <%s>: their root elements must have one name, and no text", old.Root.Name, new.Root.Name)
	}
	if !patchable(old.Root, new.Root) {
		return nil, fmt.Errorf("compare two versions of <%s>: elements of one name without ids directly inside cannot be told apart; give them ids", old.Root.Name)
	}
	var d differ
	d.compare(old.Root, new.Root, "/"+old.Root.Name)
	if len(d.deletions)+len(d.changes) == 0 {
		return nil, nil
	}
	patch := NewElement("diff", "format", "2")
	patch.Children = append(d.deletions, d.changes...)
	return patch, nil
}

func versionElement(name string, v Version) *Element {
	return NewElement(name, "admin_epoch", strconv.Itoa(v.AdminEpoch), "epoch", strconv.Itoa(v.Epoch), "num_updates", strconv.Itoa(v.NumUpdates))
}

// differ collects the changes.
type differ struct {
	deletions, changes []*Element
}

// label names an element among its siblings, as a step of a path.
func label(e *Element) string {
	if id, ok := e.Lookup("id"); ok {
		return e.Name + "[@id='" + id + "']"
	}
	return e.Name
}

// patchable tells whether the changes between two elements of one label can be told as changes of their parts: paths must
// find each child, and there is no way to change text.
func patchable(old, new *Element) bool {
	return old.Text == new.Text && (distinct(old) && distinct(new) || slices.EqualFunc(old.Children, new.Children, equal))
}

// distinct tells whether the children have labels of their own.
func distinct(e *Element) bool {
	seen := map[string]bool{}
	for _, c := range e.Children {
		name := label(c)
		if seen[name] || strings.ContainsAny(c.ID(), "'\"") {
			return false
		}
		seen[name] = true
	}
	return true
}

// equal tells whether two elements say the same, in the same order.
func equal(a, b *Element) bool {
	return a.Name == b.Name && a.Text == b.Text && slices.Equal(a.Attrs, b.Attrs) && slices.EqualFunc(a.Children, b.Children, equal)
}

// compare notes what makes new of old, both at path.
func (d *differ) compare(old, new *Element, path string) {
	if !slices.Equal(old.Attrs, new.Attrs) {
		d.changes = append(d.changes, modification(old, new, path))
	}
	if slices.EqualFunc(old.Children, new.Children, equal) {
		return
	}
	next := map[string]*Element{}
	for _, c := range new.Children {
		next[label(c)] = c
	}
	var kept []*Element // those of new that are there already, in the order of old
	for _, c := range old.Children {
		if n := next[label(c)]; n != nil && patchable(c, n) {
			kept = append(kept, n)
			continue
		}
		d.deletions = append(d.deletions, NewElement("change", "operation", "delete", "path", path+"/"+label(c)))
	}
	for _, c := range old.Children {
		if n := next[label(c)]; slices.Contains(kept, n) {
			d.compare(c, n, path+"/"+label(c))
		}
	}
	d.arrange(kept, new.Children, path)
}

// arrange notes the creations and moves that make wanted of kept, front to back: whoever carries them out one by one has
// everything before a position in its place already.
func (d *differ) arrange(kept, wanted []*Element, path string) {
	for i, n := range wanted {
		if i < len(kept) && kept[i] == n {
			continue
		}
		c := NewElement("change", "operation", "create", "path", path, "position", strconv.Itoa(i))
		if at := slices.Index(kept, n); at >= 0 {
			c.Set("operation", "move")
			c.Set("path", path+"/"+label(n))
			kept = slices.Delete(kept, at, at+1)
		} else {
			c.Append(n.Clone())
		}
		kept = slices.Insert(kept, i, n)
		d.changes = append(d.changes, c)
	}
}

// modification words a change of attributes: one by one, for readers, and as a whole.
func modification(old, new *Element, path string) *Element {
	c := NewElement("change", "operation", "modify", "path", path)
	list := c.Append(NewElement("change-list"))
	for _, a := range new.Attrs {
		if v, ok := old.Lookup(a.Name); !ok || v != a.Value {
			list.Append(NewElement("change-attr", "name", a.Name, "operation", "set", "value", a.Value))
		}
	}
	for _, a := range old.Attrs {
		if _, ok := new.Lookup(a.Name); !ok {
			list.Append(NewElement("change-attr", "name", a.Name, "operation", "unset"))
		}
	}
	result := NewElement(new.Name)
	result.Attrs = slices.Clone(new.Attrs)
	c.Append(NewElement("change-result")).Append(result)
	return c
}
