package show

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/scheduler"
)

// Quorum prints `pcs quorum status` in the layout of corosync-quorumtool: every voting member has one vote.
func Quorum(c api.ClusterStatus, now time.Time) []string {
	list := voters(c.Members)
	heard := 0
	for _, m := range list {
		if m.Online {
			heard++
		}
	}
	need := len(list)/2 + 1
	flags := ""
	if c.Quorate {
		flags = "Quorate"
	}
	out := []string{
		"Quorum information", "------------------",
		"Date:             " + now.Format(time.ANSIC),
		"Quorum provider:  holdfast (Raft)",
		fmt.Sprintf("Nodes:            %d", heard),
		"Node ID:          " + nodeID(list, c.LocalNode),
		"Ring ID:          " + orNone(c.DC),
		"Quorate:          " + yesNo(c.Quorate),
		"", "Votequorum information", "----------------------",
		fmt.Sprintf("Expected votes:   %d", len(list)),
		fmt.Sprintf("Highest expected: %d", len(list)),
		fmt.Sprintf("Total votes:      %d", heard),
		fmt.Sprintf("Quorum:           %d%s", need, blocked(c.Quorate)),
		strings.TrimRight("Flags:            "+flags, " "),
		"",
	}
	return append(out, membership(list, c.LocalNode)...)
}

func blocked(quorate bool) string {
	if quorate {
		return ""
	}
	return " Activity blocked"
}

// Corosync prints `pcs status corosync`.
func Corosync(c api.ClusterStatus) []string {
	return append([]string{""}, membership(voters(c.Members), c.LocalNode)...)
}

func membership(list []api.MemberStatus, local string) []string {
	out := []string{"Membership information", "----------------------", "    Nodeid      Votes Name"}
	for i, m := range list {
		if !m.Online {
			continue
		}
		mark := ""
		if m.Kind != "data" {
			mark = " (" + m.Kind + ")"
		}
		if m.Node == local {
			mark += " (local)"
		}
		out = append(out, fmt.Sprintf("%10d %10d %s%s", i+1, 1, m.Node, mark))
	}
	return out
}

// voters are the members with a vote, in name order.
func voters(all []api.MemberStatus) []api.MemberStatus {
	var out []api.MemberStatus
	for _, m := range all {
		if m.Voter {
			out = append(out, m)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Node < out[j].Node })
	return out
}

func nodeID(list []api.MemberStatus, name string) string {
	for i, m := range list {
		if m.Node == name {
			return fmt.Sprint(i + 1)
		}
	}
	return "0"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "Yes"
	}
	return "No"
}

// NodesByState prints `pcs status nodes`.
func NodesByState(in Input) []string {
	lists := map[string][]string{}
	for _, n := range in.State.Nodes {
		key := nodeKey(n)
		lists[key] = append(lists[key], n.Name)
	}
	out := []string{"Pacemaker Nodes:"}
	for _, key := range []string{"Online", "Standby", "Standby with resource(s) running", "Maintenance", "Offline"} {
		out = append(out, strings.TrimRight(" "+key+": "+strings.Join(lists[key], " "), " "))
	}
	out = append(out, "Other Members:")
	for _, m := range in.Cluster.Members {
		if m.Kind != "data" {
			out = append(out, " "+m.Node+": "+memberText(m, in.Cluster.DC))
		}
	}
	return out
}

func nodeKey(n scheduler.NodeState) string {
	switch {
	case !n.Online:
		return "Offline"
	case n.Maintenance:
		return "Maintenance"
	case (n.Standby || n.StandbyOnFail) && n.Active > 0:
		return "Standby with resource(s) running"
	case n.Standby || n.StandbyOnFail:
		return "Standby"
	}
	return "Online"
}
