package show

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/cib"
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

// ResourceData is one primitive.
type ResourceData struct {
	ID    string `json:"id"`
	Agent string `json:"agent"`
	// Parent is the outermost group or clone around it; empty when it stands alone.
	Parent    string       `json:"parent,omitempty"`
	Instances []Placement  `json:"instances"`
	Reasons   []api.Reason `json:"reasons,omitempty"`
}

// Placement is where an instance is active.
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
		CIBVersion: in.Doc.Version().String(), Nodes: notNil(Nodes(in.Doc)), Failures: notNil(Failures(in.Doc)),
		Reasons: notNil(in.Cluster.Reasons), Volumes: notNil(in.Cluster.Volumes), Local: notNil(in.Volumes),
		Members: notNil(in.Cluster.Members), Warnings: notNil(Warnings(in)), Resources: []ResourceData{}}
	for i, f := range d.Failures {
		d.Failures[i] = strings.TrimPrefix(f, "  * ")
	}
	for _, top := range in.Doc.Resources().Children {
		top.Find(func(e *cib.Element) bool {
			if e.Name == "primitive" {
				d.Resources = append(d.Resources, resourceData(in, top, e))
			}
			return false
		})
	}
	return d
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func resourceData(in Input, top, e *cib.Element) ResourceData {
	r := ResourceData{ID: e.ID(), Agent: Agent(e), Instances: []Placement{}}
	if top != e {
		r.Parent = top.ID()
	}
	for _, p := range Places(in.Doc, e.ID()) {
		if p.Active() || p.Pending != "" || p.Failed {
			r.Instances = append(r.Instances, Placement{p.Node, p.Role, p.Failed, p.Blocked, p.Pending})
		}
	}
	for _, why := range in.Cluster.Reasons {
		if base(why.Resource) == e.ID() || why.Resource == top.ID() {
			r.Reasons = append(r.Reasons, why)
		}
	}
	return r
}

// XML prints a status in the elements of crm_mon --output-as=xml that monitoring reads: summary, nodes, resources.
func XML(in Input) []string {
	root := cib.NewElement("pacemaker-result", "api-version", "2.25", "request", "pcs status xml")
	sum := root.Append(cib.NewElement("summary"))
	sum.Append(cib.NewElement("stack", "type", "holdfast"))
	sum.Append(cib.NewElement("current_dc", "present", word(in.Cluster.DC != ""), "name", in.Cluster.DC, "version", in.Cluster.Version,
		"with_quorum", word(in.Cluster.Quorate)))
	sum.Append(cib.NewElement("last_update", "time", in.Now.Format(time.ANSIC)))
	sum.Append(cib.NewElement("nodes_configured", "number", fmt.Sprint(len(Nodes(in.Doc)))))
	sum.Append(cib.NewElement("resources_configured", "number", fmt.Sprint(CountInstances(in.Doc))))
	nodes := root.Append(cib.NewElement("nodes"))
	for _, n := range Nodes(in.Doc) {
		nodes.Append(cib.NewElement("node", "name", n.Name, "id", n.ID, "online", word(n.State == "online"), "standby", word(n.Standby),
			"maintenance", word(n.Maintenance), "pending", word(n.State == "pending"), "unclean", word(n.State == "unclean"),
			"is_dc", word(n.Name == in.Cluster.DC)))
	}
	list := root.Append(cib.NewElement("resources"))
	for _, r := range in.Doc.Resources().Children {
		if e := resourceXML(in.Doc, r); e != nil {
			list.Append(e)
		}
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

func resourceXML(doc *cib.Document, r *cib.Element) *cib.Element {
	switch r.Name {
	case "primitive":
		return primitiveXML(doc, r)
	case "group", "clone", "master":
		out := cib.NewElement(strings.Replace(r.Name, "master", "clone", 1), "id", r.ID())
		if out.Name == "clone" {
			out.Set("multi_state", word(isPromotable(r)))
		}
		for _, m := range r.Children {
			if e := resourceXML(doc, m); e != nil {
				out.Append(e)
			}
		}
		return out
	}
	return nil
}

func primitiveXML(doc *cib.Document, r *cib.Element) *cib.Element {
	var active []Place
	for _, p := range Places(doc, r.ID()) {
		if p.Active() {
			active = append(active, p)
		}
	}
	managed, ok := cib.ParseBool(Meta(doc, r, "is-managed"))
	out := cib.NewElement("resource", "id", r.ID(), "resource_agent", Agent(r), "role", "Stopped", "active", word(len(active) > 0),
		"managed", word(managed || !ok), "failed", "false", "nodes_running_on", fmt.Sprint(len(active)))
	for _, p := range active {
		out.Set("role", p.Role)
		out.Set("failed", word(p.Failed))
		out.Append(cib.NewElement("node", "name", p.Node, "id", doc.NodeID(p.Node), "role", p.Role, "cached", "true"))
	}
	return out
}
