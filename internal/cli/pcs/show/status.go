package show

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// Input is what a status is made of.
type Input struct {
	Cluster api.ClusterStatus
	// Doc is Cluster.CIB parsed, State what the scheduler reads from it.
	Doc   *cib.Document
	State *scheduler.State
	// Volumes are this host's volumes; they add connection and resync to what the log says.
	Volumes []api.VolumeStatus
	Now     time.Time
	// Hide leaves out inactive resources; Full adds ids and attributes.
	Hide, Full bool
	// Enabled says that the daemon starts at boot.
	Enabled bool
}

// Status prints all of `pcs status`.
func Status(in Input) []string {
	out := []string{"Cluster name: " + in.Cluster.ClusterName}
	out = append(out, section("WARNINGS:", Warnings(in))...)
	out = append(out, "")
	out = append(out, Summary(in)...)
	out = append(out, section("Node List:", NodeList(in.State))...)
	out = append(out, section("Full List of Resources:", resourcesOrNone(in))...)
	out = append(out, section("Node Attributes:", transient(in))...)
	out = append(out, section("Failed Resource Actions:", Failures(in.State, in.Now.Location()))...)
	out = append(out, section("Why Not Running or Not Promoted:", Reasons(in.Cluster.Reasons))...)
	out = append(out, section("Volumes:", Volumes(in.Cluster, in.Volumes))...)
	out = append(out, section("Members:", Members(in.Cluster))...)
	return append(out, section("Daemon Status:", daemons(in))...)
}

// Monitor prints what `crm_mon` does: Status without what is pcs's own.
func Monitor(in Input) []string {
	out := append(splitBrain(in.Cluster), Summary(in)...)
	out = append(out, section("Node List:", NodeList(in.State))...)
	title, lines := "Full List of Resources:", resourcesOrNone(in)
	if in.Hide {
		title = "Active Resources:"
	}
	if in.Hide && len(Resources(in.State, true)) == 0 {
		lines = []string{"  * No active resources"}
	}
	out = append(out, section(title, lines)...)
	out = append(out, section("Node Attributes:", transient(in))...)
	out = append(out, section("Failed Resource Actions:", Failures(in.State, in.Now.Location()))...)
	return append(out, section("Why Not Running or Not Promoted:", Reasons(in.Cluster.Reasons))...)
}

func section(title string, lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	return append([]string{"", title}, lines...)
}

func resourcesOrNone(in Input) []string {
	lines := Resources(in.State, in.Hide)
	if len(lines) == 0 {
		return []string{"  * No resources"}
	}
	return lines
}

// Warnings lists what an operator should change.
func Warnings(in Input) []string {
	var out []string
	stonith, ok := cib.ParseBool(in.Doc.Property("stonith-enabled"))
	if (stonith || !ok) && !hasFenceDevice(in.Doc) {
		out = append(out, "No stonith devices and stonith-enabled is not false")
	}
	noted := slices.ContainsFunc(in.Cluster.Warnings, func(w string) bool { return strings.Contains(w, "no-quorum-policy") })
	if in.Doc.Property("no-quorum-policy") == "ignore" && !noted {
		out = append(out, "no-quorum-policy=ignore: of two hosts without a witness, each goes on alone when it loses the other (a split brain, if both live); with three or more votes it acts as stop for everything that holds a replicated volume")
	}
	return append(out, in.Cluster.Warnings...)
}

func hasFenceDevice(doc *cib.Document) bool {
	return doc.Resources().Find(func(e *cib.Element) bool { return e.Name == "primitive" && e.Get("class") == "stonith" }) != nil
}

// splitBrain warns of members that go on apart, with another branch of the log; empty if there are none.
func splitBrain(st api.ClusterStatus) []string {
	var out []string
	for _, a := range st.Apart {
		out = append(out, fmt.Sprintf("SPLIT BRAIN: %s goes on apart, with branch %s of the cluster's log; see pcs status", a.Node, a.Branch), "")
	}
	return out
}

// Summary prints the block "Cluster Summary".
func Summary(in Input) []string {
	dc := "NONE"
	if in.Cluster.DC != "" {
		quorum := "WITHOUT"
		if in.Cluster.Quorate {
			quorum = "with"
		}
		dc = fmt.Sprintf("%s (version %s) - partition %s quorum", in.Cluster.DC, in.Cluster.Version, quorum)
	}
	nodes, instances := len(in.Doc.Nodes().ChildrenNamed("node")), CountInstances(in.Doc)
	out := []string{
		"Cluster Summary:",
		"  * Stack: holdfast (Raft)",
		"  * Current DC: " + dc,
		"  * Last updated: " + in.Now.Format(time.ANSIC),
		"  * Last change:  " + lastChange(in.Doc),
		fmt.Sprintf("  * %d node%s configured", nodes, s(nodes)),
		fmt.Sprintf("  * %d resource instance%s configured%s", instances, s(instances), disabledCount(in.Doc)),
	}
	if on, _ := cib.ParseBool(in.Doc.Property("maintenance-mode")); on {
		out = append(out, "", "              *** Resource management is DISABLED ***",
			"  The cluster will not attempt to start, stop or recover services")
	}
	return out
}

func s(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func lastChange(doc *cib.Document) string {
	out := doc.Root.Get("cib-last-written")
	for _, a := range []struct{ word, attr string }{{" by ", "update-user"}, {" via ", "update-client"}, {" on ", "update-origin"}} {
		if v := doc.Root.Get(a.attr); v != "" {
			out += a.word + v
		}
	}
	return out
}

func disabledCount(doc *cib.Document) string {
	n := 0
	for _, r := range doc.Resources().Children {
		for _, e := range primitives(r) {
			if strings.EqualFold(Meta(doc, e, "target-role"), "Stopped") {
				n += Instances(doc, r)
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d DISABLED)", n)
}

// Reasons prints why resources are not running or not promoted, by resource and node.
func Reasons(list []api.Reason) []string {
	sorted := append([]api.Reason(nil), list...)
	sort.SliceStable(sorted, func(i, j int) bool {
		if sorted[i].Resource != sorted[j].Resource {
			return sorted[i].Resource < sorted[j].Resource
		}
		return sorted[i].Node < sorted[j].Node
	})
	var out []string
	for _, r := range sorted {
		where := ""
		if r.Node != "" {
			where = " on " + r.Node
		}
		out = append(out, "  * "+r.Resource+where+": "+r.Text)
	}
	return out
}

// transient prints the nodes' transient attributes (promotion scores and the like), for --full.
func transient(in Input) []string {
	if !in.Full {
		return nil
	}
	var out []string
	for _, n := range in.State.Nodes {
		attrs := in.Doc.TransientAttributes(n.Name)
		names := make([]string, 0, len(attrs))
		for a := range attrs {
			if !strings.Contains(a, "#") {
				names = append(names, a)
			}
		}
		if len(names) == 0 {
			continue
		}
		sort.Strings(names)
		out = append(out, "  * Node: "+n.Name+":")
		for _, a := range names {
			out = append(out, fmt.Sprintf("    * %-32s: %s", a, attrs[a]))
		}
	}
	return out
}

func daemons(in Input) []string {
	state := "inactive"
	if in.Cluster.Running {
		state = "active"
	}
	boot := "disabled"
	if in.Enabled {
		boot = "enabled"
	}
	return []string{"  holdfast: " + state + "/" + boot}
}
