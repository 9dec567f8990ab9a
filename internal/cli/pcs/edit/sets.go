package edit

import (
	"fmt"
	"slices"

	"holdfast/internal/cluster/cib"
)

// Set is one resource set of a constraint.
type Set struct {
	Resources []string
	Options   []Pair // sequential, require-all, role, action, score
}

// AddSets adds a colocation (kind rsc_colocation) or ordering (rsc_order) of resource sets.
func (e *Editor) AddSets(kind string, sets []Set, options []Pair) error {
	el, prefix := cib.NewElement(kind), "order_set_"
	allowed := []string{"id", "kind", "symmetrical"}
	if kind == "rsc_colocation" {
		prefix, allowed = "colocation_set_", []string{"id", "score"}
		el.Set("score", "INFINITY")
	}
	if err := setOptions(el, options, allowed...); err != nil {
		return err
	}
	if s, ok := el.Lookup("score"); ok {
		if _, err := checkScore(s); err != nil {
			return err
		}
	}
	for _, s := range sets {
		for _, id := range s.Resources {
			if id != "" {
				prefix += id[:1] + id[len(id)-1:]
			}
		}
	}
	if err := e.addConstraint(el, prefix); err != nil {
		return err
	}
	for _, s := range sets {
		if err := e.addSet(el, s); err != nil {
			return err
		}
	}
	return nil
}

func (e *Editor) addSet(c *cib.Element, s Set) error {
	if len(s.Resources) == 0 {
		return fmt.Errorf("a set of the constraint names no resource")
	}
	if err := e.constrainable(s.Resources...); err != nil {
		return err
	}
	el := cib.NewElement("resource_set")
	options := slices.Clone(s.Options)
	for i, p := range options {
		if p.Name == "role" {
			if err := e.checkRoles(&options[i].Value); err != nil {
				return err
			}
		}
	}
	if err := setOptions(el, options, "sequential", "require-all", "role", "action", "score"); err != nil {
		return err
	}
	el.Set("id", e.freeID(c.ID()+"_set"))
	for _, id := range s.Resources {
		el.Append(cib.NewElement("resource_ref", "id", id))
	}
	c.Append(el)
	return nil
}
