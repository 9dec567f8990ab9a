// Package edit changes a CIB document as the pcs verbs do: same elements, same ids, same refusals. It is pure: documents
// in, documents out. Element and id forms are those pcs 0.11 writes.
package edit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Editor is one change of a document in progress.
type Editor struct {
	Doc *cib.Document
	// Force turns refusals that have a way round into warnings.
	Force bool
	// Warnings and Notes are for the user once the change is done; Notes are what pcs prints as information.
	Warnings, Notes []string
}

// Pair is a name with a value.
type Pair struct{ Name, Value string }

// problem refuses something that --force lets through.
func (e *Editor) problem(format string, a ...any) error {
	text := fmt.Sprintf(format, a...)
	if e.Force {
		e.Warnings = append(e.Warnings, text)
		return nil
	}
	return fmt.Errorf("%s, use --force to override", text)
}

func (e *Editor) warnf(format string, a ...any) {
	e.Warnings = append(e.Warnings, fmt.Sprintf(format, a...))
}

func (e *Editor) notef(format string, a ...any) {
	e.Notes = append(e.Notes, fmt.Sprintf(format, a...))
}

// freeID returns want, or want-1, want-2, ... when that is taken.
func (e *Editor) freeID(want string) string {
	want = cleanID(want)
	id := want
	for n := 1; e.Doc.Root.ByID(id) != nil; n++ {
		id = want + "-" + strconv.Itoa(n)
	}
	return id
}

// cleanID drops what an XML id may not hold.
func cleanID(s string) string {
	keep := func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			return r
		}
		return -1
	}
	return strings.TrimLeft(strings.Map(keep, s), "0123456789-.")
}

// checkNew refuses an id that is malformed or taken. what names the kind of thing: resource name, ...
func (e *Editor) checkNew(id, what string) error {
	for i, r := range id {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || i > 0 && (r >= '0' && r <= '9' || r == '-' || r == '.')
		if !ok {
			place := "character"
			if i == 0 {
				place = "first character"
			}
			return fmt.Errorf("invalid %s '%s', '%c' is not a valid %s for a %s", what, id, r, place, what)
		}
	}
	if id == "" {
		return fmt.Errorf("the %s is empty", what)
	}
	if e.Doc.Root.Child("configuration").ByID(id) != nil {
		return fmt.Errorf("'%s' already exists", id)
	}
	return nil
}

// Resource finds a resource or says that there is none.
func (e *Editor) Resource(id string) (*cib.Element, error) {
	if r := e.Doc.Resource(id); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("bundle/clone/group/resource '%s' does not exist%s", id, e.near(id))
}

// near suggests a resource with a name like id.
func (e *Editor) near(id string) string {
	var found string
	e.Doc.Resources().Find(func(r *cib.Element) bool {
		if cib.IsResource(r) && (strings.EqualFold(r.ID(), id) || strings.ReplaceAll(r.ID(), "-", "_") == strings.ReplaceAll(id, "-", "_")) {
			found = r.ID()
		}
		return found != ""
	})
	if found == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean '%s'?", found)
}

// Inside returns the resource (group, clone, bundle) that directly holds r, or nil.
func (e *Editor) Inside(r *cib.Element) *cib.Element {
	p := e.Doc.Resources().Parent(r)
	if p == nil || !cib.IsResource(p) {
		return nil
	}
	return p
}

// Outermost returns the outermost resource that holds r: r itself when it stands alone.
func (e *Editor) Outermost(r *cib.Element) *cib.Element {
	for p := e.Inside(r); p != nil; p = e.Inside(r) {
		r = p
	}
	return r
}

// IsClone tells whether an element is a clone, in the old or the present spelling.
func IsClone(r *cib.Element) bool { return r.Name == "clone" || r.Name == "master" }

// Members lists the resources directly inside a group or clone.
func Members(r *cib.Element) []*cib.Element {
	var out []*cib.Element
	for _, c := range r.Children {
		if cib.IsResource(c) {
			out = append(out, c)
		}
	}
	return out
}

// Primitives lists the primitives at or below r, in order.
func Primitives(r *cib.Element) []*cib.Element {
	if r.Name == "primitive" {
		return []*cib.Element{r}
	}
	var out []*cib.Element
	for _, m := range Members(r) {
		out = append(out, Primitives(m)...)
	}
	return out
}

// setPairs sets names in the first set of a kind of an element; an empty value removes the name.
func setPairs(parent *cib.Element, set string, pairs []Pair) {
	sorted := slices.Clone(pairs)
	slices.SortStableFunc(sorted, func(a, b Pair) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range sorted {
		cib.SetNV(parent, set, parent.ID()+"-"+set, p.Name, p.Value)
	}
}

// Words the CIB's roles had before OCF 1.1, and the present ones.
func presentRole(s string) (string, bool) {
	switch strings.ToLower(s) {
	case "master", "promoted":
		return "Promoted", true
	case "slave", "unpromoted":
		return "Unpromoted", true
	case "started":
		return "Started", true
	case "stopped":
		return "Stopped", true
	}
	return s, false
}

// presentMeta gives the present name of a clone's meta attribute.
func presentMeta(name string) string {
	switch name {
	case "master-max":
		return "promoted-max"
	case "master-node-max":
		return "promoted-node-max"
	}
	return name
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "'" + n + "'"
	}
	return strings.Join(out, ", ")
}
