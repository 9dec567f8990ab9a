package show

import (
	"fmt"
	"sort"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Constraints prints all constraints as `pcs constraint`; with full, their ids too.
func Constraints(doc *cib.Document, full bool) []string {
	out := append(Locations(doc, full), Orders(doc, full)...)
	out = append(out, Colocations(doc, full)...)
	return append(out, Tickets(doc, full)...)
}

// Locations prints the location constraints, by resource.
func Locations(doc *cib.Document, full bool) []string {
	out := []string{"Location Constraints:"}
	byRsc := map[string][]*cib.Element{}
	var names []string
	for _, c := range doc.Constraints().ChildrenNamed("rsc_location") {
		name := c.Get("rsc")
		if name == "" {
			name = "pattern " + c.Get("rsc-pattern")
		}
		if byRsc[name] == nil {
			names = append(names, name)
		}
		byRsc[name] = append(byRsc[name], c)
	}
	sort.Strings(names)
	for _, name := range names {
		out = append(out, "  Resource: "+name)
		out = append(out, locationsOf(byRsc[name], full)...)
	}
	return out
}

func locationsOf(list []*cib.Element, full bool) []string {
	var out []string
	groups := []struct{ title, prefix string }{{"Enabled on:", "+"}, {"Disabled on:", "-"}}
	for _, g := range groups {
		var nodes []string
		for _, c := range list {
			if score := c.Get("score"); c.Child("rule") == nil && strings.HasPrefix(score, "-") == (g.prefix == "-") {
				nodes = append(nodes, "      Node: "+c.Get("node")+" (score:"+score+")"+roleMark(c, "role")+idMark(c, full))
			}
		}
		if len(nodes) > 0 {
			out = append(append(out, "    "+g.title), nodes...)
		}
	}
	for _, c := range list {
		if rule := c.Child("rule"); rule != nil {
			out = append(out, "    Constraint: "+c.ID(), "      Rule:"+attrMark(rule, "score")+attrMark(rule, "score-attribute")+roleMark(rule, "role")+idMark(rule, full),
				"        Expression: "+Rule(rule))
		}
	}
	return out
}

// Rule prints the condition of a rule.
func Rule(rule *cib.Element) string {
	join := rule.Get("boolean-op")
	if join == "" {
		join = "and"
	}
	var parts []string
	for _, x := range rule.Children {
		switch x.Name {
		case "expression":
			parts = append(parts, expression(x))
		case "date_expression":
			parts = append(parts, "date "+strings.TrimSpace(x.Get("operation")+" "+x.Get("start")+" "+x.Get("end")))
		case "rule":
			parts = append(parts, "("+Rule(x)+")")
		}
	}
	return strings.Join(parts, " "+join+" ")
}

func expression(x *cib.Element) string {
	if strings.HasSuffix(x.Get("operation"), "defined") {
		return x.Get("operation") + " " + x.Get("attribute")
	}
	return x.Get("attribute") + " " + x.Get("operation") + " " + x.Get("value")
}

func attrMark(c *cib.Element, name string) string {
	if v := c.Get(name); v != "" {
		return " (" + name + ":" + v + ")"
	}
	return ""
}

func roleMark(c *cib.Element, name string) string {
	switch v := c.Get(name); v {
	case "":
		return ""
	case "Master":
		return " (" + name + ":Promoted)"
	case "Slave":
		return " (" + name + ":Unpromoted)"
	default:
		return " (" + name + ":" + v + ")"
	}
}

func idMark(c *cib.Element, full bool) string {
	if full {
		return " (id:" + c.ID() + ")"
	}
	return ""
}

// Orders prints the ordering constraints.
func Orders(doc *cib.Document, full bool) []string {
	out := []string{"Ordering Constraints:"}
	for _, c := range doc.Constraints().ChildrenNamed("rsc_order") {
		if sets := c.ChildrenNamed("resource_set"); len(sets) > 0 {
			out = append(out, "  Resource Sets:", "    "+setLine(c, sets, full))
			continue
		}
		kind := c.Get("kind")
		if kind == "" {
			kind = "Mandatory"
		}
		line := fmt.Sprintf("  %s %s then %s %s (kind:%s)", action(c, "first-action", "start"), c.Get("first"),
			action(c, "then-action", action(c, "first-action", "start")), c.Get("then"), kind)
		if v, ok := cib.ParseBool(c.Get("symmetrical")); ok && !v {
			line += " (non-symmetrical)"
		}
		out = append(out, line+options(c, "require-all", "score")+idMark(c, full))
	}
	return out
}

func action(c *cib.Element, attr, dflt string) string {
	if v := c.Get(attr); v != "" {
		return v
	}
	return dflt
}

func options(c *cib.Element, names ...string) string {
	var out []string
	for _, n := range names {
		if v := c.Get(n); v != "" {
			out = append(out, n+"="+v)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (Options: " + strings.Join(out, " ") + ")"
}

// Colocations prints the colocation constraints.
func Colocations(doc *cib.Document, full bool) []string {
	out := []string{"Colocation Constraints:"}
	for _, c := range doc.Constraints().ChildrenNamed("rsc_colocation") {
		if sets := c.ChildrenNamed("resource_set"); len(sets) > 0 {
			out = append(out, "  Resource Sets:", "    "+setLine(c, sets, full))
			continue
		}
		score := c.Get("score")
		if score == "" {
			score = "INFINITY"
		}
		out = append(out, fmt.Sprintf("  %s with %s (score:%s)", c.Get("rsc"), c.Get("with-rsc"), score)+
			roleMark(c, "rsc-role")+roleMark(c, "with-rsc-role")+attrMark(c, "node-attribute")+idMark(c, full))
	}
	return out
}

// setLine prints a constraint of resource sets: set A B role=Promoted set C setoptions score=INFINITY.
func setLine(c *cib.Element, sets []*cib.Element, full bool) string {
	var parts []string
	for _, s := range sets {
		parts = append(parts, "set")
		for _, ref := range s.ChildrenNamed("resource_ref") {
			parts = append(parts, ref.ID())
		}
		for _, a := range s.Attrs {
			if a.Name != "id" {
				parts = append(parts, a.Name+"="+a.Value)
			}
		}
		if full {
			parts = append(parts, "(id:"+s.ID()+")")
		}
	}
	var own []string
	for _, a := range c.Attrs {
		if a.Name != "id" {
			own = append(own, a.Name+"="+a.Value)
		}
	}
	if len(own) > 0 {
		parts = append(append(parts, "setoptions"), own...)
	}
	return strings.Join(parts, " ") + idMark(c, full)
}

// Tickets prints the ticket constraints.
func Tickets(doc *cib.Document, full bool) []string {
	out := []string{"Ticket Constraints:"}
	for _, c := range doc.Constraints().ChildrenNamed("rsc_ticket") {
		line := "  " + strings.TrimSpace(strings.Trim(roleMark(c, "rsc-role"), " ")+" "+c.Get("rsc")) + attrMark(c, "loss-policy")
		out = append(out, line+" (ticket:"+c.Get("ticket")+")"+idMark(c, full))
	}
	return out
}

// ConstraintsOf lists the ids of the constraints that name a resource.
func ConstraintsOf(doc *cib.Document, rsc string) []string {
	var out []string
	for _, c := range doc.Constraints().Children {
		named := c.Find(func(e *cib.Element) bool { return e.Name == "resource_ref" && e.ID() == rsc }) != nil
		for _, a := range []string{"rsc", "with-rsc", "first", "then"} {
			named = named || c.Get(a) == rsc
		}
		if named {
			out = append(out, c.ID())
		}
	}
	return out
}
