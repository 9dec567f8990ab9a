package pcs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cli/pcs/show"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// clusterStatus asks the daemon; a host outside any cluster, or one that does not take part, is an error.
func (c *call) clusterStatus() (api.ClusterStatus, error) {
	var st api.ClusterStatus
	if err := c.ask("cluster.status", api.Empty{}, &st); err != nil {
		return st, err
	}
	switch {
	case !st.Configured:
		return st, fmt.Errorf("this host (%s) belongs to no cluster; make one: pcs cluster setup --name NAME NODE NODE", c.env.Hostname)
	case !st.Running:
		return st, fmt.Errorf("cluster is not currently running on this node (%s); start it: pcs cluster start", c.env.Hostname)
	}
	return st, nil
}

// snapshot is one look at the cluster.
type snapshot struct {
	status api.ClusterStatus
	doc    *cib.Document
	state  *scheduler.State
}

func (c *call) look() (*snapshot, error) {
	st, err := c.clusterStatus()
	if err != nil {
		return nil, err
	}
	doc, err := cib.Parse([]byte(st.CIB))
	if err != nil {
		return nil, fmt.Errorf("the daemon's CIB: %w", err)
	}
	return &snapshot{st, doc, show.Decide(doc, st.DC, st.Quorate, c.env.now()).Status}, nil
}

// input gathers what a status shows: from the daemon, or from the file of -f alone.
func (c *call) input() (show.Input, error) {
	in := show.Input{Now: c.env.now(), Hide: c.args.has("hide-inactive"), Full: c.args.has("full")}
	if c.args.file() != "" {
		doc, err := readCIB(c.args.file())
		if err != nil {
			return in, err
		}
		in.Doc = doc
		in.Cluster = api.ClusterStatus{ClusterName: doc.Property("cluster-name"), LocalNode: c.env.Hostname}
		decision := show.Decide(doc, "", true, in.Now)
		in.State = decision.Status
		for _, r := range decision.Reasons {
			in.Cluster.Reasons = append(in.Cluster.Reasons, api.Reason{Resource: r.Resource, Node: r.Node, Text: r.Text})
		}
		return in, nil
	}
	s, err := c.look()
	if err != nil {
		return in, err
	}
	in.Cluster, in.Doc, in.State, in.Enabled = s.status, s.doc, s.state, c.enabled()
	var volumes api.VolumesReply
	if err := c.ask("volume.status", api.VolumeRequest{}, &volumes); err != nil {
		var refused *api.Error
		if !errors.As(err, &refused) {
			return in, err
		}
		in.Cluster.Warnings = append(in.Cluster.Warnings, "the state of this host's volumes is not known: "+refused.Message)
	}
	in.Volumes = volumes.Volumes
	return in, nil
}

// enabled tells whether systemd starts the daemon at boot.
func (c *call) enabled() bool {
	dir := filepath.Join("/", string(c.env.Root), "etc/systemd/system/multi-user.target.wants")
	_, err := os.Lstat(filepath.Join(dir, "holdfast.service"))
	return err == nil
}

func (c *call) status() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	return c.textOrJSON(show.Status(in), show.JSON(in))
}

// textOrJSON prints what --output-format asks for.
func (c *call) textOrJSON(text []string, data any) error {
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	if !asJSON {
		c.lines(text)
		return nil
	}
	b, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the status: %w", err)
	}
	c.out("%s", b)
	return nil
}

func (c *call) statusCluster() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	lines := append([]string{"Cluster Status:"}, indent(show.Summary(in))...)
	lines = append(append(lines, "  Node List:"), indent(show.NodeList(in.State))...)
	return c.textOrJSON(lines, show.JSON(in))
}

func indent(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = l
		if l != "" {
			out[i] = " " + l
		}
	}
	return out
}

func (c *call) statusNodes() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	return c.textOrJSON(show.NodesByState(in), show.JSON(in).Nodes)
}

func (c *call) statusCorosync() error {
	st, err := c.clusterStatus()
	if err != nil {
		return err
	}
	c.lines(show.Corosync(st))
	return nil
}

func (c *call) quorumStatus() error {
	st, err := c.clusterStatus()
	if err != nil {
		return err
	}
	return c.textOrJSON(show.Quorum(st, c.env.now()), map[string]any{"quorate": st.Quorate, "leader": st.DC, "members": st.Members})
}

func (c *call) statusVolumes() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	lines := show.Volumes(in.Cluster, in.Volumes)
	if len(lines) == 0 {
		lines = []string{"No volumes"}
	}
	return c.textOrJSON(lines, map[string]any{"records": in.Cluster.Volumes, "local": in.Volumes})
}

func (c *call) statusXML() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	c.lines(show.XML(in))
	return nil
}

// config prints the whole configuration.
func (c *call) config() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	c.out("Cluster Name: %s", doc.Property("cluster-name"))
	c.out("Nodes:")
	for _, n := range edit.Nodes(doc) {
		c.out("  %s", n)
	}
	c.out("\nResources:")
	lines, _ := show.ResourceConfig(doc, nil)
	c.lines(indent(indent(lines)))
	c.out("")
	c.lines(show.Constraints(doc, true))
	c.out("\nResources Defaults:")
	c.lines(indent(indent(show.Defaults(doc, "rsc_defaults"))))
	c.out("Operations Defaults:")
	c.lines(indent(indent(show.Defaults(doc, "op_defaults"))))
	c.out("")
	c.lines(show.Properties(doc, nil))
	return nil
}
