package edit

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Colocation describes a colocation constraint. Roles may be empty; Score too, which is INFINITY.
type Colocation struct {
	Rsc, Role, With, WithRole string
	Score                     string
	Options                   []Pair // id, node-attribute, influence
}

// AddColocation adds a colocation constraint.
func (e *Editor) AddColocation(c Colocation) error {
	score, err := checkScore(c.Score)
	if err != nil {
		return err
	}
	if err := e.checkRoles(&c.Role, &c.WithRole); err != nil {
		return err
	}
	if err := e.constrainable(c.Rsc, c.With); err != nil {
		return err
	}
	el := cib.NewElement("rsc_colocation", "rsc", c.Rsc, "with-rsc", c.With, "score", score)
	setIf(el, "rsc-role", c.Role)
	setIf(el, "with-rsc-role", c.WithRole)
	if err := setOptions(el, c.Options, "id", "node-attribute", "influence"); err != nil {
		return err
	}
	if err := e.checkTwin(el, "rsc", "with-rsc", "rsc-role", "with-rsc-role", "node-attribute"); err != nil {
		return err
	}
	return e.addConstraint(el, fmt.Sprintf("colocation-%s-%s-%s", c.Rsc, c.With, score))
}

// Order describes an ordering constraint. Actions may be empty, which is start.
type Order struct {
	First, FirstAction, Then, ThenAction string
	Options                              []Pair // kind, symmetrical, require-all, id, score
}

// AddOrder adds an ordering constraint.
func (e *Editor) AddOrder(o Order) error {
	if err := e.constrainable(o.First, o.Then); err != nil {
		return err
	}
	el := cib.NewElement("rsc_order", "first", o.First, "then", o.Then)
	options := slices.Clone(o.Options)
	if err := setOptions(el, options, "kind", "symmetrical", "require-all", "id", "score"); err != nil {
		return err
	}
	kind, err := orderKind(el)
	if err != nil {
		return err
	}
	el.Set("first-action", orStart(o.FirstAction))
	el.Set("then-action", orStart(o.ThenAction))
	if err := e.checkTwin(el, "first", "then", "first-action", "then-action"); err != nil {
		return err
	}
	e.Notes = append(e.Notes, orderNote(el, kind, options))
	suffix := "mandatory"
	if el.Get("kind") != "" {
		suffix = kind
	}
	return e.addConstraint(el, fmt.Sprintf("order-%s-%s-%s", o.First, o.Then, suffix))
}

// orderKind reads the kind, completing an old score.
func orderKind(el *cib.Element) (string, error) {
	for _, k := range []string{"Mandatory", "Optional", "Serialize"} {
		if strings.EqualFold(el.Get("kind"), k) {
			el.Set("kind", k)
			return k, nil
		}
	}
	if el.Get("kind") != "" {
		return "", fmt.Errorf("invalid kind value '%s', allowed values are: Optional, Mandatory, Serialize", el.Get("kind"))
	}
	if s, ok := el.Lookup("score"); ok {
		if _, err := checkScore(s); err != nil {
			return "", err
		}
		if s == "0" {
			return "Optional", nil
		}
	}
	return "Mandatory", nil
}

// orderNote is what pcs prints when it adds an ordering constraint.
func orderNote(el *cib.Element, kind string, options []Pair) string {
	var opts []string
	for _, p := range options {
		if p.Name != "kind" {
			opts = append(opts, p.Name+"="+p.Value)
		}
	}
	opts = append(opts, "first-action="+el.Get("first-action"), "then-action="+el.Get("then-action"))
	slices.Sort(opts)
	return fmt.Sprintf("Adding %s %s (kind: %s) (Options: %s)", el.Get("first"), el.Get("then"), kind, strings.Join(opts, " "))
}

func orStart(action string) string {
	if action == "" {
		return "start"
	}
	return action
}

// Location describes a location constraint of a resource and a node.
type Location struct {
	ID, Rsc, Node, Score string
	Role                 string
	Options              []Pair // resource-discovery
}

// AddLocation adds a location constraint, or changes the score of the one with the same resource, node and role.
func (e *Editor) AddLocation(l Location) error {
	score, err := checkScore(l.Score)
	if err != nil {
		return err
	}
	if err := e.checkRoles(&l.Role); err != nil {
		return err
	}
	if err := e.constrainable(l.Rsc); err != nil {
		return err
	}
	if e.Doc.Node(l.Node) == nil {
		e.warnf("node '%s' does not appear to exist in configuration%s", l.Node, e.knownNodes())
	}
	el := cib.NewElement("rsc_location", "rsc", l.Rsc)
	setIf(el, "role", l.Role)
	el.Set("node", l.Node)
	el.Set("score", score)
	if err := setOptions(el, l.Options, "resource-discovery"); err != nil {
		return err
	}
	if l.ID != "" {
		el.Set("id", l.ID)
	}
	if old := e.sameLocation(el); old != nil {
		e.Doc.Constraints().Remove(old)
	}
	return e.addConstraint(el, fmt.Sprintf("location-%s-%s-%s", l.Rsc, l.Node, score))
}

func (e *Editor) sameLocation(el *cib.Element) *cib.Element {
	for _, c := range e.Doc.Constraints().ChildrenNamed("rsc_location") {
		if c.Get("rsc") == el.Get("rsc") && c.Get("node") == el.Get("node") && c.Get("node") != "" &&
			c.Get("role") == el.Get("role") && !strings.HasPrefix(c.ID(), "cli-") {
			return c
		}
	}
	return nil
}

// constrainable refuses resources a constraint should not name: missing ones, and those inside a clone.
func (e *Editor) constrainable(ids ...string) error {
	for _, id := range ids {
		r := e.Doc.Resource(id)
		if r == nil {
			return fmt.Errorf("resource '%s' does not exist%s", id, e.near(id))
		}
		if top := e.Outermost(r); top != r && (IsClone(top) || top.Name == "bundle") {
			if err := e.cloneInstead(id, top); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Editor) cloneInstead(id string, top *cib.Element) error {
	text := fmt.Sprintf("%s is a %s resource, you should use the %s id: %s when adding constraints", id, top.Name, top.Name, top.ID())
	if e.Force {
		e.Warnings = append(e.Warnings, text)
		return nil
	}
	return fmt.Errorf("%s. Use --force to override", text)
}

// checkRoles puts roles into present words.
func (e *Editor) checkRoles(roles ...*string) error {
	for _, r := range roles {
		if *r == "" {
			continue
		}
		now, ok := presentRole(*r)
		if !ok {
			return fmt.Errorf("invalid role value '%s', allowed values are: 'Promoted', 'Started', 'Stopped', 'Unpromoted'", *r)
		}
		*r = now
	}
	return nil
}

// checkScore reads a score; the empty one is INFINITY.
func checkScore(s string) (string, error) {
	if s == "" {
		return "INFINITY", nil
	}
	if _, ok := cib.ParseScore(s); !ok {
		return "", fmt.Errorf("invalid score '%s', use integer or INFINITY or -INFINITY", s)
	}
	return strings.TrimPrefix(s, "+"), nil
}

func setIf(el *cib.Element, name, value string) {
	if value != "" {
		el.Set(name, value)
	}
}

func setOptions(el *cib.Element, options []Pair, allowed ...string) error {
	for _, p := range options {
		if !slices.Contains(allowed, p.Name) {
			return fmt.Errorf("invalid option '%s', allowed options are: %s", p.Name, quoted(allowed))
		}
		el.Set(p.Name, p.Value)
	}
	return nil
}

// checkTwin refuses a constraint that differs from an existing one at most in its score or kind.
func (e *Editor) checkTwin(el *cib.Element, attrs ...string) error {
	for _, c := range e.Doc.Constraints().ChildrenNamed(el.Name) {
		same := len(c.ChildrenNamed("resource_set")) == 0
		for _, a := range attrs {
			same = same && twinValue(c, a) == twinValue(el, a)
		}
		if same {
			return e.problem("duplicate constraint already exists (id: %s)", c.ID())
		}
	}
	return nil
}

// twinValue is an attribute's value with defaults and present words filled in.
func twinValue(c *cib.Element, attr string) string {
	v := c.Get(attr)
	switch attr {
	case "rsc-role", "with-rsc-role":
		if v, _ = presentRole(v); v == "" {
			v = "Started"
		}
	case "first-action":
		v = orStart(v)
	case "then-action":
		if v == "" {
			v = orStart(c.Get("first-action"))
		}
	}
	return v
}

// addConstraint gives a constraint its id and adds it.
func (e *Editor) addConstraint(el *cib.Element, want string) error {
	id := el.Get("id")
	el.Del("id")
	if id == "" {
		id = e.freeID(want)
	} else if err := e.checkNew(id, "constraint id"); err != nil {
		return err
	}
	el.Set("id", id)
	e.Doc.Constraints().Append(el)
	return nil
}

// RemoveConstraints removes constraints by id.
func (e *Editor) RemoveConstraints(ids []string) error {
	for _, id := range ids {
		c := e.Doc.Constraints().Find(func(x *cib.Element) bool { return x.ID() == id && strings.HasPrefix(x.Name, "rsc_") })
		if c == nil {
			return fmt.Errorf("unable to find constraint - '%s'; list them with: pcs constraint --full", id)
		}
		e.Doc.Constraints().Remove(c)
	}
	return nil
}

// RemoveColocation removes the colocations of one resource with another.
func (e *Editor) RemoveColocation(rsc, with string) error {
	n := e.removeWhere("rsc_colocation", func(c *cib.Element) bool { return c.Get("rsc") == rsc && c.Get("with-rsc") == with })
	if n == 0 {
		return fmt.Errorf("no matching resources found in ordering list: there is no colocation of %s with %s", rsc, with)
	}
	return nil
}

// RemoveOrder removes the ordering constraints that name any of the resources.
func (e *Editor) RemoveOrder(ids []string) error {
	n := e.removeWhere("rsc_order", func(c *cib.Element) bool {
		return slices.Contains(ids, c.Get("first")) || slices.Contains(ids, c.Get("then"))
	})
	if n == 0 {
		return fmt.Errorf("no matching resources found in ordering list")
	}
	return nil
}

func (e *Editor) removeWhere(kind string, match func(*cib.Element) bool) int {
	n := 0
	for _, c := range e.Doc.Constraints().ChildrenNamed(kind) {
		if match(c) {
			e.Doc.Constraints().Remove(c)
			n++
		}
	}
	return n
}
