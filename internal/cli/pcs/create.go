package pcs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/agent"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cli/pcs/show"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/spelling"
)

// description is what stands after a resource's name and agent.
type description struct {
	params, meta []edit.Pair
	// wrap: clone, promotable, master or empty; wrapWords follow it.
	wrap      string
	wrapWords []string
}

// description reads [OPTION=VALUE...] [op ...] [meta ...] [clone|promotable|master ...].
func (c *call) description(words []string) (description, []edit.Op, error) {
	var d description
	parts := groups(words, "op", "meta", "clone", "promotable", "master")
	var err error
	if d.params, err = editPairs(parts[""]); err != nil {
		return d, nil, err
	}
	ops, err := parseOps(parts["op"])
	if err == nil && parts["op"] != nil && len(ops) == 0 {
		err = errors.New("when using 'op' you must specify an operation name and at least one option")
	}
	if err != nil {
		return d, nil, err
	}
	if d.meta, err = editPairs(parts["meta"]); err != nil {
		return d, nil, err
	}
	for _, w := range []string{"clone", "promotable", "master"} {
		if parts[w] == nil {
			continue
		}
		if d.wrap != "" {
			return d, nil, fmt.Errorf("you can specify only one of clone, promotable")
		}
		d.wrap, d.wrapWords = w, parts[w]
	}
	return d, ops, nil
}

// parseOps reads ACTION NAME=VALUE... ACTION NAME=VALUE...; the word op may be repeated.
func parseOps(words []string) ([]edit.Op, error) {
	var out []edit.Op
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case !ok:
			out = append(out, edit.Op{Name: w})
		case len(out) == 0:
			return nil, fmt.Errorf("'%s' stands after op and before any operation; write: op monitor %s", w, w)
		default:
			op := &out[len(out)-1]
			if slices.ContainsFunc(op.Attrs, func(p edit.Pair) bool { return p.Name == name }) {
				return nil, fmt.Errorf("the option '%s' of the operation %s is given twice", name, op.Name)
			}
			op.Attrs = append(op.Attrs, edit.Pair{Name: name, Value: value})
		}
	}
	for _, op := range out {
		if len(op.Attrs) == 0 {
			return nil, fmt.Errorf("when using 'op' you must specify an operation name and at least one option: '%s' has none", op.Name)
		}
	}
	return out, nil
}

// create makes a resource: pcs resource create.
func (c *call) create() error {
	if err := c.needWords(2, "the new resource and its agent"); err != nil {
		return err
	}
	name, typ := c.words[0], c.words[1]
	if strings.Contains(name, "=") || strings.Contains(typ, "=") {
		return c.usage("the first two words are the resource's name and its agent")
	}
	found, err := c.findAgent(typ)
	if err != nil {
		return err
	}
	return c.createWith(name, found)
}

func (c *call) createWith(name string, found foundAgent) error {
	d, ops, err := c.description(c.words[2:])
	if err != nil {
		return err
	}
	if d.wrap != "" && c.args.has("group") {
		return errors.New("you cannot specify a clone and --group at once")
	}
	p := edit.Primitive{ID: name, Spec: found.spec, Params: d.params, Meta: d.meta, Ops: ops, Agent: found.meta,
		OnlyMonitors: c.args.has("no-default-ops"), Disabled: c.args.has("disabled")}
	err = c.change(func(e *edit.Editor) error {
		e.Notes = append(e.Notes, found.notes...)
		e.Warnings = append(e.Warnings, found.warnings...)
		if _, err := e.Create(p); err != nil {
			return err
		}
		return c.place(e, name, d)
	})
	if err != nil {
		return err
	}
	return c.waitFor(name+" to start", runs(name, !p.Disabled))
}

// place puts a new resource in a clone or a group when asked for.
func (c *call) place(e *edit.Editor, name string, d description) error {
	if group := c.args.get("group"); c.args.has("group") {
		return e.GroupAdd(group, []string{name}, c.args.get("before"), c.args.get("after"))
	}
	if d.wrap == "" {
		return nil
	}
	id, pairs, err := cloneArgs(d.wrapWords)
	if err != nil {
		return err
	}
	return e.Clone(name, id, pairs, d.wrap != "clone")
}

// cloneArgs reads [CLONE] [[meta] NAME=VALUE...].
func cloneArgs(words []string) (string, []edit.Pair, error) {
	id := ""
	if len(words) > 0 && !strings.Contains(words[0], "=") && words[0] != "meta" {
		id, words = words[0], words[1:]
	}
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "meta" })
	pairs, err := editPairs(words)
	return id, pairs, err
}

// foundAgent is an agent and what it takes (nil when it has no metadata).
type foundAgent struct {
	spec            agent.Spec
	meta            *agent.Metadata
	notes, warnings []string
}

// findAgent finds an agent by what a user wrote. With --force one that is missing, or has no metadata, is let through.
func (c *call) findAgent(typ string) (foundAgent, error) {
	spec, err := ocf.Find(c.env.Root, typ)
	if err != nil {
		if s, ok := forced(typ); ok && c.args.has("force") {
			return foundAgent{spec: s, warnings: []string{err.Error()}}, nil
		}
		return foundAgent{}, c.noAgent(typ, err)
	}
	found := foundAgent{spec: spec}
	if spec.Class != "ocf" {
		return found, nil
	}
	found.meta, err = ocf.Metadata(c.env.Root, spec)
	if err != nil && !c.args.has("force") {
		return found, fmt.Errorf("agent '%s' does not provide valid metadata: %w, use --force to override", spec, err)
	}
	if err != nil {
		found.warnings = []string{err.Error()}
	}
	if spec.String() != typ {
		found.notes = []string{fmt.Sprintf("Assumed agent name '%s' (deduced from '%s')", spec, typ)}
	}
	return found, nil
}

// noAgent adds to the finder's error where it looked and what may have been meant.
func (c *call) noAgent(typ string, err error) error {
	if strings.HasPrefix(err.Error(), "Multiple") {
		return err
	}
	where := ""
	if !strings.Contains(err.Error(), c.env.Root.OCF()) {
		where = " (looked in " + c.env.Root.OCF() + "/resource.d)"
	}
	return fmt.Errorf("%w%s%s", err, where, c.similar(typ))
}

// forced takes a full agent name apart without looking for the agent.
func forced(typ string) (agent.Spec, bool) {
	p := strings.Split(typ, ":")
	if len(p) == 3 && p[0] == "ocf" {
		return agent.Spec{Class: p[0], Provider: p[1], Type: p[2]}, true
	}
	return agent.Spec{}, false
}

// similar suggests installed agents with a name like the one asked for.
func (c *call) similar(typ string) string {
	all, err := ocf.List(c.env.Root)
	if err != nil {
		return ""
	}
	want := typ[strings.LastIndex(typ, ":")+1:]
	var found []string
	for _, s := range all {
		if strings.EqualFold(s.Type, want) || spelling.Distance(strings.ToLower(s.Type), strings.ToLower(want)) <= 2 && len(want) > 4 {
			found = append(found, s.String())
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "\nDid you mean: " + strings.Join(found, ", ")
}

// createStonith makes a fence device: the agent is a program fence_* and its options are passed on unchecked.
func (c *call) createStonith() error {
	if err := c.needWords(2, "the new device and its agent"); err != nil {
		return err
	}
	spec := agent.Spec{Class: "stonith", Type: strings.TrimPrefix(c.words[1], "stonith:")}
	return c.createWith(c.words[0], foundAgent{spec: spec})
}

func (c *call) opAdd() error {
	if err := c.needWords(2, "a resource and an operation"); err != nil {
		return err
	}
	pairs, err := editPairs(c.words[2:])
	if err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.AddOp(c.words[0], edit.Op{Name: c.words[1], Attrs: pairs}) })
}

func (c *call) opRemove() error {
	if err := c.needWords(1, "a resource and an operation, or an operation's id"); err != nil {
		return err
	}
	if len(c.words) == 1 {
		return c.change(func(e *edit.Editor) error { return e.RemoveOpID(c.words[0]) })
	}
	pairs, err := editPairs(c.words[2:])
	if err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.RemoveOp(c.words[0], edit.Op{Name: c.words[1], Attrs: pairs}) })
}

func (c *call) resourceDefaults() error { return c.defaults("rsc_defaults") }

func (c *call) opDefaults() error { return c.defaults("op_defaults") }

// defaults prints or sets a section of defaults.
func (c *call) defaults(section string) error {
	if len(c.words) == 0 {
		doc, err := c.document()
		if err != nil {
			return err
		}
		c.lines(show.Defaults(doc, section))
		return nil
	}
	pairs, err := editPairs(c.words)
	if err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error {
		if section == "op_defaults" {
			if err := checkOpDefaults(pairs); err != nil {
				return err
			}
		}
		return e.SetDefaults(section, pairs)
	})
}

func checkOpDefaults(pairs []edit.Pair) error {
	for _, p := range pairs {
		if p.Name != "timeout" && p.Name != "interval" || p.Value == "" {
			continue
		}
		if _, err := cib.ParseInterval(p.Value); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}
