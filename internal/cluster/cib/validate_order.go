package cib

import (
	"slices"
	"strings"
)

// orderGraph is what mandatory orderings say: which step comes after which. A step is "RESOURCE start" or "RESOURCE promote"; a
// group or clone has "RESOURCE start" before its members' and "RESOURCE running" after them.
type orderGraph struct {
	after map[string][]orderStep
	names []string // the steps, in the order they were met
}

// orderStep is a step that comes after another, since a constraint says so (nil: the structure of a group or clone).
type orderStep struct {
	step string
	why  *Element
}

func (g *orderGraph) add(first, then string, why *Element) {
	if g.after[first] == nil {
		g.names = append(g.names, first)
	}
	g.after[first] = append(g.after[first], orderStep{then, why})
}

// orderings warns of the first loop among mandatory orderings, as Pacemaker takes it and starts nothing in it.
func (v *validator) orderings(constraints *Element) {
	g := &orderGraph{after: map[string][]orderStep{}}
	for _, r := range v.doc.Root.Child("configuration").Child("resources").childList() {
		g.structure(r)
	}
	for _, c := range constraints.ChildrenNamed("rsc_order") {
		g.constraint(c)
	}
	loop := g.loop()
	if loop == nil {
		return
	}
	var ids []string
	var at *Element
	for _, s := range loop {
		if s.why != nil && !slices.Contains(ids, s.why.ID()) {
			ids, at = append(ids, s.why.ID()), s.why
		}
	}
	if at == nil {
		return
	}
	steps := make([]string, len(loop))
	for i, s := range loop {
		steps[i] = strings.TrimSuffix(strings.TrimSuffix(s.step, " running"), " start")
	}
	v.warnf(at, "these orderings make a loop, so that nothing in it can start: %s, by %s; remove one of them, or make it kind=Optional",
		strings.Join(slices.Compact(append(steps, steps[0])), ", then "), strings.Join(ids, ", "))
}

// structure adds what a resource says by itself: the members of a group start one after another.
func (g *orderGraph) structure(r *Element) {
	if !IsResource(r) {
		return
	}
	id := r.ID()
	g.add(id+" start", id+" running", nil)
	g.add(id+" running", id+" promote", nil)
	ordered, known := ParseBool(Meta(r, "ordered"))
	last := ""
	for _, m := range r.Children {
		if !IsResource(m) {
			continue
		}
		g.structure(m)
		g.add(id+" start", m.ID()+" start", nil)
		g.add(m.ID()+" running", id+" running", nil)
		if r.Name == "group" && last != "" && (ordered || !known) {
			g.add(last+" running", m.ID()+" start", nil)
		}
		last = m.ID()
	}
}

// constraint adds a mandatory ordering of starts and promotions.
func (g *orderGraph) constraint(c *Element) {
	kind, hasKind := c.Lookup("kind")
	score, ok := ParseScore(c.Get("score"))
	if hasKind && kind != "Mandatory" || !hasKind && ok && score <= 0 {
		return
	}
	sets := c.ChildrenNamed("resource_set")
	if len(sets) == 0 {
		g.between([]string{c.Get("first")}, []string{c.Get("then")}, defaultAction(c.Get("first-action"), "start"),
			defaultAction(c.Get("then-action"), defaultAction(c.Get("first-action"), "start")), c)
		return
	}
	var before []string
	beforeAction := ""
	for _, set := range sets {
		var ids []string
		for _, ref := range set.ChildrenNamed("resource_ref") {
			ids = append(ids, ref.ID())
		}
		action := defaultAction(set.Get("action"), "start")
		if sequential, known := ParseBool(set.Get("sequential")); sequential || !known {
			for i := 1; i < len(ids); i++ {
				g.between(ids[i-1:i], ids[i:i+1], action, action, c)
			}
		}
		g.between(before, ids, beforeAction, action, c)
		before, beforeAction = ids, action
	}
}

func defaultAction(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (g *orderGraph) between(first, then []string, firstAction, thenAction string, why *Element) {
	ends := map[string]string{"start": " running", "promote": " promote"}
	begins := map[string]string{"start": " start", "promote": " promote"}
	if ends[firstAction] == "" || begins[thenAction] == "" {
		return
	}
	for _, a := range first {
		for _, b := range then {
			g.add(a+ends[firstAction], b+begins[thenAction], why)
		}
	}
}

// loop finds steps that come after one another in a circle, nil when there are none.
func (g *orderGraph) loop() []orderStep {
	const (
		fresh = iota
		open
		closed
	)
	state := map[string]int{}
	var path []orderStep
	var visit func(step string) []orderStep
	visit = func(step string) []orderStep {
		state[step] = open
		for _, next := range g.after[step] {
			switch state[next.step] {
			case open:
				at := slices.IndexFunc(path, func(s orderStep) bool { return s.step == next.step })
				return append(slices.Clone(path[max(0, at):]), next)
			case fresh:
				path = append(path, next)
				if found := visit(next.step); found != nil {
					return found
				}
				path = path[:len(path)-1]
			}
		}
		state[step] = closed
		return nil
	}
	for _, step := range g.names {
		if state[step] == fresh {
			path = []orderStep{{step: step}}
			if found := visit(step); found != nil {
				return found
			}
		}
	}
	return nil
}
