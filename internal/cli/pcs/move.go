package pcs

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cli/pcs/show"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
)

// move moves a resource and, once it has moved, removes the constraint that made it, as pcs 0.11 does.
func (c *call) move() error {
	rsc, node, err := c.rscAndNode()
	if err != nil {
		return err
	}
	s, err := c.look()
	if err != nil {
		return err
	}
	from, err := c.present(s.doc, s.state, rsc)
	if err != nil {
		return err
	}
	if node != "" && slices.Contains(from, node) {
		return fmt.Errorf("resource '%s' is already running on node '%s'", rsc, node)
	}
	if err := c.stays(s, rsc, node, from); err != nil {
		return err
	}
	id, err := c.constrainMove(rsc, node, from)
	if err != nil {
		return err
	}
	c.out("Location constraint '%s' has been created", id)
	c.out("Waiting for the cluster to apply configuration changes...")
	if err := c.await(moveTimeout, rsc+" to move", c.moved(rsc, node, from)); err != nil {
		return fmt.Errorf("%w\nThe constraint '%s' is still there; remove it with: pcs resource clear %s", err, id, rsc)
	}
	if err := c.change(func(e *edit.Editor) error { return e.RemoveConstraints([]string{id}) }); err != nil {
		return err
	}
	c.out("Location constraint '%s' has been removed", id)
	return c.sayWhere(rsc)
}

// present is where a resource (with --promoted, its Promoted instance) is now.
func (c *call) present(doc *cib.Document, state *scheduler.State, rsc string) ([]string, error) {
	r := doc.Resource(rsc)
	if r == nil {
		return nil, fmt.Errorf("bundle/clone/group/resource '%s' does not exist", rsc)
	}
	promoted := c.args.has("promoted")
	if edit.IsClone(r) && !promoted {
		if v, _ := cib.ParseBool(cib.Meta(r, "promotable")); v {
			return nil, fmt.Errorf("'%s' is a promotable clone: to move its Promoted role write: pcs resource move %s --promoted", rsc, strings.Join(c.words, " "))
		}
		return nil, fmt.Errorf("cannot move cloned resource '%s'", rsc)
	}
	nodes := show.Running(state, rsc, promoted)
	if len(nodes) == 0 {
		return nil, fmt.Errorf("it is not possible to move resource '%s' as it is not running at the moment", rsc)
	}
	return nodes, nil
}

// stays looks ahead: the resource must move where it is told to, and stay there once the constraint is gone.
func (c *call) stays(s *snapshot, rsc, node string, from []string) error {
	doc, promoted := s.doc.Clone(), c.args.has("promoted")
	ed := &edit.Editor{Doc: doc}
	id, err := moveConstraint(ed, rsc, node, from, promoted)
	if err != nil {
		return err
	}
	ahead := func(doc *cib.Document) (*cib.Document, []string) {
		r := simulate.Run(scheduler.Input{CIB: doc, Now: c.env.now(), Quorate: true})
		return r.After, show.Running(r.Final.Status, rsc, promoted)
	}
	moved, there := ahead(doc)
	if slices.Equal(there, from) || len(there) == 0 || node != "" && !slices.Contains(there, node) {
		return fmt.Errorf("resource '%s' cannot move%s: other constraints, or the state of the nodes, do not let it (see: pcs constraint --full)", rsc, to(node))
	}
	if err := (&edit.Editor{Doc: moved}).RemoveConstraints([]string{id}); err != nil {
		return err
	}
	if _, after := ahead(moved); !slices.Equal(after, there) {
		return fmt.Errorf("unable to ensure that moved resource '%s' will stay on the same node after a constraint is removed\n"+
			"Move it and keep the constraint: pcs resource move-with-constraint %s", rsc, strings.Join(c.words, " "))
	}
	return nil
}

func to(node string) string {
	if node == "" {
		return ""
	}
	return " to node '" + node + "'"
}

// moveConstraint makes the constraint: towards the node, or away from where it is when no node was named.
func moveConstraint(e *edit.Editor, rsc, node string, from []string, promoted bool) (id string, err error) {
	if node != "" {
		return e.Prefer(rsc, node, promoted)
	}
	id, err = e.Ban(rsc, from[0], promoted)
	e.Warnings = nil // it will be gone in a moment
	return id, err
}

// constrainMove puts the constraint into the running cluster.
func (c *call) constrainMove(rsc, node string, from []string) (id string, err error) {
	err = c.change(func(e *edit.Editor) error {
		var err error
		id, err = moveConstraint(e, rsc, node, from, c.args.has("promoted"))
		return err
	})
	return id, err
}

func (c *call) moved(rsc, node string, from []string) func(*snapshot) bool {
	return func(s *snapshot) bool {
		now := show.Running(s.state, rsc, c.args.has("promoted"))
		if node != "" {
			return slices.Equal(now, []string{node}) && settled(s)
		}
		return len(now) > 0 && !slices.Contains(now, from[0]) && settled(s)
	}
}

func (c *call) sayWhere(rsc string) error {
	s, err := c.look()
	if err != nil {
		return err
	}
	word := "running"
	if c.args.has("promoted") {
		word = "promoted"
	}
	nodes := show.Running(s.state, rsc, c.args.has("promoted"))
	c.out("Resource '%s' is %s on node '%s'", rsc, word, strings.Join(nodes, "', '"))
	return nil
}

func (c *call) rscAndNode() (rsc, node string, err error) {
	for _, w := range c.words {
		switch {
		case strings.HasPrefix(w, "lifetime="):
			return "", "", fmt.Errorf("lifetime= is not supported; remove the constraint later with: pcs resource clear RESOURCE")
		case rsc == "":
			rsc = w
		case node == "":
			node = w
		default:
			return "", "", c.usage("'%s' is one word too many", w)
		}
	}
	if rsc == "" {
		return "", "", c.usage("name a resource")
	}
	return rsc, node, nil
}

// moveKeep is pcs 0.9's move: the constraint stays.
func (c *call) moveKeep() error {
	rsc, node, err := c.rscAndNode()
	if err != nil {
		return err
	}
	if node == "" {
		return c.ban()
	}
	if err := c.change(func(e *edit.Editor) error { _, err := e.Prefer(rsc, node, c.args.has("promoted")); return err }); err != nil {
		return err
	}
	c.warn("A move constraint has been created and the resource '%s' may or may not move depending on other configuration", rsc)
	return nil
}

func (c *call) ban() error {
	rsc, node, err := c.rscAndNode()
	if err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error {
		where := node
		if where == "" {
			nodes, err := c.present(e.Doc, show.Decide(e.Doc, "", true, c.env.now()).Status, rsc)
			if err != nil {
				return err
			}
			if len(nodes) > 1 {
				return fmt.Errorf("'%s' runs on %s: name the node", rsc, strings.Join(nodes, ", "))
			}
			where = nodes[0]
		}
		_, err := e.Ban(rsc, where, c.args.has("promoted"))
		return err
	})
}

func (c *call) clear() error {
	rsc, node, err := c.rscAndNode()
	if err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error {
		ids, err := e.Clear(rsc, node, c.args.has("promoted"))
		for _, id := range ids {
			e.Notes = append(e.Notes, "Removing constraint: "+id)
		}
		return err
	})
}
