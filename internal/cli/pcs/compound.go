package pcs

import (
	"fmt"

	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cluster/cib"
)

func (c *call) clone() error { return c.makeClone(false) }

func (c *call) promotable() error { return c.makeClone(true) }

func (c *call) makeClone(promotable bool) error {
	if err := c.needWords(1, "a resource or group"); err != nil {
		return err
	}
	id, pairs, err := cloneArgs(c.words[1:])
	if err != nil {
		return err
	}
	if err := c.change(func(e *edit.Editor) error { return e.Clone(c.words[0], id, pairs, promotable) }); err != nil {
		return err
	}
	return c.waitFor("the resources to settle", settled)
}

// master is pcs 0.9's: the clone's name first, then the resource.
func (c *call) master() error {
	if err := c.needWords(2, "the new clone and the resource"); err != nil {
		return err
	}
	id, rsc := c.words[0], c.words[1]
	_, pairs, err := cloneArgs(append([]string{id}, c.words[2:]...))
	if err != nil {
		return err
	}
	err = c.change(func(e *edit.Editor) error {
		if e.Doc.Resource(rsc) == nil && e.Doc.Resource(id) != nil {
			return fmt.Errorf("there is no resource '%s'; the clone's name stands first here\nDid you mean: pcs resource master %s %s", rsc, rsc, id)
		}
		return e.Clone(rsc, id, pairs, true)
	})
	if err != nil {
		return err
	}
	return c.waitFor("the resources to settle", settled)
}

func (c *call) unclone() error {
	if err := c.needWords(1, "a clone"); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.Unclone(c.words[0]) })
}

func (c *call) groupAdd() error {
	if err := c.needWords(2, "a group and resources"); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error {
		return e.GroupAdd(c.words[0], c.words[1:], c.args.get("before"), c.args.get("after"))
	})
}

func (c *call) groupRemove() error {
	if err := c.needWords(1, "a group"); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.GroupRemove(c.words[0], c.words[1:]) })
}

func (c *call) groupList() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	doc.Resources().Find(func(g *cib.Element) bool {
		if g.Name == "group" {
			line := g.ID() + ":"
			for _, m := range edit.Members(g) {
				line += " " + m.ID()
			}
			c.out("%s", line)
		}
		return false
	})
	return nil
}
