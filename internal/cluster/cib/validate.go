package cib

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severity says whether a problem makes a document unusable.
type Severity int

// The severities.
const (
	Warning Severity = iota
	Error
)

// String gives the severity in lower case.
func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// Problem is a fault found in a document.
type Problem struct {
	ID       string // id of the element at fault
	Element  string // its name
	Line     int    // in the parsed text; 0 when unknown
	Text     string // what is wrong and what would be right
	Severity Severity
}

// String gives the problem in one line for people.
func (p Problem) String() string {
	where := "<" + p.Element
	if p.ID != "" {
		where += ` id="` + p.ID + `"`
	}
	where += ">"
	if p.Line > 0 {
		where = fmt.Sprintf("line %d: %s", p.Line, where)
	}
	return fmt.Sprintf("%s: %s: %s", p.Severity, where, p.Text)
}

// Validate checks a document against what the schema and the scheduler demand: sections, ids, references, scores,
// roles, actions, rules and dates, loops of orderings. The problems come in the order of these, each in document order.
func Validate(doc *Document) []Problem {
	v := &validator{doc: doc, ids: map[string]*Element{}, resources: map[string]*Element{}}
	if doc.Root.Name != "cib" {
		v.errorf(doc.Root, "the root element must be <cib>")
		return v.problems
	}
	v.collect(doc.Root.Child("configuration"))
	v.nodes()
	for _, r := range doc.Root.Child("configuration").Child("resources").childList() {
		v.resource(r, "")
	}
	for _, c := range doc.Root.Child("configuration").Child("constraints").childList() {
		v.constraint(c)
	}
	v.orderings(doc.Root.Child("configuration").Child("constraints"))
	v.sets(doc.Root.Child("configuration"))
	if conf := doc.Root.Child("configuration"); conf != nil {
		v.others(conf)
	}
	return v.problems
}

func (e *Element) childList() []*Element {
	if e == nil {
		return nil
	}
	return e.Children
}

type validator struct {
	doc       *Document
	ids       map[string]*Element
	resources map[string]*Element
	problems  []Problem
}

func (v *validator) add(e *Element, s Severity, format string, a ...any) {
	v.problems = append(v.problems, Problem{ID: e.ID(), Element: e.Name, Line: e.line, Text: fmt.Sprintf(format, a...), Severity: s})
}

func (v *validator) errorf(e *Element, format string, a ...any) { v.add(e, Error, format, a...) }

func (v *validator) warnf(e *Element, format string, a ...any) { v.add(e, Warning, format, a...) }

// collect notes all ids and reports those used twice.
func (v *validator) collect(e *Element) {
	for _, c := range e.childList() {
		if id, ok := c.Lookup("id"); ok && c.Name != "resource_ref" && c.Name != "role" && c.Name != "obj_ref" {
			v.id(c, id)
		} else if !ok && needsID(c) {
			v.errorf(c, "it needs an id")
		}
		if IsResource(c) || c.Name == "template" {
			v.resources[c.ID()] = c
		}
		v.collect(c)
	}
}

func (v *validator) id(e *Element, id string) {
	if e.Name == "node" {
		return // a node's id is a number or a name, and no XML id
	}
	if !ValidID(id) {
		v.errorf(e, "%q is not a usable id: it begins with a letter or underscore and holds letters, digits, '-', '_', '.'", id)
	}
	if first, dup := v.ids[id]; dup {
		v.errorf(e, "the id %q is already that of a <%s>; give this one another", id, first.Name)
		return
	}
	v.ids[id] = e
}

// ValidID tells whether s may be an XML id.
func ValidID(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i], i == 0) || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

func (v *validator) nodes() {
	seen, ids := map[string]bool{}, map[string]bool{}
	for _, n := range v.doc.Root.Child("configuration").Child("nodes").ChildrenNamed("node") {
		name := n.Get("uname")
		switch {
		case name == "":
			v.errorf(n, "a node needs a uname")
		case seen[name]:
			v.errorf(n, "there is another node named %q", name)
		}
		seen[name] = true
		if id := n.ID(); id != "" && ids[id] {
			v.errorf(n, "there is another node with the id %q", id)
		}
		ids[n.ID()] = true
	}
}

// resource checks one resource; in names the kind of resource it is inside of.
func (v *validator) resource(r *Element, in string) {
	switch r.Name {
	case "primitive":
		v.primitive(r)
	case "group":
		v.members(r, "primitive")
	case "clone", "master":
		if in == "group" || in == "clone" || in == "master" {
			v.errorf(r, "a <%s> cannot be inside a <%s>", r.Name, in)
		}
		v.members(r, "primitive", "group")
	case "bundle":
		v.bundle(r)
	case "template":
	default:
		v.warnf(r, "unknown kind of resource")
	}
	for _, set := range r.ChildrenNamed("meta_attributes") {
		v.metaAttributes(r, set)
	}
}

func (v *validator) primitive(r *Element) {
	if r.Get("template") != "" {
		if v.resources[r.Get("template")] == nil {
			v.errorf(r, "the template %q does not exist", r.Get("template"))
		}
		return
	}
	class := r.Get("class")
	switch class {
	case "ocf":
		if r.Get("provider") == "" {
			v.errorf(r, "an ocf resource needs a provider, such as heartbeat")
		}
	case "lsb", "systemd", "upstart", "service", "stonith", "nagios":
	case "":
		v.errorf(r, "a primitive needs a class (ocf, systemd, lsb, service, stonith) or a template")
	default:
		v.errorf(r, "unknown class %q: it is ocf, systemd, lsb, service or stonith", class)
	}
	if r.Get("type") == "" {
		v.errorf(r, "a primitive needs a type: the name of its agent")
	}
	v.operations(r)
}

func (v *validator) operations(r *Element) {
	seen := map[string]bool{}
	for _, op := range r.Child("operations").ChildrenNamed("op") {
		if op.Get("name") == "" {
			v.errorf(op, "an operation needs a name")
		}
		for _, attr := range []string{"interval", "timeout", "start-delay"} {
			if s, ok := op.Lookup(attr); ok {
				if _, err := ParseInterval(s); err != nil {
					v.errorf(op, "%s: %v", attr, err)
				}
			}
		}
		v.role(op, "role")
		iv, _ := ParseInterval(op.Get("interval"))
		key := fmt.Sprintf("%s/%v/%s", op.Get("name"), iv, op.Get("role"))
		if seen[key] && iv > 0 {
			v.warnf(op, "there is another %s operation with this interval; give them different ones", op.Get("name"))
		}
		seen[key] = true
	}
}

// members checks what is inside a group or clone.
func (v *validator) members(r *Element, kinds ...string) {
	n := 0
	for _, c := range r.Children {
		if !IsResource(c) {
			continue
		}
		n++
		if !slices.Contains(kinds, c.Name) {
			v.errorf(c, "a <%s> cannot be inside a <%s>", c.Name, r.Name)
			continue
		}
		v.resource(c, r.Name)
	}
	if n == 0 && len(r.ChildrenNamed("template")) == 0 {
		v.errorf(r, "this <%s> has no resource inside", r.Name)
	}
	if n > 1 && r.Name != "group" {
		v.errorf(r, "a clone holds one resource, not %d: put them in a group", n)
	}
}

// metaAttributes checks the values of those whose values are known.
func (v *validator) metaAttributes(r, set *Element) {
	for _, nv := range set.ChildrenNamed("nvpair") {
		name, value := nv.Get("name"), nv.Get("value")
		switch name {
		case "resource-stickiness", "migration-threshold", "priority":
			v.scoreValue(nv, name, value)
		case "is-managed", "maintenance", "notify", "promotable", "interleave", "ordered", "globally-unique":
			if _, ok := ParseBool(value); !ok {
				v.errorf(nv, "%s of %s is %q, neither true nor false", name, r.ID(), value)
			}
		case "clone-max", "clone-node-max", "promoted-max", "promoted-node-max", "master-max", "master-node-max", "clone-min":
			v.count(nv, name+" of "+r.ID(), value)
		case "target-role":
			v.roleValue(nv, value)
		case "failure-timeout":
			if _, err := ParseInterval(value); err != nil {
				v.errorf(nv, "failure-timeout of %s: %v", r.ID(), err)
			}
		}
	}
}

// MaxInstances bounds how many instances a clone, and replicas a bundle, may have: each is something to decide about, whether a
// node has room for it or not.
const MaxInstances = 1000

// bundle checks how many replicas are asked for.
func (v *validator) bundle(r *Element) {
	for _, box := range r.Children {
		for _, name := range []string{"replicas", "replicas-per-host"} {
			if value, ok := box.Lookup(name); ok {
				v.count(box, name+" of "+r.ID(), value)
			}
		}
	}
}

func (v *validator) count(e *Element, what, value string) {
	switch n, err := strconv.Atoi(value); {
	case err != nil || n < 0:
		v.errorf(e, "%s is %q, not a number from 0 on", what, value)
	case n > MaxInstances:
		v.errorf(e, "%s is %s: more than %d are not decided about", what, value, MaxInstances)
	}
}

func (v *validator) constraint(c *Element) {
	switch c.Name {
	case "rsc_location":
		v.location(c)
	case "rsc_colocation":
		v.references(c, "rsc", "with-rsc")
		v.score(c)
		v.role(c, "rsc-role")
		v.role(c, "with-rsc-role")
	case "rsc_order":
		v.references(c, "first", "then")
		v.action(c, "first-action")
		v.action(c, "then-action")
		v.score(c)
		v.orderKind(c)
	case "rsc_ticket":
		if c.Get("ticket") == "" {
			v.errorf(c, "a ticket constraint needs a ticket")
		}
		v.references(c, "rsc")
	default:
		v.warnf(c, "unknown kind of constraint")
	}
}

func (v *validator) orderKind(c *Element) {
	switch k := c.Get("kind"); k {
	case "", "Optional", "Mandatory", "Serialize":
	default:
		v.errorf(c, "kind is %q: it is Mandatory, Optional or Serialize", k)
	}
	if c.Get("first") != "" && c.Get("first") == c.Get("then") && c.Get("first-action") == c.Get("then-action") {
		v.errorf(c, "%q is ordered after itself", c.Get("first"))
	}
}

func (v *validator) location(c *Element) {
	if c.Get("rsc-pattern") == "" {
		v.references(c, "rsc")
	}
	v.score(c)
	v.role(c, "role")
	if node := c.Get("node"); node != "" && v.doc.Node(node) == nil {
		v.warnf(c, "there is no node named %q", node)
	}
	if c.Get("node") == "" && c.Child("rule") == nil {
		v.errorf(c, "a location constraint needs a node or a rule")
	}
	if c.Get("node") != "" && c.Get("score") == "" && c.Get("score-attribute") == "" {
		v.errorf(c, "a location constraint with a node needs a score")
	}
}

// references checks that the named resources exist, unless the constraint holds resource sets.
func (v *validator) references(c *Element, attrs ...string) {
	sets := c.ChildrenNamed("resource_set")
	for _, set := range sets {
		for _, ref := range set.ChildrenNamed("resource_ref") {
			v.reference(c, ref.ID())
		}
	}
	if len(sets) > 0 {
		return
	}
	for _, a := range attrs {
		if c.Get(a) == "" {
			v.errorf(c, "the attribute %s is missing", a)
			continue
		}
		v.reference(c, c.Get(a))
	}
}

func (v *validator) reference(c *Element, id string) {
	if v.resources[id] != nil || v.doc.Configuration().Child("tags").ByID(id) != nil {
		return
	}
	v.errorf(c, "there is no resource %q", id)
}

func (v *validator) score(c *Element) {
	if s, ok := c.Lookup("score"); ok {
		v.scoreValue(c, "score", s)
	}
}

func (v *validator) scoreValue(e *Element, what, s string) {
	if _, ok := ParseScore(s); ok {
		return
	}
	// Pacemaker reads as many digits as there are, and scripts have written 1.0.
	if number, _, found := strings.Cut(s, "."); found {
		if _, ok := ParseScore(number); ok {
			v.warnf(e, "%s is %q, and counts as %s: it is a whole number, INFINITY or -INFINITY", what, s, number)
			return
		}
	}
	v.errorf(e, "%s is %q: it is a number, INFINITY or -INFINITY", what, s)
}

func (v *validator) role(e *Element, attr string) {
	if s, ok := e.Lookup(attr); ok {
		v.roleValue(e, s)
	}
}

func (v *validator) roleValue(e *Element, s string) {
	switch strings.ToLower(s) {
	case "#default", "stopped", "started", "promoted", "unpromoted", "master", "slave", "unknown":
	default:
		v.errorf(e, "%q is no role: it is Started, Stopped, Promoted or Unpromoted", s)
	}
}

func (v *validator) action(e *Element, attr string) {
	switch s := e.Get(attr); s {
	case "", "start", "stop", "promote", "demote", "monitor", "notify":
	default:
		v.errorf(e, "%s is %q: it is start, stop, promote or demote", attr, s)
	}
}
