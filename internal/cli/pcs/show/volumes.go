package show

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"holdfast/internal/api"
)

// Volumes prints the log's record of each replicated volume (epoch, Primary, the UpToDate set U), and below it what this
// host's volume process says: connection, disks, resync.
func Volumes(c api.ClusterStatus, local []api.VolumeStatus) []string {
	var out []string
	seen := map[string]bool{}
	for _, r := range sortedRecords(c.Volumes) {
		seen[r.Resource] = true
		primary := "no Primary"
		if r.Primary != "" {
			primary = "Primary on " + r.Primary
		}
		out = append(out, fmt.Sprintf("  * %s: epoch %d, %s, UpToDate: [ %s ] (version %d)", r.Resource, r.Epoch, primary, members(r.U), r.Version))
		out = append(out, localVolume(c.LocalNode, r.Resource, local)...)
	}
	for _, v := range local {
		if !seen[v.Resource] {
			seen[v.Resource] = true
			out = append(out, fmt.Sprintf("  * %s: not yet in the cluster's log", v.Resource))
			out = append(out, localVolume(c.LocalNode, v.Resource, local)...)
		}
	}
	return out
}

func sortedRecords(list []api.VolumeRecord) []api.VolumeRecord {
	out := append([]api.VolumeRecord(nil), list...)
	sort.Slice(out, func(i, j int) bool { return out[i].Resource < out[j].Resource })
	return out
}

func members(u []api.Replica) string {
	names := make([]string, len(u))
	for i, r := range u {
		names[i] = r.Node
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

func localVolume(node, resource string, local []api.VolumeStatus) []string {
	var out []string
	several := slices.ContainsFunc(local, func(v api.VolumeStatus) bool { return v.Resource == resource && v.Volume > 0 })
	for _, v := range local {
		if v.Resource != resource {
			continue
		}
		name := node
		if several {
			name = fmt.Sprintf("%s, volume %d", node, v.Volume)
		}
		out = append(out, fmt.Sprintf("    * %s: %s %s/%s %s/%s, epoch %d%s", name, v.Conn, v.Role, v.PeerRole, v.Disk, v.PeerDisk, v.Epoch, outOfSync(v)))
		if v.Resync != nil {
			out = append(out, "    * "+Resync(*v.Resync))
		}
		if several && v.Reason != "" {
			out = append(out, "    * no connection: "+v.Reason)
		}
		if v.Frozen != "" {
			out = append(out, "    * writes are waiting: "+v.Frozen)
		}
	}
	return out
}

func outOfSync(v api.VolumeStatus) string {
	if v.Counters.OOS == 0 {
		return ""
	}
	return fmt.Sprintf(", %d KiB out of sync", v.Counters.OOS)
}

// Resync prints a resync's progress: percent, what is left, rate, time left.
func Resync(r api.ResyncStatus) string {
	return fmt.Sprintf("resync: %.1f%% done, %d of %d KiB left, %.1f MiB/s, %d:%02d:%02d to go", r.Percent, r.LeftKiB, r.TotalKiB,
		float64(r.SpeedKiB)/1024, r.ETASeconds/3600, r.ETASeconds/60%60, r.ETASeconds%60)
}

// Members prints the Raft members: which votes, is heard from, holds a lease, leads.
func Members(c api.ClusterStatus) []string {
	list := append([]api.MemberStatus(nil), c.Members...)
	sort.Slice(list, func(i, j int) bool { return list[i].Node < list[j].Node })
	var out []string
	voters, heard := 0, 0
	for _, m := range list {
		if m.Voter {
			voters++
			if m.Online {
				heard++
			}
		}
		out = append(out, "  * "+m.Node+": "+memberText(m, c.DC))
	}
	if voters > 0 {
		need := voters/2 + 1
		out = append(out, fmt.Sprintf("  * Votes: %d of %d heard from, %d needed; %s", heard, voters, need, spare(heard-need)))
	}
	return out
}

func memberText(m api.MemberStatus, dc string) string {
	parts := []string{m.Kind}
	if m.Voter {
		parts = append(parts, "votes")
	} else {
		parts = append(parts, "no vote")
	}
	state := "OFFLINE"
	if m.Online {
		state = "online"
	}
	parts = append(parts, state)
	if m.Lease != "" && m.Lease != "none" {
		parts = append(parts, "lease "+m.Lease)
	}
	if m.Node == dc {
		parts = append(parts, "leader")
	}
	return strings.Join(parts, ", ")
}

// spare says how many voters may still be lost.
func spare(n int) string {
	switch {
	case n < 0:
		return "no quorum"
	case n == 0:
		return "none may be lost now"
	}
	return fmt.Sprintf("%d more may be lost", n)
}
