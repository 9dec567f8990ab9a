package show

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// Data is a status as JSON; fields are only ever added.
type Data struct {
	Version     int                `json:"version"` // of this form: 1
	ClusterName string             `json:"cluster_name"`
	Now         time.Time          `json:"now"`
	DC          string             `json:"dc"`
	Quorate     bool               `json:"quorate"`
	CIBVersion  string             `json:"cib_version"`
	Nodes       []Node             `json:"nodes"`
	Resources   []ResourceData     `json:"resources"`
	Failures    []string           `json:"failures"`
	Reasons     []api.Reason       `json:"reasons"`
	Volumes     []api.VolumeRecord `json:"volumes"`
	Local       []api.VolumeStatus `json:"local_volumes"`
	Members     []api.MemberStatus `json:"members"`
	Warnings    []string           `json:"warnings"`
}

// Node is a cluster node.
type Node struct {
	Name        string `json:"name"`
	ID          string `json:"id"`
	Online      bool   `json:"online"`
	Unclean     bool   `json:"unclean"`
	Pending     bool   `json:"pending"`
	Standby     bool   `json:"standby"`
	Maintenance bool   `json:"maintenance"`
}

// ResourceData is one primitive.
type ResourceData struct {
	ID    string `json:"id"`
	Agent string `json:"agent"`
	// Parent is the outermost group or clone around it; empty when it stands alone.
	Parent    string      `json:"parent,omitempty"`
	Managed   bool        `json:"managed"`
	Disabled  bool        `json:"disabled"`
	Instances []Placement `json:"instances"`
	// Reasons say why it is not running, or not promoted.
	Reasons []api.Reason `json:"reasons"`
}

// Placement is where an instance is active, or about to be.
type Placement struct {
	Node    string `json:"node"`
	Role    string `json:"role"`
	Failed  bool   `json:"failed"`
	Blocked bool   `json:"blocked"`
	Pending string `json:"pending,omitempty"`
}

// JSON makes the data of a status.
func JSON(in Input) Data {
	d := Data{Version: 1, ClusterName: in.Cluster.ClusterName, Now: in.Now.UTC(), DC: in.Cluster.DC, Quorate: in.Cluster.Quorate,
		CIBVersion: in.Doc.Version().String(), Failures: notNil(Failures(in.State, in.Now.Location())), Reasons: notNil(in.Cluster.Reasons),
		Volumes: notNil(in.Cluster.Volumes), Local: notNil(in.Volumes), Members: notNil(in.Cluster.Members),
		Warnings: notNil(Warnings(in)), Nodes: []Node{}, Resources: []ResourceData{}}
	for i, f := range d.Failures {
		d.Failures[i] = strings.TrimPrefix(f, "  * ")
	}
	for _, n := range in.State.Nodes {
		d.Nodes = append(d.Nodes, Node{n.Name, n.ID, n.Online, n.Unclean, n.Pending, n.Standby || n.StandbyOnFail, n.Maintenance})
	}
	for _, top := range in.State.Resources {
		d.addResource(in, top)
	}
	return d
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// addResource adds the primitives of a top-level resource, all instances of one together.
func (d *Data) addResource(in Input, top scheduler.ResourceState) {
	at := map[string]int{}
	walk([]scheduler.ResourceState{top}, func(r scheduler.ResourceState) {
		if r.Kind != scheduler.Primitive {
			return
		}
		id := base(r.ID)
		i, known := at[id]
		if !known {
			i = len(d.Resources)
			at[id] = i
			d.Resources = append(d.Resources, primitiveData(in, top, r))
		}
		for _, node := range r.Nodes {
			p := Placement{Node: node, Role: r.Role.String(), Failed: r.Failed, Blocked: r.Blocked, Pending: r.Pending}
			d.Resources[i].Instances = append(d.Resources[i].Instances, p)
		}
	})
}

func primitiveData(in Input, top, r scheduler.ResourceState) ResourceData {
	out := ResourceData{ID: base(r.ID), Agent: agentOf(r), Managed: r.Managed, Disabled: r.Disabled, Instances: []Placement{}, Reasons: []api.Reason{}}
	if base(top.ID) != out.ID {
		out.Parent = top.ID
	}
	for _, why := range in.Cluster.Reasons {
		if base(why.Resource) == out.ID || why.Resource == top.ID {
			out.Reasons = append(out.Reasons, why)
		}
	}
	return out
}

// agentOf prints a primitive's agent: ocf:heartbeat:Filesystem.
func agentOf(r scheduler.ResourceState) string {
	if r.Provider == "" {
		return r.Class + ":" + r.Type
	}
	return r.Class + ":" + r.Provider + ":" + r.Type
}

// XML prints a status in the elements of crm_mon --output-as=xml that monitoring reads: summary, nodes, resources.
func XML(in Input) []string {
	root := cib.NewElement("pacemaker-result", "api-version", "2.25", "request", "pcs status xml")
	sum := root.Append(cib.NewElement("summary"))
	sum.Append(cib.NewElement("stack", "type", "holdfast"))
	sum.Append(cib.NewElement("current_dc", "present", word(in.Cluster.DC != ""), "name", in.Cluster.DC, "version", in.Cluster.Version,
		"with_quorum", word(in.Cluster.Quorate)))
	sum.Append(cib.NewElement("last_update", "time", in.Now.Format(time.ANSIC)))
	sum.Append(cib.NewElement("nodes_configured", "number", fmt.Sprint(len(in.State.Nodes))))
	sum.Append(cib.NewElement("resources_configured", "number", fmt.Sprint(CountInstances(in.Doc))))
	nodes := root.Append(cib.NewElement("nodes"))
	for _, n := range in.State.Nodes {
		nodes.Append(cib.NewElement("node", "name", n.Name, "id", n.ID, "online", word(n.Online), "standby", word(n.Standby),
			"standby_onfail", word(n.StandbyOnFail), "maintenance", word(n.Maintenance), "pending", word(n.Pending),
			"unclean", word(n.Unclean), "shutdown", word(n.ShuttingDown), "is_dc", word(n.Name == in.Cluster.DC),
			"resources_running", fmt.Sprint(n.Active), "type", "member"))
	}
	list := root.Append(cib.NewElement("resources"))
	for _, r := range in.State.Resources {
		list.Append(resourceXML(in, r))
	}
	root.Append(cib.NewElement("status", "code", "0", "message", "OK"))
	return []string{`<?xml version="1.0"?>`, strings.TrimRight(root.String(), "\n")}
}

func word(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func resourceXML(in Input, r scheduler.ResourceState) *cib.Element {
	switch r.Kind {
	case scheduler.Group:
		out := cib.NewElement("group", "id", r.ID, "number_resources", fmt.Sprint(len(r.Children)))
		return withChildren(in, out, r)
	case scheduler.Clone:
		out := cib.NewElement("clone", "id", r.ID, "multi_state", word(r.Promotable), "unique", word(r.Unique), "managed", word(r.Managed),
			"disabled", word(r.Disabled))
		return withChildren(in, out, r)
	}
	out := cib.NewElement("resource", "id", r.Name, "resource_agent", agentOf(r), "role", r.Role.String(), "active", word(r.ActiveAny),
		"orphaned", word(r.Orphan), "blocked", word(r.Blocked), "managed", word(r.Managed), "failed", word(r.Failed),
		"failure_ignored", word(r.FailureIgnored), "nodes_running_on", fmt.Sprint(len(r.Nodes)))
	if r.Pending != "" {
		out.Set("pending", r.Pending)
	}
	for _, n := range r.Nodes {
		out.Append(cib.NewElement("node", "name", n, "id", in.Doc.NodeID(n), "cached", "true"))
	}
	return out
}

func withChildren(in Input, out *cib.Element, r scheduler.ResourceState) *cib.Element {
	for _, k := range r.Children {
		out.Append(resourceXML(in, k))
	}
	return out
}
