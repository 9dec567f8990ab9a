package pcs

import (
	"fmt"

	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cli/pcs/show"
)

func (c *call) standby() error       { return c.nodeFlag("standby", true) }
func (c *call) unstandby() error     { return c.nodeFlag("standby", false) }
func (c *call) maintenance() error   { return c.nodeFlag("maintenance", true) }
func (c *call) unmaintenance() error { return c.nodeFlag("maintenance", false) }

// nodeFlag sets or removes a flag of nodes: those named, all, or this one.
func (c *call) nodeFlag(name string, on bool) error {
	req, err := c.nodesRequest()
	if err != nil {
		return err
	}
	if c.args.file() != "" && !req.All && len(c.words) == 0 {
		return fmt.Errorf("node(s) must be specified if -f is used")
	}
	err = c.change(func(e *edit.Editor) error {
		nodes := req.Nodes
		if req.All {
			nodes = edit.Nodes(e.Doc)
		}
		return e.SetNodeFlags(nodes, name, on)
	})
	if err != nil {
		return err
	}
	return c.waitFor("the resources to settle", settled)
}

func (c *call) nodeAttribute() error {
	if len(c.words) < 2 {
		doc, err := c.document()
		if err != nil {
			return err
		}
		node := ""
		if len(c.words) == 1 {
			node = c.words[0]
		}
		c.lines(show.NodeAttributes(doc, node))
		return nil
	}
	pairs, err := editPairs(c.words[1:])
	if err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.SetNodeAttributes(c.words[0], pairs) })
}
