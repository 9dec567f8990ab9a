package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
	"holdfast/internal/version"
)

// status answers cluster.status from this node's copy of the log.
func (d *Daemon) status(context.Context, api.Empty) (api.ClusterStatus, error) {
	out := api.ClusterStatus{LocalNode: d.node, Version: version.String()}
	conf, err := loadFounding(d.root)
	if err != nil {
		return out, err
	}
	out.Configured = conf != nil
	if conf != nil {
		out.ClusterName = conf.Name
	}
	s := d.current()
	if s == nil {
		return out, nil
	}
	out.Running = true
	s.describe(&out)
	return out, nil
}

// describe fills in what a running session knows.
func (s *session) describe(out *api.ClusterStatus) {
	view := s.raft.View()
	out.DC, _ = s.raft.Leader()
	out.Quorate, out.Lead = out.DC != "", view.Cluster.Lead
	if view.Cluster.Name != "" {
		out.ClusterName = view.Cluster.Name
	}
	if view.CIB != nil {
		out.CIB = string(view.CIB.Bytes())
	}
	for _, name := range view.MemberNames() {
		out.Members = append(out.Members, s.member(view, name))
	}
	for _, name := range view.VolumeNames() {
		out.Volumes = append(out.Volumes, view.Volumes[name].Record())
	}
	out.Reasons = s.reasons(out.DC)
	out.Branch, out.Apart = branchName(view.Cluster.Branch), s.apartFrom()
	out.Warnings = append(apartWarnings(s.node, out.Apart), warnings(view)...)
	if why := s.frozen(view); why != "" && out.DC == "" {
		out.Warnings = append(out.Warnings, why)
	}
}

func (s *session) member(view *state.View, name string) api.MemberStatus {
	m := view.Members[name]
	lease := "none"
	if l, ok := view.Leases[name]; ok {
		lease = string(l.State)
	}
	return api.MemberStatus{
		Node: name, Kind: string(m.Kind), Voter: m.Voter, Addrs: slices.Clone(m.Addrs), Online: lease == "active", Lease: lease,
	}
}

// reasons asks the DC why things are not running; what it cannot be asked stays unsaid.
func (s *session) reasons(dc string) []api.Reason {
	if dc == "" {
		return nil
	}
	if dc == s.node {
		return s.brain.Reasons()
	}
	ctx, cancel := context.WithTimeout(context.Background(), reasonsTimeout)
	defer cancel()
	var got []api.Reason
	if err := s.links.Call(ctx, dc, callReasons, api.Empty{}, &got); err != nil {
		s.log.Warn("the DC did not say why things are not running", "dc", dc, "err", err)
	}
	return got
}

// reasonsTimeout bounds asking the DC on behalf of pcs status.
const reasonsTimeout = 2 * time.Second

// apartWarnings tell of a split brain of the cluster.
func apartWarnings(node string, apart []api.ApartStatus) []string {
	var w []string
	for _, a := range apart {
		w = append(w, fmt.Sprintf("SPLIT BRAIN: %s goes on apart from %s, with branch %s of the cluster's log. To keep %s, type on %s: holdfast drbd heal --keep=%s RESOURCE (without a volume: holdfast member rejoin %s)",
			a.Node, node, a.Branch, node, a.Node, node, node))
	}
	return w
}

// warnings are what an operator should know whenever looking.
func warnings(view *state.View) []string {
	var w []string
	if n := view.Voters(); n == 2 && policy(view.CIB) == "ignore" {
		w = append(w, "Two votes and no-quorum-policy=ignore: a host that loses the other goes on alone, and both do when only their link is lost (split brain). Add a witness: holdfast witness add NODE")
	} else if n == 2 {
		w = append(w, "Two votes: when one host is lost, the other freezes instead of guessing. Add a witness: holdfast witness add NODE")
	} else if n > 0 && n%2 == 0 {
		w = append(w, fmt.Sprintf("%d votes tolerate no more lost hosts than %d would", n, n-1))
	}
	for _, o := range view.Operator {
		w = append(w, fmt.Sprintf("%s: %s (%s, %s)", o.What, o.Text, o.By, time.Unix(o.UnixSeconds, 0).UTC().Format(time.DateTime)))
	}
	return w
}
