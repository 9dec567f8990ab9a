package simulate

import (
	"maps"
	"slices"
	"strings"

	"holdfast/internal/cluster/scheduler"
)

// writeStatus prints nodes and resources with their headings.
func writeStatus(b *strings.Builder, s *scheduler.State) {
	b.WriteString("  * Node List:\n")
	for _, l := range NodeLines(s.Nodes) {
		b.WriteString("    * " + l + "\n")
	}
	b.WriteString("\n  * Full List of Resources:\n")
	lines := ResourceLines(s)
	if len(lines) == 0 {
		b.WriteString("    * No resources\n")
	}
	for _, l := range lines {
		b.WriteString("    " + l + "\n")
	}
}

// NodeLines words the states of nodes: one line for each in a special state, then the others together.
func NodeLines(nodes []scheduler.NodeState) []string {
	var out []string
	plain := map[string][]string{}
	for _, n := range nodes {
		switch st := nodeWord(n); {
		case st == "online" || st == "OFFLINE" && !n.Guest:
			plain[nodePrefix(n)+st] = append(plain[nodePrefix(n)+st], n.Name)
		case st == "OFFLINE":
			// A guest that is down is just a resource that is stopped.
		default:
			out = append(out, nodePrefix(n)+"Node "+n.Name+": "+st)
		}
	}
	for _, head := range [][2]string{{"online", "Online"}, {"OFFLINE", "OFFLINE"}, {"Remoteonline", "RemoteOnline"},
		{"RemoteOFFLINE", "RemoteOFFLINE"}, {"Guestonline", "GuestOnline"}} {
		if names := plain[head[0]]; len(names) > 0 {
			out = append(out, head[1]+": [ "+strings.Join(names, " ")+" ]")
		}
	}
	return out
}

// nodePrefix tells the kinds of node apart.
func nodePrefix(n scheduler.NodeState) string {
	switch {
	case n.Guest:
		return "Guest"
	case n.Remote:
		return "Remote"
	}
	return ""
}

func nodeWord(n scheduler.NodeState) string {
	word := nodeStateWord(n)
	if n.Health != "" {
		word += " (health is " + n.Health + ")"
	}
	return word
}

func nodeStateWord(n scheduler.NodeState) string {
	switch {
	case n.Unclean && n.Online:
		return "UNCLEAN (online)"
	case n.Unclean && n.Pending:
		return "UNCLEAN (pending)"
	case n.Unclean:
		return "UNCLEAN (offline)"
	case n.Pending:
		return "pending"
	case n.StandbyOnFail && n.Online:
		return "standby (on-fail)"
	case n.Standby && n.Online:
		if hasActive(n) {
			return "standby (with active resources)"
		}
		return "standby"
	case n.Standby:
		return "OFFLINE (standby)"
	case n.Maintenance && n.Online:
		return "maintenance"
	case n.Maintenance:
		return "OFFLINE (maintenance)"
	case n.Online:
		return "online"
	}
	return "OFFLINE"
}

func hasActive(n scheduler.NodeState) bool { return n.Active > 0 }

// ResourceLines words the states of all resources, one line each, nested lines indented by two spaces; every line
// begins with "* ".
func ResourceLines(s *scheduler.State) []string {
	p := &printer{nodes: map[string]scheduler.NodeState{}}
	for _, n := range s.Nodes {
		p.nodes[n.Name] = n
		p.names = append(p.names, n.Name)
	}
	for _, r := range shownResources(s) {
		if !r.Internal {
			p.resource(r, 0)
		}
	}
	return p.out
}

// gone tells whether a resource is only known to have been on a node that is gone; that is not shown.
func gone(r scheduler.ResourceState) bool { return r.ActiveAny && len(r.Nodes) == 0 }

// shownResources leaves out what is only known to have been on a node that is gone.
func shownResources(s *scheduler.State) []scheduler.ResourceState {
	return slices.DeleteFunc(slices.Clone(s.Resources), func(r scheduler.ResourceState) bool {
		return r.Orphan && r.Role <= scheduler.RoleStopped || gone(r)
	})
}

type printer struct {
	nodes map[string]scheduler.NodeState
	names []string
	out   []string
}

func (p *printer) line(depth int, text string) {
	p.out = append(p.out, strings.Repeat("  ", depth)+"* "+text)
}

func (p *printer) resource(r scheduler.ResourceState, depth int) {
	switch r.Kind {
	case scheduler.Group:
		p.line(depth, "Resource Group: "+r.ID+flagText(groupFlags(r), ", ")+":")
		for _, m := range r.Children {
			p.resource(m, depth+1)
		}
	case scheduler.Clone:
		p.clone(r, depth)
	case scheduler.Bundle:
		p.bundle(r, depth)
	default:
		p.line(depth, p.primitive(r))
	}
}

// bundle words a bundle, with a line for each replica.
func (p *printer) bundle(r scheduler.ResourceState, depth int) {
	word := "Container bundle"
	if r.Max > 1 {
		word += " set"
	}
	p.line(depth, word+": "+r.ID+" ["+r.Image+"]"+flagText(bundleFlags(r), ", ")+":")
	for _, k := range r.Children {
		p.line(depth+1, p.primitive(k))
	}
}

// bundleFlags are those shown behind a bundle's name.
func bundleFlags(r scheduler.ResourceState) []string {
	var f []string
	if r.Unique {
		f = append(f, "unique")
	}
	if !r.Managed {
		f = append(f, "unmanaged")
	}
	return f
}

func flagText(flags []string, sep string) string {
	if len(flags) == 0 {
		return ""
	}
	return " (" + strings.Join(flags, sep) + ")"
}

// groupFlags are those shown behind a group's or clone's name.
func groupFlags(r scheduler.ResourceState) []string {
	var f []string
	if r.Promotable {
		f = append(f, "promotable")
	}
	if r.Unique {
		f = append(f, "unique")
	}
	if !r.Managed {
		f = append(f, "unmanaged")
	}
	if r.Disabled {
		f = append(f, "disabled")
	}
	return f
}

// primitive words one primitive.
func (p *printer) primitive(r scheduler.ResourceState) string {
	var b strings.Builder
	agent := r.Class + ":"
	if r.Provider != "" {
		agent += r.Provider + ":"
	}
	b.WriteString(r.Name + "\t(" + agent + r.Type + "):\t")
	if r.Orphan {
		b.WriteString(" ORPHANED")
	}
	switch {
	case r.Failed && r.Role > scheduler.RoleUnpromoted:
		b.WriteString(" FAILED " + r.Role.String())
	case r.Failed:
		b.WriteString(" FAILED")
	case pendingRole(r):
		b.WriteString(" " + r.Pending)
	default:
		b.WriteString(" " + displayRole(r).String())
		if why := anyHindrance(r); r.Role <= scheduler.RoleStopped && why != "" {
			b.WriteString(" (" + why + ")")
		}
	}
	switch {
	case len(r.Nodes) == 1:
		b.WriteString(" " + r.Nodes[0])
	case len(r.Nodes) == 0 && r.Locked != "":
		b.WriteString(" " + r.Locked)
	case len(r.Nodes) == 0 && r.Pending != "" && r.PendingNode != "":
		b.WriteString(" " + r.PendingNode)
	}
	flags := primitiveFlags(r)
	if len(r.Nodes) == 1 && p.mark(r.Nodes[0]) != r.Nodes[0] {
		flags = append([]string{"UNCLEAN"}, flags...)
	}
	b.WriteString(flagText(flags, ", "))
	if len(r.Nodes) > 1 {
		b.WriteString(" [ " + strings.Join(r.Nodes, " ") + " ]")
	}
	return b.String()
}

// anyHindrance is what keeps a resource's agent from working on the first of the nodes, by name, on which something does.
func anyHindrance(r scheduler.ResourceState) string {
	for _, n := range slices.Sorted(maps.Keys(r.Hindered)) {
		return r.Hindered[n]
	}
	return ""
}

// withoutPending is a state with nothing in progress.
func withoutPending(list []scheduler.ResourceState) []scheduler.ResourceState {
	out := slices.Clone(list)
	for i := range out {
		out[i].Pending, out[i].PendingNode = "", ""
		out[i].Children = withoutPending(out[i].Children)
	}
	return out
}

// pendingRole tells whether an operation in progress is shown in place of the role.
func pendingRole(r scheduler.ResourceState) bool { return r.Pending != "" && r.Pending != "Monitoring" }

func displayRole(r scheduler.ResourceState) scheduler.Role {
	if r.Role == scheduler.RoleUnknown {
		return scheduler.RoleStopped
	}
	return r.Role
}

func (p *printer) mark(name string) string {
	if n := p.nodes[name]; !n.Online && n.Unclean {
		return name + " (UNCLEAN)"
	}
	return name
}

func primitiveFlags(r scheduler.ResourceState) []string {
	var f []string
	if r.Pending != "" && !pendingRole(r) {
		f = append(f, r.Pending)
	}
	switch {
	case r.Target == scheduler.RoleStopped:
		f = append(f, "disabled")
	case r.Target == scheduler.RoleUnpromoted && r.Disabled:
		f = append(f, "disabled")
	case r.Target == scheduler.RoleUnpromoted && r.InPromotable:
		f = append(f, "target-role:Unpromoted")
	}
	switch {
	case r.Blocked:
		f = append(f, "blocked")
	case !r.Managed:
		f = append(f, "unmanaged")
	}
	if r.Locked != "" && len(r.Nodes) == 0 {
		f = append(f, "LOCKED")
	}
	if r.FailureIgnored {
		f = append(f, "failure ignored")
	}
	return f
}

// clone words a clone: instances in ordinary states together, the others one by one.
func (p *printer) clone(r scheduler.ResourceState, depth int) {
	p.line(depth, "Clone Set: "+r.ID+" ["+r.ChildID+"]"+flagText(groupFlags(r), ", ")+":")
	var promoted, started []string
	for _, k := range r.Children {
		switch {
		case p.special(r, k):
			if !(k.Orphan && !k.ActiveAny) && !gone(k) {
				p.resource(k, depth+1)
			}
		case !k.ActiveAny:
		case k.Role == scheduler.RolePromoted:
			promoted = append(promoted, k.Nodes...)
		default:
			started = append(started, k.Nodes...)
		}
	}
	sortNames(promoted, p.names)
	sortNames(started, p.names)
	if len(promoted) > 0 {
		p.line(depth+1, "Promoted: [ "+strings.Join(promoted, " ")+" ]")
	}
	if len(started) > 0 {
		word := "Started"
		if r.Promotable {
			word = "Unpromoted"
			if r.Target == scheduler.RoleUnpromoted {
				word += " (target-role)"
			}
		}
		p.line(depth+1, word+": [ "+strings.Join(started, " ")+" ]")
	}
	p.stopped(r, depth)
}

// stopped names the nodes without an instance.
func (p *printer) stopped(r scheduler.ResourceState, depth int) {
	if r.Unique {
		return
	}
	word := "Stopped"
	target := r.Target
	if target == scheduler.RoleUnknown && len(r.Children) > 0 {
		target = r.Children[0].Target
	}
	if target == scheduler.RoleStopped {
		word = "Stopped (disabled)"
	}
	active := 0
	used := map[string]bool{}
	for _, n := range r.Nodes {
		used[n] = true
	}
	for _, k := range r.Children {
		if k.ActiveAny && !p.special(r, k) {
			active++
		}
	}
	if active >= r.Max {
		return
	}
	var names []string
	for _, n := range p.names {
		if !used[n] && slices.Contains(r.Candidates, n) {
			names = append(names, n)
		}
	}
	var hindrances []string
	hindered := map[string][]string{}
	for _, n := range names {
		why := r.Hindered[n]
		if hindered[why] == nil {
			hindrances = append(hindrances, why)
		}
		hindered[why] = append(hindered[why], n)
	}
	slices.Sort(hindrances)
	for _, why := range hindrances {
		state := word
		if why != "" {
			state = "Stopped (" + why + ")"
		}
		p.line(depth+1, state+": [ "+strings.Join(hindered[why], " ")+" ]")
	}
}

func sortNames(list, order []string) {
	slices.SortStableFunc(list, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
}

// special tells whether an instance needs a line of its own.
func (p *printer) special(r, k scheduler.ResourceState) bool {
	switch {
	case r.Unique, k.Orphan:
		return true
	case !k.ActiveAny:
		return false
	case k.Pending != "" && pendingRole(k):
		return true
	case !k.Managed, anyState(k, func(x scheduler.ResourceState) bool { return x.Failed || !x.Managed }):
		return true
	case !k.ActiveAll, len(k.Nodes) != 1:
		return true
	}
	n := p.nodes[k.Nodes[0]]
	return !n.Online
}

func anyState(r scheduler.ResourceState, match func(scheduler.ResourceState) bool) bool {
	if match(r) {
		return true
	}
	for _, k := range r.Children {
		if anyState(k, match) {
			return true
		}
	}
	return false
}
