package edit

import (
	"fmt"
	"slices"

	"holdfast/internal/cluster/cib"
)

// Delete removes a resource with everything that speaks of it. A group or clone goes with all inside; a group or clone
// left empty goes too.
func (e *Editor) Delete(id string) error {
	r := e.Doc.Resource(id)
	if r == nil {
		return fmt.Errorf("resource '%s' does not exist%s", id, e.near(id))
	}
	top := r
	for p := e.Inside(top); p != nil && len(Members(p)) == 1; p = e.Inside(top) {
		top = p
	}
	for _, gone := range withInner(top) {
		e.dropConstraintsOf(gone.ID())
	}
	for _, p := range Primitives(top) {
		e.notef("Deleting Resource - %s", p.ID())
	}
	if p := e.Inside(top); p != nil {
		p.Remove(top)
	} else {
		e.Doc.Resources().Remove(top)
	}
	e.dropHistory(top)
	return nil
}

// withInner lists a resource and all inside it.
func withInner(r *cib.Element) []*cib.Element {
	out := []*cib.Element{r}
	for _, m := range Members(r) {
		out = append(out, withInner(m)...)
	}
	return out
}

// dropHistory exists so that a document of -f, which has no cluster to clean up after it, shows the resource as gone.
func (e *Editor) dropHistory(r *cib.Element) {
	for _, p := range Primitives(r) {
		e.Doc.DeleteHistory("", p.ID())
	}
}

// dropConstraintsOf removes constraints on a resource and takes it out of sets.
func (e *Editor) dropConstraintsOf(id string) {
	cons := e.Doc.Constraints()
	for _, c := range slices.Clone(cons.Children) {
		if refersTo(c, id) {
			e.notef("Removing Constraint - %s", c.ID())
			cons.Remove(c)
			continue
		}
		for _, set := range c.ChildrenNamed("resource_set") {
			if ref := set.ChildWith("resource_ref", "id", id); ref != nil {
				e.notef("Removing %s from set %s", id, set.ID())
				set.Remove(ref)
				if len(set.Children) == 0 {
					c.Remove(set)
				}
			}
		}
		if c.Get("rsc")+c.Get("first") == "" && len(c.ChildrenNamed("resource_set")) == 0 && c.Get("rsc-pattern") == "" {
			e.notef("Removing constraint %s", c.ID())
			cons.Remove(c)
		}
	}
}

// refersTo tells whether a constraint names a resource itself (not in a set).
func refersTo(c *cib.Element, id string) bool {
	for _, attr := range []string{"rsc", "with-rsc", "first", "then"} {
		if c.Get(attr) == id {
			return true
		}
	}
	return false
}
