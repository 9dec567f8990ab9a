package pcs

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cli/pcs/show"
	"holdfast/internal/cluster/cib"
)

// list prints what lister makes of the document.
func (c *call) list(lister func(*cib.Document, bool) []string) error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	c.lines(lister(doc, c.args.has("full")))
	return nil
}

func (c *call) constraints() error { return c.list(show.Constraints) }

func (c *call) colocations() error { return c.list(show.Colocations) }

// location: RESOURCE prefers|avoids NODE[=SCORE]..., RESOURCE rule ..., or the list.
func (c *call) location() error {
	if len(c.words) == 0 || slices.Contains([]string{"show", "config", "list"}, c.words[0]) {
		return c.list(show.Locations)
	}
	if len(c.words) < 3 {
		return c.usage("a location constraint needs a resource, prefers or avoids, and a node")
	}
	rsc := strings.TrimPrefix(c.words[0], "resource%")
	switch c.words[1] {
	case "prefers":
		return c.locate(rsc, c.words[2:], "")
	case "avoids":
		return c.locate(rsc, c.words[2:], "-")
	case "rule":
		return c.locationRule(rsc, c.words[2:])
	}
	return c.usage("'%s' is neither prefers, avoids nor rule", c.words[1])
}

// locate adds a constraint for each NODE[=SCORE]; sign is that of the scores.
func (c *call) locate(rsc string, words []string, sign string) error {
	return c.change(func(e *edit.Editor) error {
		for _, w := range words {
			node, score, given := strings.Cut(w, "=")
			if !given {
				score = "INFINITY"
			}
			switch {
			case sign == "-" && strings.HasPrefix(score, "-"):
				score = score[1:]
			case sign == "-":
				score = "-" + score
			}
			if err := e.AddLocation(edit.Location{Rsc: rsc, Node: node, Score: score}); err != nil {
				return err
			}
		}
		return nil
	})
}

// locationAdd is `location add ID RESOURCE NODE SCORE`.
func (c *call) locationAdd() error {
	if len(c.words) < 4 {
		return c.usage("name the constraint, the resource, the node and the score")
	}
	pairs, err := editPairs(c.words[4:])
	if err != nil {
		return err
	}
	l := edit.Location{ID: c.words[0], Rsc: c.words[1], Node: c.words[2], Score: strings.TrimPrefix(c.words[3], "score="), Options: pairs}
	return c.change(func(e *edit.Editor) error { return e.AddLocation(l) })
}

// locationRule is `location RESOURCE rule [OPTION=VALUE...] EXPRESSION`.
func (c *call) locationRule(rsc string, words []string) error {
	n := slices.IndexFunc(words, func(w string) bool { return !strings.Contains(w, "=") })
	if n < 0 {
		return c.usage("a rule needs an expression, such as: '#uname' eq NODE")
	}
	pairs, err := editPairs(words[:n])
	if err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.AddRule(rsc, pairs, words[n:]) })
}

// colocationAdd is `[ROLE] RESOURCE with [ROLE] RESOURCE [SCORE] [OPTION=VALUE...]`; roles may also be options, as in the
// tutorial's with-rsc-role=Master.
func (c *call) colocationAdd() error {
	at := slices.Index(c.words, "with")
	if at < 1 || at > 2 || at+1 >= len(c.words) {
		return c.usage("write the two resources with the word 'with' between them")
	}
	col := edit.Colocation{Rsc: c.words[at-1]}
	if at == 2 {
		col.Role = c.words[0]
	}
	rest := c.words[at+1:]
	if len(rest) > 1 && isRole(rest[0]) {
		col.WithRole, rest = rest[0], rest[1:]
	}
	if col.WithRole != "" && col.Role == "" {
		col.Role = "Started" // as pcs writes it
	}
	if col.Role != "" && col.WithRole == "" {
		col.WithRole = "Started"
	}
	col.With, rest = rest[0], rest[1:]
	if len(rest) > 0 && !strings.Contains(rest[0], "=") {
		col.Score, rest = rest[0], rest[1:]
	}
	if err := colocationOptions(&col, rest); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.AddColocation(col) })
}

func colocationOptions(col *edit.Colocation, words []string) error {
	pairs, err := editPairs(words)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		switch p.Name {
		case "rsc-role":
			col.Role = p.Value
		case "with-rsc-role":
			col.WithRole = p.Value
		case "score":
			col.Score = p.Value
		default:
			col.Options = append(col.Options, p)
		}
	}
	return nil
}

func isRole(s string) bool {
	return slices.Contains([]string{"master", "slave", "promoted", "unpromoted", "started", "stopped"}, strings.ToLower(s))
}

func (c *call) colocationRemove() error {
	words := slices.DeleteFunc(slices.Clone(c.words), func(w string) bool { return w == "with" })
	if len(words) != 2 {
		return c.usage("name the two resources")
	}
	return c.change(func(e *edit.Editor) error { return e.RemoveColocation(words[0], words[1]) })
}

// order is `[ACTION] RESOURCE then [ACTION] RESOURCE [OPTION=VALUE...]`, or the list.
func (c *call) order() error {
	if len(c.words) == 0 || len(c.words) == 1 && slices.Contains([]string{"show", "config", "list"}, c.words[0]) {
		return c.list(show.Orders)
	}
	at := slices.Index(c.words, "then")
	if at < 1 || at > 2 || at+1 >= len(c.words) {
		return c.usage("write the two resources with the word 'then' between them")
	}
	o := edit.Order{First: c.words[at-1]}
	if at == 2 {
		o.FirstAction = c.words[0]
	}
	rest := c.words[at+1:]
	if isAction(rest[0]) && len(rest) > 1 && !strings.Contains(rest[1], "=") {
		o.ThenAction, rest = rest[0], rest[1:]
	}
	o.Then, rest = rest[0], rest[1:]
	for _, a := range []string{o.FirstAction, o.ThenAction} {
		if a != "" && !isAction(a) {
			return c.usage("'%s' is no action: it is start, stop, promote or demote", a)
		}
	}
	var err error
	if o.Options, err = editPairs(rest); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.AddOrder(o) })
}

func isAction(s string) bool {
	return slices.Contains([]string{"start", "stop", "promote", "demote"}, s)
}

func (c *call) orderRemove() error {
	if err := c.needWords(1, "a resource"); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.RemoveOrder(c.words) })
}

func (c *call) colocationSet() error { return c.addSets("rsc_colocation") }

func (c *call) orderSet() error { return c.addSets("rsc_order") }

// addSets reads R... [OPTION=VALUE...] [set R... ]... [setoptions OPTION=VALUE...].
func (c *call) addSets(kind string) error {
	var sets []edit.Set
	words, tail := c.words, []string(nil)
	if at := slices.Index(words, "setoptions"); at >= 0 {
		words, tail = words[:at], words[at+1:]
	}
	options, err := editPairs(tail)
	if err != nil {
		return err
	}
	for _, part := range splitAt(words, "set") {
		var s edit.Set
		n := slices.IndexFunc(part, func(w string) bool { return strings.Contains(w, "=") })
		if n < 0 {
			n = len(part)
		}
		s.Resources = part[:n]
		if s.Options, err = editPairs(part[n:]); err != nil {
			return err
		}
		sets = append(sets, s)
	}
	return c.change(func(e *edit.Editor) error { return e.AddSets(kind, sets, options) })
}

func splitAt(words []string, sep string) [][]string {
	out := [][]string{nil}
	for _, w := range words {
		if w == sep {
			out = append(out, nil)
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], w)
	}
	return out
}

func (c *call) constraintRemove() error {
	if err := c.needWords(1, "a constraint's id"); err != nil {
		return err
	}
	return c.change(func(e *edit.Editor) error { return e.RemoveConstraints(c.words) })
}

func (c *call) constraintRef() error {
	if err := c.needWords(1, "a resource"); err != nil {
		return err
	}
	doc, err := c.document()
	if err != nil {
		return err
	}
	for _, rsc := range c.words {
		c.out("Resource: %s", rsc)
		ids := show.ConstraintsOf(doc, rsc)
		if len(ids) == 0 {
			ids = []string{"No Matches"}
		}
		for _, id := range ids {
			fmt.Fprintf(c.env.Stdout, "  %s\n", id)
		}
	}
	return nil
}
