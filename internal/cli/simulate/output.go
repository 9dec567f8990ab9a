package simulate

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	core "holdfast/internal/cluster/simulate"
)

// report is what there is to print.
type report struct {
	o      options
	result core.Result
	before *scheduler.State
	events []string
}

func show(r report, out io.Writer) error {
	if r.o.format != "text" {
		return r.structured(out)
	}
	var text string
	switch {
	case r.o.quiet && (r.o.scores || r.o.utilization):
		text = r.asked()
	case r.o.simulate:
		text = core.HeadText(r.before, r.events, r.result, r.asked()) + core.TailText(r.result)
	default:
		text = core.HeadText(r.before, r.events, r.result, r.asked())
	}
	_, err := io.WriteString(out, text)
	return err
}

// asked is the text of the scores and the utilization, as far as they were asked for.
func (r report) asked() string {
	text := ""
	if r.o.scores {
		text += core.ScoresText(r.result.Decision.Scores)
	}
	if r.o.utilization {
		text += core.UtilizationText(r.result.Decision)
	}
	return text
}

// structured prints the same as XML, in the manner of Pacemaker's tools, or as JSON.
func (r report) structured(out io.Writer) error {
	root := cib.NewElement("pacemaker-result", "api-version", "2.25", "request", "crm_simulate")
	if len(r.events) > 0 {
		mods := root.Append(cib.NewElement("modifications"))
		for _, l := range r.events {
			mods.Append(cib.NewElement("modification", "text", l))
		}
	}
	root.Append(statusElement("cluster_status", r.before))
	if r.o.scores {
		list := root.Append(cib.NewElement("allocations"))
		for _, s := range r.result.Decision.Scores {
			list.Append(cib.NewElement("node_weight", "function", s.Step, "id", s.Resource, "node", s.Node, "score", cib.FormatScore(s.Value)))
		}
	}
	actions := root.Append(cib.NewElement("actions"))
	for _, c := range r.result.Decision.Summary {
		actions.Append(changeElement(c))
	}
	if r.o.simulate {
		run := root.Append(cib.NewElement("transition"))
		for _, a := range r.result.Decision.Graph.Actions {
			run.Append(cib.NewElement("action", "kind", a.Kind.String(), "resource", a.Instance, "op", a.Task, "node", a.Node,
				"interval", fmt.Sprint(a.Interval.Milliseconds())))
		}
		root.Append(statusElement("revised_cluster_status", r.result.Revised))
	}
	root.Append(cib.NewElement("status", "code", "0", "message", "OK"))
	if r.o.format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(object(root))
	}
	_, err := out.Write((&cib.Document{Root: root}).Bytes())
	return err
}

// changeElement is a line of the transition summary.
func changeElement(c scheduler.Change) *cib.Element {
	name := "rsc_action"
	if c.Resource == "" {
		name = "node_action"
	}
	e := cib.NewElement(name, "action", strings.ToLower(c.Action))
	for _, p := range [][2]string{{"resource", c.Resource}, {"node", c.Node}, {"detail", c.Detail}, {"reason", c.Reason}} {
		if p[1] != "" {
			e.Set(p[0], p[1])
		}
	}
	return e
}

func statusElement(name string, s *scheduler.State) *cib.Element {
	e := cib.NewElement(name)
	nodes := e.Append(cib.NewElement("nodes"))
	for _, n := range s.Nodes {
		kind := "member"
		if n.Remote || n.Guest {
			kind = "remote"
		}
		nodes.Append(cib.NewElement("node", "name", n.Name, "id", n.ID, "online", yes(n.Online), "standby", yes(n.Standby),
			"standby_onfail", yes(n.StandbyOnFail), "maintenance", yes(n.Maintenance), "pending", yes(n.Pending),
			"unclean", yes(n.Unclean), "shutdown", yes(n.ShuttingDown), "resources_running", fmt.Sprint(n.Active), "type", kind))
	}
	list := e.Append(cib.NewElement("resources"))
	for _, r := range s.Resources {
		if !r.Internal {
			list.Append(resourceElement(r))
		}
	}
	return e
}

func resourceElement(r scheduler.ResourceState) *cib.Element {
	var e *cib.Element
	switch r.Kind {
	case scheduler.Primitive:
		agent := r.Class + ":"
		if r.Provider != "" {
			agent += r.Provider + ":"
		}
		e = cib.NewElement("resource", "id", r.Name, "resource_agent", agent+r.Type, "role", r.Role.String(), "active", yes(r.ActiveAny),
			"orphaned", yes(r.Orphan), "blocked", yes(r.Blocked), "managed", yes(r.Managed), "failed", yes(r.Failed),
			"failure_ignored", yes(r.FailureIgnored), "nodes_running_on", fmt.Sprint(len(r.Nodes)))
		for _, n := range r.Nodes {
			e.Append(cib.NewElement("node", "name", n))
		}
	case scheduler.Group:
		e = cib.NewElement("group", "id", r.ID, "number_resources", fmt.Sprint(len(r.Children)), "managed", yes(r.Managed), "disabled", yes(r.Disabled))
	default:
		e = cib.NewElement("clone", "id", r.ID, "multi_state", yes(r.Promotable), "unique", yes(r.Unique), "managed", yes(r.Managed), "disabled", yes(r.Disabled))
	}
	for _, k := range r.Children {
		e.Append(resourceElement(k))
	}
	return e
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// object turns an element into an object: its attributes, with "element" as its name and "children" in order.
func object(e *cib.Element) map[string]any {
	o := map[string]any{"element": e.Name}
	for _, a := range e.Attrs {
		o[a.Name] = a.Value
	}
	var children []any
	for _, k := range e.Children {
		children = append(children, object(k))
	}
	if children != nil {
		o["children"] = children
	}
	return o
}
