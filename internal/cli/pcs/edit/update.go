package edit

import (
	"fmt"
	"slices"

	"holdfast/internal/agent"
	"holdfast/internal/cluster/cib"
)

// Update changes parameters, operations and meta attributes of a primitive; empty values remove.
func (e *Editor) Update(id string, params []Pair, ops []Op, meta []Pair, m *agent.Metadata) error {
	r, err := e.Resource(id)
	if err != nil {
		return err
	}
	if IsClone(r) {
		if len(ops) > 0 {
			return fmt.Errorf("op settings must be changed on the resource inside the clone '%s', not on the clone", id)
		}
		return e.Meta(id, append(params, meta...))
	}
	if r.Name != "primitive" {
		return fmt.Errorf("'%s' is a %s and has no options of its own; update a resource inside it, or use: pcs resource meta %s", id, r.Name, id)
	}
	if err := e.checkUpdate(params, m); err != nil {
		return err
	}
	setPairs(r, "instance_attributes", params)
	if err := e.Meta(id, meta); err != nil {
		return err
	}
	for _, op := range ops {
		if err := e.updateOp(r, op, m); err != nil {
			return err
		}
	}
	return nil
}

// checkUpdate looks at the parameters that change; faults of before do not count.
func (e *Editor) checkUpdate(params []Pair, m *agent.Metadata) error {
	if m == nil {
		return nil
	}
	changed, left := map[string]string{}, map[string]string{}
	for _, p := range m.Params {
		left[p.Name] = ""
	}
	for _, p := range params {
		if p.Value == "" {
			delete(left, p.Name)
			continue
		}
		changed[p.Name] = p.Value
	}
	if err := e.unknownParams(m, changed); err != nil {
		return err
	}
	return e.missingParams(m, left)
}

// updateOp changes the operation the user named: that of the same interval and role, else the only one of the name.
func (e *Editor) updateOp(r *cib.Element, op Op, m *agent.Metadata) error {
	checked, err := e.userOp(op, m)
	if err != nil {
		return err
	}
	old := findOp(r, checked, op.attr("interval") != "")
	if old == nil {
		e.addOp(r, checked)
		return nil
	}
	list := r.EnsureChild("operations")
	at := slices.Index(list.Children, old)
	list.Remove(old)
	if op.attr("interval") == "" {
		for i := range checked.Attrs {
			if checked.Attrs[i].Name == "interval" {
				checked.Attrs[i].Value = old.Get("interval")
			}
		}
	}
	el := e.addOp(r, checked)
	list.Remove(el)
	list.Insert(at, el)
	return nil
}

// findOp finds the operation that a user's words replace.
func findOp(r *cib.Element, op Op, intervalGiven bool) *cib.Element {
	var same []*cib.Element
	for _, old := range r.Child("operations").ChildrenNamed("op") {
		role, _ := presentRole(old.Get("role"))
		if old.Get("name") != op.Name || role != op.attr("role") {
			continue
		}
		if old.Get("interval") == op.attr("interval") {
			return old
		}
		same = append(same, old)
	}
	if len(same) == 1 {
		return same[0]
	}
	return nil
}

// AddOp adds an operation to a primitive.
func (e *Editor) AddOp(id string, op Op) error {
	r, err := e.Resource(id)
	if err != nil {
		return err
	}
	if r.Name != "primitive" {
		return fmt.Errorf("'%s' is a %s; operations belong to the resource inside it", id, r.Name)
	}
	op, err = e.userOp(op, nil)
	if err != nil {
		return err
	}
	for _, old := range r.Child("operations").ChildrenNamed("op") {
		if old.Get("name") != op.Name {
			continue
		}
		if old.Get("interval") == op.attr("interval") {
			return fmt.Errorf("operation %s with interval %s already specified for %s (%s)", op.Name, op.attr("interval"), id, old.ID())
		}
		if err := e.problem("operation %s already specified for %s: %s interval=%s (%s)", op.Name, id, op.Name, old.Get("interval"), old.ID()); err != nil {
			return err
		}
		break
	}
	e.addOp(r, op)
	return nil
}

// RemoveOp removes operations of a primitive that have all the given attributes.
func (e *Editor) RemoveOp(id string, op Op) error {
	r, err := e.Resource(id)
	if err != nil {
		return err
	}
	list := r.Child("operations")
	var found []*cib.Element
	for _, old := range list.ChildrenNamed("op") {
		match := old.Get("name") == op.Name
		for _, a := range op.Attrs {
			match = match && old.Get(a.Name) == a.Value
		}
		if match {
			found = append(found, old)
		}
	}
	if len(found) == 0 {
		text := op.Name
		for _, a := range op.Attrs {
			text += " " + a.Name + "=" + a.Value
		}
		return fmt.Errorf("unable to find operation matching: %s", text)
	}
	e.dropOps(r, found)
	return nil
}

// RemoveOpID removes the operation with an id.
func (e *Editor) RemoveOpID(id string) error {
	op := e.Doc.Resources().ByID(id)
	if op == nil || op.Name != "op" {
		return fmt.Errorf("unable to find operation id: %s", id)
	}
	list := e.Doc.Resources().Parent(op)
	e.dropOps(e.Doc.Resources().Parent(list), []*cib.Element{op})
	return nil
}

func (e *Editor) dropOps(r *cib.Element, ops []*cib.Element) {
	list := r.Child("operations")
	for _, op := range ops {
		list.Remove(op)
	}
	if len(list.Children) == 0 {
		r.Remove(list)
	}
}
