package edit

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Clone makes a clone of a resource or group. An empty cloneID means ID-clone. Constraints of the resource become the
// clone's, as pcs does it.
func (e *Editor) Clone(id, cloneID string, meta []Pair, promotable bool) error {
	r := e.Doc.Resource(id)
	if r == nil {
		return fmt.Errorf("unable to find group or resource: %s%s", id, e.near(id))
	}
	if err := e.mayClone(r, cloneID); err != nil {
		return err
	}
	if cloneID == "" {
		cloneID = e.freeID(id + "-clone")
	}
	if err := e.checkNew(cloneID, "clone name"); err != nil {
		return err
	}
	at := slices.Index(e.Doc.Resources().Children, r)
	clone := cib.NewElement("clone", "id", cloneID)
	e.Doc.Resources().Remove(r)
	clone.Append(r)
	e.Doc.Resources().Insert(at, clone)
	setPairs(clone, "meta_attributes", cloneMeta(meta, promotable))
	e.rename(id, cloneID)
	return nil
}

func (e *Editor) mayClone(r *cib.Element, cloneID string) error {
	switch p := e.Inside(r); {
	case IsClone(r):
		return fmt.Errorf("'%s' is already a clone", r.ID())
	case p != nil && IsClone(p):
		return fmt.Errorf("%s is already a clone resource (%s)", r.ID(), p.ID())
	case p != nil:
		return fmt.Errorf("cannot make a clone of '%s' because it is in the group '%s'; clone the group: pcs resource clone %s", r.ID(), p.ID(), p.ID())
	case strings.Contains(cloneID, "="):
		return fmt.Errorf("'%s' is no name for a clone", cloneID)
	}
	return nil
}

func cloneMeta(meta []Pair, promotable bool) []Pair {
	var out []Pair
	for _, p := range meta {
		p.Name = presentMeta(p.Name)
		if !promotable || p.Name != "promotable" {
			out = append(out, p)
		}
	}
	if promotable {
		out = append(out, Pair{"promotable", "true"})
	}
	return out
}

// rename makes constraints that speak of one resource speak of another.
func (e *Editor) rename(from, to string) {
	for _, c := range e.Doc.Constraints().Children {
		for _, attr := range []string{"rsc", "with-rsc", "first", "then"} {
			if c.Get(attr) == from {
				c.Set(attr, to)
			}
		}
		for _, set := range c.ChildrenNamed("resource_set") {
			for _, ref := range set.ChildrenNamed("resource_ref") {
				if ref.ID() == from {
					ref.Set("id", to)
				}
			}
		}
	}
}

// Unclone takes the clone away from around a resource; id is the clone's or the resource's.
func (e *Editor) Unclone(id string) error {
	r := e.Doc.Resource(id)
	if r == nil {
		return fmt.Errorf("could not find resource: %s%s", id, e.near(id))
	}
	clone := e.Outermost(r)
	if !IsClone(clone) {
		return fmt.Errorf("'%s' is not a clone resource", id)
	}
	inner := Members(clone)
	if len(inner) != 1 {
		return fmt.Errorf("the clone '%s' holds %d resources", clone.ID(), len(inner))
	}
	at := slices.Index(e.Doc.Resources().Children, clone)
	e.Doc.Resources().Remove(clone)
	e.Doc.Resources().Insert(at, inner[0])
	e.rename(clone.ID(), inner[0].ID())
	return nil
}

// GroupAdd puts resources in a group, made when there is none, at its end or beside a member.
func (e *Editor) GroupAdd(group string, ids []string, before, after string) error {
	if before != "" && after != "" {
		return fmt.Errorf("you cannot specify both --before and --after")
	}
	g := e.Doc.Resource(group)
	if g != nil && g.Name != "group" {
		return fmt.Errorf("'%s' is a %s, not a group", group, g.Name)
	}
	members, err := e.groupable(group, ids)
	if err != nil {
		return err
	}
	if g == nil {
		if err := e.checkNew(group, "group name"); err != nil {
			return err
		}
		at := slices.Index(e.Doc.Resources().Children, e.Outermost(members[0]))
		g = cib.NewElement("group", "id", group)
		e.Doc.Resources().Insert(at, g)
	}
	for _, m := range members {
		e.takeOut(m, g)
	}
	at, err := groupPlace(g, before, after)
	if err != nil {
		return err
	}
	for i, m := range members {
		g.Insert(at+i, m)
	}
	return nil
}

func (e *Editor) groupable(group string, ids []string) ([]*cib.Element, error) {
	var out []*cib.Element
	for _, id := range ids {
		r := e.Doc.Resource(id)
		if r == nil {
			return nil, fmt.Errorf("'%s' does not exist%s", id, e.near(id))
		}
		if r.Name != "primitive" {
			return nil, fmt.Errorf("'%s' cannot be put into a group: it is a %s", id, r.Name)
		}
		if p := e.Inside(r); p != nil && p.Name != "group" {
			return nil, fmt.Errorf("'%s' cannot be put into a group because its parent '%s' is a clone resource", id, p.ID())
		}
		if slices.Contains(out, r) {
			return nil, fmt.Errorf("'%s' is named twice", id)
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("cannot modify group '%s', no resources to add specified", group)
	}
	return out, nil
}

// takeOut removes a resource from where it is; a group it leaves empty goes too, unless it is keep.
func (e *Editor) takeOut(r, keep *cib.Element) {
	p := e.Inside(r)
	if p == nil {
		e.Doc.Resources().Remove(r)
		return
	}
	p.Remove(r)
	if p != keep && len(Members(p)) == 0 {
		e.Doc.Resources().Remove(e.Outermost(p))
	}
}

func groupPlace(g *cib.Element, before, after string) (int, error) {
	name := before + after
	if name == "" {
		return len(g.Children), nil
	}
	for i, c := range g.Children {
		if c.ID() == name && cib.IsResource(c) {
			if after != "" {
				i++
			}
			return i, nil
		}
	}
	return 0, fmt.Errorf("there is no resource '%s' in the group '%s'", name, g.ID())
}

// GroupRemove takes resources out of a group, all of them when ids is empty; an empty group goes.
func (e *Editor) GroupRemove(group string, ids []string) error {
	g := e.Doc.Resource(group)
	if g == nil || g.Name != "group" {
		return fmt.Errorf("group '%s' does not exist", group)
	}
	outer := e.Outermost(g)
	if outer != g {
		return fmt.Errorf("the group '%s' is inside the clone '%s'; unclone it first: pcs resource unclone %s", group, outer.ID(), outer.ID())
	}
	all := Members(g)
	if len(ids) == 0 {
		for _, m := range all {
			ids = append(ids, m.ID())
		}
	}
	at := slices.Index(e.Doc.Resources().Children, g)
	for _, id := range ids {
		i := slices.IndexFunc(all, func(m *cib.Element) bool { return m.ID() == id })
		if i < 0 {
			return fmt.Errorf("there is no resource '%s' in the group '%s'", id, group)
		}
		g.Remove(all[i])
		at++
		e.Doc.Resources().Insert(at, all[i])
	}
	if len(Members(g)) == 0 {
		e.dropConstraintsOf(group)
		e.Doc.Resources().Remove(g)
	}
	return nil
}
