package simulate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// apiVersion is that of the XML of Pacemaker 2.1.5's tools.
const apiVersion = "2.25"

// ResultElement is what Pacemaker's tools print as XML: parts, and how the command ended. request is the command line.
func ResultElement(request string, code int, message string, parts ...*cib.Element) *cib.Element {
	root := cib.NewElement("pacemaker-result", "api-version", apiVersion, "request", request)
	root.Children = append(root.Children, parts...)
	root.Append(cib.NewElement("status", "code", strconv.Itoa(code), "message", message))
	return root
}

// XML gives the parts of crm_simulate --output-as=xml, for which Quiet means nothing.
func (r Report) XML() []*cib.Element {
	parts := []*cib.Element{r.state("cluster_status", r.Before)}
	if r.Modifications != nil {
		parts = append(parts, r.Modifications)
	}
	parts = append(parts, r.weights()...)
	if r.Changes || r.Simulate {
		actions := cib.NewElement("actions")
		for _, c := range r.Result.Decision.Summary {
			actions.Append(changeElement(c))
		}
		parts = append(parts, actions)
	}
	if r.Simulate {
		parts = append(parts, r.Result.Trace, r.state("revised_cluster_status", r.Result.revised()))
	}
	return parts
}

// weights are the scores and the utilization, in the order of the decision.
func (r Report) weights() []*cib.Element {
	name := "allocations"
	switch {
	case !r.plain():
		return nil
	case r.Utilization && r.Scores:
		name = "allocations_utilizations"
	case r.Utilization:
		name = "utilizations"
	}
	list := cib.NewElement(name)
	d := r.Result.Decision
	at := 0
	if r.Utilization {
		for _, u := range d.Utilization {
			if r.Scores {
				appendScores(list, d.Scores[at:u.After])
				at = u.After
			}
			list.Append(usageElement(u))
		}
	}
	if r.Scores {
		appendScores(list, d.Scores[at:])
	}
	return []*cib.Element{list}
}

func appendScores(list *cib.Element, scores []scheduler.Score) {
	for _, s := range scores {
		value := cib.FormatScore(s.Value)
		if s.Step != "promotion" {
			list.Append(cib.NewElement("node_weight", "function", step(s.Step), "node", s.Node, "score", value, "id", s.Resource))
			continue
		}
		e := list.Append(cib.NewElement("promotion_score", "id", s.Resource, "score", value))
		if s.Node != "none" {
			e.Set("node", s.Node)
		}
	}
}

func usageElement(u scheduler.Utilization) *cib.Element {
	e := cib.NewElement("capacity", "node", u.Node, "comment", u.When)
	if u.Resource != "" {
		e = cib.NewElement("utilization", "resource", u.Resource, "node", u.Node, "function", "pcmk__finalize_assignment")
	}
	for _, name := range slices.Sorted(maps.Keys(u.Values)) {
		e.Append(&cib.Element{Name: elementName(name), Text: strconv.Itoa(u.Values[name])})
	}
	return e
}

// elementName makes an element's name of an attribute's.
func elementName(s string) string {
	if cib.ValidID(s) {
		return s
	}
	return "_" + strings.Map(func(c rune) rune {
		if c > ' ' && c < 0x7f && !strings.ContainsRune(`<>&"'/=:!?;,()[]{}@#$%^*+|\~`+"`", c) {
			return c
		}
		return '_'
	}, s)
}

// changeElement is a line of the transition summary.
func changeElement(c scheduler.Change) *cib.Element {
	if c.Resource == "" {
		task, rest, _ := strings.Cut(c.Text, ") ")
		name := c.Node
		if i := strings.Index(rest, " '"); i >= 0 {
			name = rest[:i] // with what it is inside of
		}
		return cib.NewElement("node_action", "task", task+")", "node", name, "reason", c.Reason)
	}
	e := cib.NewElement("rsc_action", "action", strings.ToLower(c.Action), "resource", c.Resource)
	where := func(name, value string) {
		if value != "" {
			e.Set(name, value)
		}
	}
	where("role", c.Role)
	where("next-role", c.NextRole)
	switch {
	case c.Dest != "" && (c.Source != "" || c.NextRole != ""):
		where("source", c.Source)
		e.Set("dest", c.Dest)
	case c.NextRole == "" && (c.Action == "Start" || c.Action == "Stop" || c.Action == "Recover"):
		e.Set("node", c.Source+c.Dest)
	default:
		e.Set("source", c.Source)
	}
	where("reason", c.Reason)
	if c.Blocked {
		e.Set("blocked", "true")
	}
	return e
}

// state is a state of the cluster.
func (r Report) state(name string, s *scheduler.State) *cib.Element {
	e := cib.NewElement(name)
	nodes := e.Append(cib.NewElement("nodes"))
	x := statePrinter{nodes: map[string]scheduler.NodeState{}}
	for _, n := range s.Nodes {
		x.nodes[n.Name] = n
		nodes.Append(nodeElement(n))
	}
	list := e.Append(cib.NewElement("resources"))
	for _, res := range shownResources(s) {
		list.Append(x.resource(res))
	}
	if r.Attributes {
		e.Append(attributesElement(s))
	}
	return e
}

func nodeElement(n scheduler.NodeState) *cib.Element {
	health := strings.ToLower(n.Health)
	if health == "" {
		health = "green"
	}
	e := cib.NewElement("node", "name", n.Name, "id", n.ID, "online", yes(n.Online), "standby", yes(n.Standby), "standby_onfail", yes(n.StandbyOnFail),
		"maintenance", yes(n.Maintenance), "pending", yes(n.Pending), "unclean", yes(n.Unclean), "health", health)
	kind := "remote"
	if !n.Remote && !n.Guest {
		kind = "member"
		set := n.Attributes["#feature-set"]
		if set == "" {
			set = "<3.15.1" // Pacemaker's name for one that does not tell
		}
		if n.Online {
			e.Set("feature_set", set)
		}
	}
	for _, a := range [][2]string{{"shutdown", yes(n.ShuttingDown)}, {"expected_up", yes(n.Expected)}, {"is_dc", yes(n.DC)},
		{"resources_running", strconv.Itoa(n.Active)}, {"type", kind}} {
		e.Set(a[0], a[1])
	}
	if n.Container != "" {
		e.Set("id_as_resource", n.Container)
	}
	return e
}

// shownAttributes are the attributes of a node that are of use to people, sorted: not those other parts of the output tell of.
func shownAttributes(n scheduler.NodeState) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(n.Attributes)), func(name string) bool {
		switch name {
		case "maintenance", "shutdown", "standby", "terminate":
			return true
		}
		return strings.HasPrefix(name, "#") || strings.HasPrefix(name, "fail-count-") || strings.HasPrefix(name, "last-failure-")
	})
}

func attributesElement(s *scheduler.State) *cib.Element {
	e := cib.NewElement("node_attributes")
	for _, n := range s.Nodes {
		names := shownAttributes(n)
		if len(names) == 0 || !n.Online {
			continue
		}
		x := e.Append(cib.NewElement("node", "name", n.Name))
		for _, name := range names {
			x.Append(cib.NewElement("attribute", "name", name, "value", n.Attributes[name]))
		}
	}
	return e
}

// statePrinter makes elements of the states of resources.
type statePrinter struct {
	nodes map[string]scheduler.NodeState
}

func (x statePrinter) resource(r scheduler.ResourceState) *cib.Element {
	var e *cib.Element
	switch r.Kind {
	case scheduler.Primitive:
		return x.primitive(r)
	case scheduler.Bundle:
		return x.bundle(r)
	case scheduler.Group:
		e = cib.NewElement("group", "id", r.ID, "number_resources", strconv.Itoa(len(r.Children)), "managed", yes(r.Managed), "disabled", yes(r.Disabled))
	default:
		e = cib.NewElement("clone", "id", r.ID, "multi_state", yes(r.Promotable), "unique", yes(r.Unique), "managed", yes(r.Managed),
			"disabled", yes(r.Disabled), "failed", yes(r.Failed), "failure_ignored", yes(r.FailureIgnored))
		setTarget(e, r)
	}
	for _, k := range r.Children {
		e.Append(x.resource(k))
	}
	return e
}

func setTarget(e *cib.Element, r scheduler.ResourceState) {
	if r.TargetRole != "" {
		e.Set("target_role", r.TargetRole)
	}
}

func (x statePrinter) bundle(r scheduler.ResourceState) *cib.Element {
	e := cib.NewElement("bundle", "id", r.ID, "type", r.Technology, "image", r.Image, "unique", yes(r.Unique), "managed", yes(r.Managed), "failed", yes(r.Failed))
	for i, k := range r.Children {
		replica := e.Append(cib.NewElement("replica", "id", strconv.Itoa(i)))
		for _, p := range k.Parts {
			replica.Append(x.primitive(p))
		}
	}
	return e
}

func (x statePrinter) primitive(r scheduler.ResourceState) *cib.Element {
	agent := r.Class + ":"
	if r.Provider != "" {
		agent += r.Provider + ":"
	}
	role := displayRole(r).String()
	if pendingRole(r) {
		role = r.Pending
	}
	e := cib.NewElement("resource", "id", r.Name, "resource_agent", agent+r.Type, "role", role)
	setTarget(e, r)
	for _, a := range [][2]string{{"active", yes(r.ActiveAny)}, {"orphaned", yes(r.Orphan)}, {"blocked", yes(r.Blocked)}, {"managed", yes(r.Managed)},
		{"failed", yes(r.Failed)}, {"failure_ignored", yes(r.FailureIgnored)}, {"nodes_running_on", strconv.Itoa(len(r.Nodes))}} {
		e.Set(a[0], a[1])
	}
	if r.Pending != "" && !pendingRole(r) {
		e.Set("pending", r.Pending)
	}
	if r.Locked != "" {
		e.Set("locked_to", r.Locked)
	}
	for _, name := range r.Nodes {
		n := x.nodes[name]
		e.Append(cib.NewElement("node", "name", name, "id", n.ID, "cached", yes(n.Online)))
	}
	return e
}

func yes(b bool) string { return strconv.FormatBool(b) }
