package edit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/agent"
	"holdfast/internal/cluster/cib"
)

// defaultMonitorInterval is that of a monitor for which neither user nor agent names one (pcs's own default).
const defaultMonitorInterval = "60s"

// Op is an operation as a user writes it after the word op.
type Op struct {
	Name  string
	Attrs []Pair
}

func (o Op) attr(name string) string {
	for _, p := range o.Attrs {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Primitive describes a resource to create.
type Primitive struct {
	ID           string
	Spec         agent.Spec
	Params, Meta []Pair
	Ops          []Op
	// Agent is what the agent says of itself; nil when it has no metadata.
	Agent *agent.Metadata
	// OnlyMonitors leaves out the agent's default operations except monitor (--no-default-ops).
	OnlyMonitors bool
	Disabled     bool
}

// Create adds a primitive at the end of the resources.
func (e *Editor) Create(p Primitive) (*cib.Element, error) {
	if err := e.checkNew(p.ID, "resource name"); err != nil {
		return nil, err
	}
	if err := e.checkParams(p); err != nil {
		return nil, err
	}
	ops, err := e.operations(p)
	if err != nil {
		return nil, err
	}
	r := cib.NewElement("primitive", "id", p.ID, "class", p.Spec.Class, "type", p.Spec.Type)
	if p.Spec.Provider != "" {
		r.Set("provider", p.Spec.Provider)
	}
	e.Doc.Resources().Append(r)
	setPairs(r, "instance_attributes", p.Params)
	setPairs(r, "meta_attributes", p.Meta)
	if p.Disabled {
		cib.SetMeta(r, "target-role", "Stopped")
	}
	for _, op := range ops {
		e.addOp(r, op)
	}
	return r, nil
}

// checkParams compares parameters with those the agent takes.
func (e *Editor) checkParams(p Primitive) error {
	if p.Agent == nil {
		return nil
	}
	given := map[string]string{}
	for _, kv := range p.Params {
		given[kv.Name] = kv.Value
	}
	return errors.Join(e.unknownParams(p.Agent, given), e.missingParams(p.Agent, given))
}

func (e *Editor) unknownParams(m *agent.Metadata, given map[string]string) error {
	bad := slices.DeleteFunc(m.Invalid(given), alwaysTaken)
	if len(bad) == 0 {
		return nil
	}
	known := make([]string, 0, len(m.Params))
	for _, q := range m.Params {
		known = append(known, q.Name)
	}
	slices.Sort(known)
	return e.problem("invalid resource option%s %s, allowed options are: %s", plural(bad), quoted(bad), quoted(known))
}

func (e *Editor) missingParams(m *agent.Metadata, given map[string]string) error {
	missing := m.Missing(given)
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	if len(missing) > 1 {
		return e.problem("required resource options %s are missing", quoted(missing))
	}
	return e.problem("required resource option %s is missing", quoted(missing))
}

// alwaysTaken are parameters every OCF agent takes without naming them (tracing).
func alwaysTaken(name string) bool { return name == "trace_ra" || name == "trace_file" }

func plural(s []string) string {
	if len(s) > 1 {
		return "s"
	}
	return ""
}

// operations joins the user's operations and the agent's: an operation the user gave replaces all of that name.
func (e *Editor) operations(p Primitive) ([]Op, error) {
	var out []Op
	for _, op := range p.Ops {
		op, err := e.userOp(op, p.Agent)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o Op) bool { return o.Name == op.Name && o.attr("interval") == op.attr("interval") }) {
			return nil, fmt.Errorf("multiple specification of the same operation with the same interval: %s with interval %s",
				op.Name, op.attr("interval"))
		}
		out = append(out, op)
	}
	given := func(name string) bool { return slices.ContainsFunc(p.Ops, func(o Op) bool { return o.Name == name }) }
	for _, op := range defaultOps(p.Agent, p.OnlyMonitors) {
		if !given(op.Name) {
			out = append(out, op)
		}
	}
	slices.SortStableFunc(out, func(a, b Op) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// userOp checks an operation and completes its interval.
func (e *Editor) userOp(op Op, m *agent.Metadata) (Op, error) {
	if m != nil && m.Action(op.Name, "") == nil && !slices.Contains([]string{"start", "stop", "monitor"}, op.Name) {
		var known []string
		for _, a := range m.Actions {
			known = append(known, a.Name)
		}
		slices.Sort(known)
		if err := e.problem("'%s' is not a valid operation name value, use %s", op.Name, quoted(slices.Compact(known))); err != nil {
			return op, err
		}
	}
	attrs := slices.Clone(op.Attrs)
	for i := range attrs {
		if err := checkOpAttr(op.Name, &attrs[i]); err != nil {
			return op, err
		}
	}
	op.Attrs = attrs
	if op.attr("interval") == "" {
		interval := "0s"
		if op.Name == "monitor" {
			interval = defaultMonitorInterval
		}
		op.Attrs = append([]Pair{{"interval", interval}}, op.Attrs...)
	}
	return op, nil
}

// opAttrs are the attributes the schema lets an operation have.
func opAttrs() []string {
	return []string{"description", "enabled", "id", "interval", "interval-origin", "name", "on-fail", "record-pending", "role",
		"start-delay", "timeout", "OCF_CHECK_LEVEL"}
}

func checkOpAttr(op string, a *Pair) error {
	if !slices.Contains(opAttrs(), a.Name) {
		return fmt.Errorf("invalid resource operation option '%s' of %s, allowed options are: %s", a.Name, op, quoted(opAttrs()))
	}
	switch a.Name {
	case "interval", "timeout", "start-delay":
		if _, err := cib.ParseInterval(a.Value); err != nil || a.Value == "" {
			return fmt.Errorf("'%s' is not a valid %s value of %s, use time interval (e.g. 1, 2s, 3m, 4h, ...)", a.Value, a.Name, op)
		}
	case "role":
		role, ok := presentRole(a.Value)
		if !ok {
			return fmt.Errorf("'%s' is not a valid role value, use 'Promoted', 'Started', 'Stopped', 'Unpromoted'", a.Value)
		}
		a.Value = role
	}
	return nil
}

// defaultOps makes operations of the actions an agent advises, without those that are not operations of a running resource.
func defaultOps(m *agent.Metadata, onlyMonitors bool) []Op {
	var out []Op
	if m != nil {
		for _, a := range m.Actions {
			if a.Name == "monitor" || !onlyMonitors && !slices.Contains([]string{"meta-data", "validate-all", "status"}, a.Name) {
				out = append(out, advised(a))
			}
		}
	}
	if !slices.ContainsFunc(out, func(o Op) bool { return o.Name == "monitor" }) {
		out = append(out, Op{"monitor", []Pair{{"interval", defaultMonitorInterval}}})
	}
	return out
}

func advised(a agent.Action) Op {
	interval := a.Interval
	if interval == "" {
		interval = "0s"
		if a.Name == "monitor" {
			interval = defaultMonitorInterval
		}
	}
	op := Op{a.Name, []Pair{{"interval", interval}}}
	if a.Role != "" {
		op.Attrs = append(op.Attrs, Pair{"role", a.Role})
	}
	if a.StartDelay != "" && a.StartDelay != "0" {
		op.Attrs = append(op.Attrs, Pair{"start-delay", a.StartDelay})
	}
	if a.Timeout != "" {
		op.Attrs = append(op.Attrs, Pair{"timeout", a.Timeout})
	}
	if a.Depth != "" && a.Depth != "0" {
		op.Attrs = append(op.Attrs, Pair{"OCF_CHECK_LEVEL", a.Depth})
	}
	return op
}

// addOp appends an operation to a primitive and returns its element.
func (e *Editor) addOp(r *cib.Element, op Op) *cib.Element {
	list := r.EnsureChild("operations")
	el := cib.NewElement("op", "name", op.Name)
	for _, a := range op.Attrs {
		if a.Name != "id" && a.Name != "OCF_CHECK_LEVEL" {
			el.Set(a.Name, a.Value)
		}
	}
	id := op.attr("id")
	if id == "" {
		id = e.freeID(r.ID() + "-" + op.Name + "-interval-" + el.Get("interval"))
	}
	el.Set("id", id)
	list.Append(el)
	if level := op.attr("OCF_CHECK_LEVEL"); level != "" {
		cib.SetNV(el, "instance_attributes", id+"-instance_attributes", "OCF_CHECK_LEVEL", level)
	}
	return el
}
