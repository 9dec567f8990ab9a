package cib

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Schemas that are understood: pacemaker-1.0 to pacemaker-3.9. What is older than 3.0 has other words for some things.
const (
	newestMajor = 3
	newestMinor = 9
)

// Upgrade brings a document that says it follows an older schema (validate-with) to Schema: it gives the result and, one
// sentence each, what was changed, in document order; the document itself stays as it is, and so does the version. One that
// follows Schema or none ("none", or no validate-with) is given back as it is. The error is for a schema that is not known.
//
// What is renamed, moved and dropped is what Pacemaker 2.1.5 does (cibadmin --upgrade), ids included. It differs where that loses
// a value without need: a default is then kept in a set of its own.
func Upgrade(doc *Document) (*Document, []string, error) {
	major, minor, err := schemaVersion(doc.Root.Get("validate-with"))
	if err != nil || major == 0 || major == newestMajor && minor == newestMinor {
		return doc, nil, err
	}
	u := &upgrade{doc: doc.Clone()}
	if major < newestMajor {
		u.toThree(major)
	}
	u.note(u.doc.Root, "validate-with is %s now", Schema)
	u.doc.Root.Set("validate-with", Schema)
	return u.doc, u.notes, nil
}

// schemaVersion reads the name of a schema; major is 0 for none.
func schemaVersion(name string) (major, minor int, err error) {
	if name == "" || name == "none" {
		return 0, 0, nil
	}
	unknown := fmt.Errorf("validate-with is %q: the schemas known here are pacemaker-1.0 to %s, or none", name, Schema)
	version, ok := strings.CutPrefix(name, "pacemaker-")
	a, b, dotted := strings.Cut(version, ".")
	major, errA := strconv.Atoi(a)
	minor, errB := strconv.Atoi(b)
	if !ok || !dotted || errA != nil || errB != nil || major < 1 || minor < 0 || major > newestMajor || major == newestMajor && minor > newestMinor {
		return 0, 0, unknown
	}
	return major, minor, nil
}

// upgrade is a document on its way.
type upgrade struct {
	doc   *Document
	notes []string
}

func (u *upgrade) note(e *Element, format string, a ...any) {
	where := "<" + e.Name + ">"
	if id := e.ID(); id != "" {
		where = "<" + e.Name + ` id="` + id + `">`
	}
	u.notes = append(u.notes, where+": "+fmt.Sprintf(format, a...))
}

// madeByUpgrade begins the ids of what an upgrade adds, as Pacemaker's.
const madeByUpgrade = "_2TO3_"

func (u *upgrade) toThree(major int) {
	conf := u.doc.Root.Child("configuration")
	if conf == nil {
		return
	}
	u.properties(conf)
	for _, n := range conf.Child("nodes").ChildrenNamed("node") {
		if n.Get("type") == "normal" {
			n.Set("type", "member")
			u.note(n, "a node of type normal is of type member now")
		}
	}
	u.resources(conf.Child("resources"))
	for _, c := range conf.Child("constraints").ChildrenNamed("rsc_colocation") {
		for _, name := range []string{"score-attribute", "score-attribute-mangle"} {
			if c.Del(name) {
				u.note(c, "%s never had a meaning in a colocation, and is gone", name)
			}
		}
	}
	if major < 2 {
		u.acls(conf.Child("acls"))
	}
}

// properties renames cluster properties, moves those that are defaults of resources and operations, and drops those that are
// not any more.
func (u *upgrade) properties(conf *Element) {
	section := conf.Child("crm_config")
	var forOps, forResources []*Element
	for _, set := range section.ChildrenNamed("cluster_property_set") {
		for _, nv := range set.ChildrenNamed("nvpair") {
			name := nv.Get("name")
			if now := renamedProperty(name); now != "" {
				nv.Set("name", now)
				u.note(nv, "the property %s is called %s now", name, now)
				continue
			}
			ops, now := defaultOf(name)
			switch {
			case now != "" && set.Child("rule") != nil:
				u.note(nv, "the property %s, in a set with a rule, is gone: make it the default %s with that rule", name, now)
			case now != "" && ops:
				forOps = append(forOps, NewElement("nvpair", "id", nv.ID(), "name", now, "value", nv.Get("value")))
				u.note(nv, "the property %s is the default %s of operations now", name, now)
			case now != "":
				forResources = append(forResources, NewElement("nvpair", "id", nv.ID(), "name", now, "value", nv.Get("value")))
				u.note(nv, "the property %s is the default %s of resources now", name, now)
			case droppedProperty(name):
				u.note(nv, "the property %s has no meaning any more, and is gone", name)
			default:
				continue
			}
			set.Remove(nv)
		}
		if set.Child("nvpair") == nil {
			section.Remove(set)
		}
	}
	u.defaults(conf, "op_defaults", "op-defaults", forOps)
	u.defaults(conf, "rsc_defaults", "rsc-defaults", forResources)
}

// defaults adds what is not set there yet to a section of defaults.
func (u *upgrade) defaults(conf *Element, section, id string, list []*Element) {
	present := map[string]bool{}
	for _, set := range conf.Child(section).ChildrenNamed("meta_attributes") {
		for _, nv := range set.ChildrenNamed("nvpair") {
			present[nv.Get("name")] = true
		}
	}
	list = slices.DeleteFunc(list, func(nv *Element) bool { return present[nv.Get("name")] })
	if len(list) == 0 {
		return
	}
	s := conf.EnsureChild(section)
	for _, set := range s.ChildrenNamed("meta_attributes") {
		if set.Child("rule") == nil {
			set.Children = append(set.Children, list...)
			return
		}
	}
	s.Append(NewElement("meta_attributes", "id", madeByUpgrade+"-"+id)).Children = list
}

// renamedProperty is the present name of a property, "" if it is unchanged.
func renamedProperty(name string) string {
	switch name {
	case "cluster_recheck_interval", "dc_deadtime", "election_timeout", "no_quorum_policy", "remove_after_stop", "shutdown_escalation",
		"startup_fencing", "stonith_action", "stonith_enabled", "stop_orphan_actions", "stop_orphan_resources", "symmetric_cluster":
		return strings.ReplaceAll(name, "_", "-")
	case "transition_idle_timeout":
		return "cluster-delay"
	}
	return ""
}

// defaultOf is the default, of operations or else of resources, that a property has become.
func defaultOf(property string) (ofOperations bool, name string) {
	switch strings.ReplaceAll(property, "_", "-") {
	case "default-action-timeout":
		return true, "timeout"
	case "default-resource-stickiness":
		return false, "resource-stickiness"
	case "is-managed-default":
		return false, "is-managed"
	}
	return false, ""
}

func droppedProperty(name string) bool {
	switch name {
	case "default-resource-failure-stickiness", "default_resource_failure_stickiness", "expected-quorum-votes",
		"notification-agent", "notification-recipient":
		return true
	}
	return false
}

// resources upgrades primitives and templates, wherever they are.
func (u *upgrade) resources(e *Element) {
	for _, c := range e.childList() {
		if c.Name == "primitive" || c.Name == "template" {
			u.parameters(c)
			u.isolation(c)
			u.operations(c)
			continue
		}
		u.resources(c)
	}
}

// parameters renames those of fence devices.
func (u *upgrade) parameters(r *Element) {
	for _, set := range r.ChildrenNamed("instance_attributes") {
		for _, nv := range set.ChildrenNamed("nvpair") {
			name := nv.Get("name")
			switch name {
			case "pcmk_list_cmd", "pcmk_monitor_cmd", "pcmk_off_cmd", "pcmk_on_cmd", "pcmk_reboot_cmd", "pcmk_status_cmd":
				nv.Set("name", strings.TrimSuffix(name, "cmd")+"action")
				u.note(nv, "the parameter %s is called %s now", name, nv.Get("name"))
			case "pcmk_arg_map":
				u.argumentMap(set, nv)
			}
		}
		if len(set.Children) == 0 {
			r.Remove(set)
		}
	}
}

// argumentMap replaces pcmk_arg_map, of which only one mapping is left: port:PARAMETER.
func (u *upgrade) argumentMap(set, nv *Element) {
	target, ok := strings.CutPrefix(nv.Get("value"), "port:")
	if !ok || strings.Contains(target, ",") {
		set.Remove(nv)
		u.note(nv, "pcmk_arg_map is gone: what it said (%s) cannot be said with pcmk_host_argument", nv.Get("value"))
		return
	}
	nv.Set("name", "pcmk_host_argument")
	nv.Set("value", target)
	u.note(nv, "pcmk_arg_map is pcmk_host_argument now")
}

// isolation stops resources that were to run in a container made for them, which nothing does any more.
func (u *upgrade) isolation(r *Element) {
	for _, set := range r.ChildrenNamed("meta_attributes") {
		target := false
		for _, nv := range set.ChildrenNamed("nvpair") {
			name := nv.Get("name")
			switch name {
			case "target-role":
				target = true
			case "isolation", "isolation-host", "isolation-instance", "isolation-wrapper":
				if target {
					set.Remove(nv)
					u.note(nv, "%s of %s is gone: use a bundle", name, r.ID())
					continue
				}
				target = true
				nv.Set("name", "target-role")
				nv.Set("value", "Stopped")
				u.note(nv, "%s of %s is gone, and the resource is to be stopped: use a bundle", name, r.ID())
			}
		}
		if len(set.Children) == 0 {
			r.Remove(set)
		}
	}
}

// operations makes requires, which was one of an operation, an attribute of the resource, and puts among an operation's meta
// attributes what stood among its parameters.
func (u *upgrade) operations(r *Element) {
	var requires, home *Element // the new nvpair, and the set it was in
	for _, op := range r.Child("operations").ChildrenNamed("op") {
		counts := op.Get("name") == "start" || op.Get("name") == "promote"
		if value, ok := op.Lookup("requires"); ok {
			op.Del("requires")
			if counts {
				requires = NewElement("nvpair", "id", madeByUpgrade+op.ID()+"-meta-requires", "name", "requires", "value", value)
				home = nil
			}
			u.note(op, "requires is an attribute of the resource now")
		}
		for _, set := range append(op.ChildrenNamed("meta_attributes"), op.ChildrenNamed("instance_attributes")...) {
			nv := set.ChildWith("nvpair", "name", "requires")
			if nv == nil {
				continue
			}
			set.Remove(nv)
			if counts {
				requires, home = nv, set
			}
			u.note(nv, "requires is an attribute of the resource now")
		}
		u.operationMeta(op)
		dropEmptySets(op)
	}
	if requires == nil || Meta(r, "requires") != "" {
		return
	}
	id := madeByUpgrade + r.ID() + "-meta"
	if home != nil {
		id = madeByUpgrade + home.ID()
	}
	r.Append(NewElement("meta_attributes", "id", id)).Append(requires)
}

func (u *upgrade) operationMeta(op *Element) {
	for _, set := range op.ChildrenNamed("instance_attributes") {
		for _, nv := range set.ChildrenNamed("nvpair") {
			switch nv.Get("name") {
			case "enabled", "interval-origin", "on-fail", "record-pending", "role", "start-delay", "timeout":
			default:
				continue
			}
			set.Remove(nv)
			meta := op.Child("meta_attributes")
			if meta == nil {
				meta = op.Append(NewElement("meta_attributes", "id", madeByUpgrade+op.ID()+"-meta"))
			}
			meta.Append(nv)
			u.note(nv, "%s is a meta attribute of the operation now", nv.Get("name"))
		}
	}
}

func dropEmptySets(op *Element) {
	op.Children = slices.DeleteFunc(op.Children, func(e *Element) bool {
		return (e.Name == "meta_attributes" || e.Name == "instance_attributes") && len(e.Children) == 0 && e.Get("id-ref") == ""
	})
}

// acls turns the permissions of schema 1 into those of schema 2: users with permissions of their own get a role for them.
func (u *upgrade) acls(section *Element) {
	for _, e := range section.childList() {
		switch e.Name {
		case "acl_role":
			u.permissions(e)
		case "acl_user":
			u.user(section, e)
		}
	}
}

// user turns an <acl_user> into an <acl_target>.
func (u *upgrade) user(section, user *Element) {
	user.Name = "acl_target"
	u.note(user, "users of ACLs are targets now")
	role := NewElement("acl_role", "id", "auto-"+user.ID())
	var roles []*Element
	for _, c := range user.Children {
		if c.Name == "role_ref" {
			roles = append(roles, NewElement("role", "id", c.ID()))
		} else {
			role.Append(c)
		}
	}
	if len(role.Children) > 0 {
		u.permissions(role)
		section.Insert(slices.Index(section.Children, user)+1, role)
		roles = append(roles, NewElement("role", "id", role.ID()))
	}
	user.Children = roles
}

func (u *upgrade) permissions(role *Element) {
	for _, p := range role.Children {
		switch p.Name {
		case "read", "write", "deny":
		default:
			continue
		}
		u.note(p, "a <%s> is an <acl_permission> now", p.Name)
		attrs := []Attr{{"id", p.ID()}, {"kind", p.Name}}
		for _, a := range p.Attrs {
			switch a.Name {
			case "id":
			case "ref":
				attrs = append(attrs, Attr{"reference", a.Value})
			case "tag":
				attrs = append(attrs, Attr{"object-type", a.Value})
			default:
				attrs = append(attrs, a)
			}
		}
		p.Name, p.Attrs = "acl_permission", attrs
	}
}
