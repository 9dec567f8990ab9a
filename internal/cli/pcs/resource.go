package pcs

import (
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/agent"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/api"
	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cli/pcs/show"
	"holdfast/internal/cluster/cib"
)

func (c *call) resourceStatus() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	var names []string
	for _, w := range c.words {
		if !strings.HasPrefix(w, "node=") {
			names = append(names, w)
		}
	}
	for _, n := range names {
		if in.Doc.Resource(n) == nil {
			return fmt.Errorf("resource or tag id '%s' not found", n)
		}
	}
	lines := show.Resources(in.State, in.Hide, names...)
	if len(lines) == 0 {
		lines = []string{"NO resources configured"}
		if in.Hide {
			lines = []string{"No active resources"}
		}
	}
	return c.textOrJSON(lines, show.JSON(in).Resources)
}

// resourceShow is pcs 0.9's: the list without names, the options with names or --full.
func (c *call) resourceShow() error {
	if len(c.words) == 0 && !c.args.has("full") {
		c.deprecated("resource status")
		return c.resourceStatus()
	}
	c.deprecated("resource config")
	return c.resourceConfig()
}

func (c *call) resourceConfig() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	lines, unknown := show.ResourceConfig(doc, c.words)
	for _, n := range unknown {
		c.warn("Unable to find resource '%s'", n)
	}
	c.lines(lines)
	if len(unknown) > 0 && len(lines) == 0 {
		return errors.New("no resource found")
	}
	return nil
}

func (c *call) needWords(n int, what string) error {
	if len(c.words) < n {
		return c.usage("name %s", what)
	}
	return nil
}

// resourceDelete removes resources; running ones are stopped first, so that their agents still have their parameters.
func (c *call) resourceDelete() error {
	if err := c.needWords(1, "a resource"); err != nil {
		return err
	}
	for _, id := range c.words {
		if err := c.stopFirst(id); err != nil {
			return err
		}
		if err := c.change(func(e *edit.Editor) error { return e.Delete(id) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) stopFirst(id string) error {
	if c.args.file() != "" || c.args.has("force") || c.args.has("no-stop") {
		return nil
	}
	s, err := c.look()
	if err != nil {
		return err
	}
	if len(show.Running(s.state, id, false)) == 0 {
		return nil
	}
	c.out("Attempting to stop: %s...", id)
	if err := c.change(func(e *edit.Editor) error { return e.SetEnabled([]string{id}, false) }); err != nil {
		return err
	}
	if err := c.await(moveTimeout, id+" to stop", runs(id, false)); err != nil {
		return fmt.Errorf("unable to stop: %s before deleting (re-run with --force to force deletion): %w", id, err)
	}
	c.out("Stopped")
	return nil
}

func (c *call) resourceEnable() error { return c.switchResources(true) }

func (c *call) resourceDisable() error { return c.switchResources(false) }

func (c *call) switchResources(on bool) error {
	if err := c.needWords(1, "a resource"); err != nil {
		return err
	}
	if err := c.change(func(e *edit.Editor) error { return e.SetEnabled(c.words, on) }); err != nil {
		return err
	}
	for _, id := range c.words {
		word := map[bool]string{true: "start", false: "stop"}[on]
		if err := c.waitFor(id+" to "+word, runs(id, on)); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) resourceManage() error { return c.manage(true) }

func (c *call) resourceUnmanage() error { return c.manage(false) }

func (c *call) manage(on bool) error {
	if err := c.needWords(1, "a resource"); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.SetManaged(c.words, on, c.args.has("monitor")) })
}

func (c *call) resourceMeta() error {
	if err := c.needWords(2, "a resource and its meta attributes"); err != nil {
		return err
	}
	pairs, err := editPairs(c.words[1:])
	if err != nil {
		return err
	}
	if err := c.change(func(e *edit.Editor) error { return e.Meta(c.words[0], pairs) }); err != nil {
		return err
	}
	return c.waitFor("the resources to settle", settled)
}

func (c *call) resourceUpdate() error {
	if err := c.needWords(2, "a resource and what to change"); err != nil {
		return err
	}
	parts, ops, err := c.description(c.words[1:])
	if err != nil {
		return err
	}
	err = c.change(func(e *edit.Editor) error {
		m, err := c.agentOf(e.Doc, c.words[0])
		if err != nil {
			return err
		}
		return e.Update(c.words[0], parts.params, ops, parts.meta, m)
	})
	if err != nil {
		return err
	}
	return c.waitFor("the resources to settle", settled)
}

// agentOf asks the agent of a primitive for its metadata; nil for other resources, and for agents that have none.
func (c *call) agentOf(doc *cib.Document, id string) (*agent.Metadata, error) {
	r := doc.Resource(id)
	if r == nil || r.Name != "primitive" || r.Get("class") != "ocf" {
		return nil, nil
	}
	m, err := ocf.Metadata(c.env.Root, agent.Spec{Class: "ocf", Provider: r.Get("provider"), Type: r.Get("type")})
	if err != nil && !c.args.has("force") {
		return nil, fmt.Errorf("%w, use --force to override", err)
	}
	return m, nil
}

// cleanup forgets failures and history: cleanup [RESOURCE] [node=NODE] (or the node as second word).
func (c *call) cleanup() error {
	var req api.CleanupRequest
	for i, w := range c.words {
		node, isNode := strings.CutPrefix(w, "node=")
		switch {
		case isNode:
			req.Node = node
		case i == 0:
			req.Resource = w
		case i == 1 && !strings.Contains(w, "="):
			req.Node = w
		default:
			return fmt.Errorf("'%s' is not supported here; there is: [RESOURCE] [node=NODE]", w)
		}
	}
	if err := c.act("resource.cleanup", req, nil); err != nil {
		return err
	}
	what, where := "all resources", "all nodes"
	if req.Resource != "" {
		what = req.Resource
	}
	if req.Node != "" {
		where = req.Node
	}
	c.out("Cleaned up %s on %s", what, where)
	return nil
}

func (c *call) failcount() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	rsc, node := "", ""
	for _, w := range c.words {
		switch n, isNode := strings.CutPrefix(w, "node="); {
		case isNode:
			node = n
		case rsc == "":
			rsc = w
		case node == "":
			node = w
		default:
			return c.usage("'%s' is one word too many", w)
		}
	}
	c.lines(show.FailCounts(doc, rsc, node))
	return nil
}
