package simulate

import (
	"fmt"
	"strings"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

// Report is everything crm_simulate can show about a simulated transition. Text and XML print what of it is asked for.
type Report struct {
	// Before is the state before the events; Events are those, in words, and Modifications as XML.
	Before        *scheduler.State
	Events        []string
	Modifications *cib.Element
	Result        Result
	// Date says which time was decided for, if that is not now: "Setting effective cluster time: 2020-01-01".
	Date string
	// Scores, Utilization, Attributes: show them. Changes: show what would be done; Simulate: also what comes of it. Quiet:
	// show nothing but scores and utilization.
	Scores, Utilization, Attributes, Changes, Simulate, Quiet bool
}

// Text prints the report as crm_simulate does. With scores or utilization, that prints all else without headings and marks.
func (r Report) Text() string {
	if r.Quiet {
		return r.quietText()
	}
	var b strings.Builder
	date := ""
	if r.Date != "" {
		date = r.Date + "\n"
	}
	b.WriteString(date)
	b.WriteString(hindranceText(r.Before))
	r.heading(&b, "Current cluster status:\n")
	r.writeState(&b, r.Before)
	if len(r.Events) > 0 {
		r.heading(&b, "\nPerforming Requested Modifications:\n", "\n")
		r.writeList(&b, r.Events)
	}
	if asked := r.asked(); asked != "" {
		b.WriteString("\n" + asked)
	}
	if r.Changes || r.Simulate {
		r.heading(&b, "\nTransition Summary:\n", "\n")
		r.writeList(&b, SummaryLines(r.Result.Decision.Summary))
	}
	if r.Simulate {
		r.heading(&b, "\nExecuting Cluster Transition:\n", "\n")
		r.writeList(&b, r.Result.Executed)
		b.WriteString(date)
		r.heading(&b, "\nRevised Cluster Status:\n", "\n")
		r.writeState(&b, r.Result.revised())
	}
	return b.String()
}

// quietText is what --quiet leaves. The blank line stands where the transition would.
func (r Report) quietText() string {
	asked := r.asked()
	if asked != "" && r.Simulate {
		asked += "\n"
	}
	return asked
}

// plain tells whether everything is printed without headings.
func (r Report) plain() bool { return r.Scores || r.Utilization }

// heading writes a heading, or what plain text has in its place.
func (r Report) heading(b *strings.Builder, text string, plain ...string) {
	if !r.plain() {
		b.WriteString(text)
	} else if len(plain) > 0 {
		b.WriteString(plain[0])
	}
}

// writeList writes lines with marks, but for the one about a failure that was asked for, which never has one.
func (r Report) writeList(b *strings.Builder, lines []string) {
	for _, l := range lines {
		if !r.plain() && !strings.HasPrefix(l, pretended) {
			b.WriteString("  * ")
		}
		b.WriteString(l + "\n")
	}
}

func (r Report) writeState(b *strings.Builder, s *scheduler.State) {
	if !r.plain() {
		writeStatus(b, s)
		if r.Attributes {
			writeAttributes(b, s)
		}
		return
	}
	for _, l := range NodeLines(s.Nodes) {
		if _, names, ok := strings.Cut(l, ": [ "); ok {
			l = "[ " + names
		}
		b.WriteString(l + "\n")
	}
	b.WriteString("\n")
	for _, l := range ResourceLines(s) {
		l = strings.TrimLeft(l, " ")
		if strings.HasSuffix(l, ":") {
			continue // the heading of a list
		}
		b.WriteString(strings.TrimPrefix(l, "* ") + "\n")
	}
}

// writeAttributes writes the attributes of all nodes that have some.
func writeAttributes(b *strings.Builder, s *scheduler.State) {
	first := true
	for _, n := range s.Nodes {
		names := shownAttributes(n)
		if len(names) == 0 || !n.Online {
			continue
		}
		if first {
			b.WriteString("\n  * Node Attributes:\n")
			first = false
		}
		fmt.Fprintf(b, "    * Node: %s:\n", n.Name)
		for _, name := range names {
			fmt.Fprintf(b, "      * %-32s\t: %-10s\n", name, n.Attributes[name])
		}
	}
}

// asked is the text of the scores and the utilization, as far as they were asked for, in the order of the decision.
func (r Report) asked() string {
	var b strings.Builder
	d := r.Result.Decision
	at := 0
	usage := d.Utilization
	if !r.Utilization {
		usage = nil
	}
	for _, u := range usage {
		if r.Scores {
			b.WriteString(ScoresText(d.Scores[at:u.After]))
			at = u.After
		}
		b.WriteString(u.Text() + "\n")
	}
	if r.Scores {
		b.WriteString(ScoresText(d.Scores[at:]))
	}
	return b.String()
}

// hindranceText tells how many instances are disabled or blocked, if any.
func hindranceText(s *scheduler.State) string {
	total, disabled, blocked := 0, 0, 0
	var count func(list []scheduler.ResourceState)
	count = func(list []scheduler.ResourceState) {
		for _, r := range list {
			if r.Kind != scheduler.Primitive || len(r.Parts) > 0 {
				count(r.Children)
				count(r.Parts)
				continue
			}
			if r.Orphan && !r.ActiveAny {
				continue
			}
			total++
			if r.Blocked {
				blocked++
			}
			if r.Target == scheduler.RoleStopped {
				disabled++
			}
		}
	}
	count(s.Resources)
	text := ""
	if s.MaintenanceMode {
		text = "\n              *** Resource management is DISABLED ***\n  The cluster will not attempt to start, stop or recover services\n\n"
	}
	if disabled+blocked == 0 {
		return text
	}
	return text + fmt.Sprintf("%d of %d resource instances DISABLED and %d BLOCKED from further action due to failure\n\n", disabled, total, blocked)
}

// SummaryLines words what would change, in columns as crm_simulate prints them: a name longer than all before it makes its
// column two wider than itself.
func SummaryLines(changes []scheduler.Change) []string {
	const least = 5
	name, detail := least, least
	for _, c := range changes {
		if c.Resource == "" {
			continue
		}
		if len(c.Resource) > name {
			name = len(c.Resource) + 2
		}
		detail = max(detail, len(c.Detail))
	}
	out := make([]string, 0, len(changes))
	for _, c := range changes {
		if c.Resource == "" {
			out = append(out, c.Text)
			continue
		}
		out = append(out, fmt.Sprintf("%-10s %-*s   ( %*s )%s", c.Action, name, c.Resource, detail, c.Detail, c.Due()))
	}
	return out
}

// revised is the state afterwards, with nothing in progress.
func (r Result) revised() *scheduler.State {
	s := *r.Revised
	s.Resources = withoutPending(s.Resources)
	return &s
}
