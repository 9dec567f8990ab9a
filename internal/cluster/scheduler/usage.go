package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Utilization is what a node offers (Resource is empty), or what a resource takes of it.
type Utilization struct {
	// When is Original or Remaining for a node; empty for a resource.
	When           string
	Node, Resource string
	Values         map[string]int
	// After is how many of Output.Scores come before it.
	After int
}

// Text words it as crm_simulate does.
func (u Utilization) Text() string {
	var b strings.Builder
	if u.Resource == "" {
		b.WriteString(u.When + ": " + u.Node + " capacity:")
	} else {
		b.WriteString("pcmk__finalize_assignment: " + u.Resource + " utilization on " + u.Node + ":")
	}
	for _, name := range slices.Sorted(maps.Keys(u.Values)) {
		fmt.Fprintf(&b, " %s=%d", name, u.Values[name])
	}
	return b.String()
}

// noteRoom records what the nodes offer.
func (c *cluster) noteRoom(when string) {
	for _, n := range c.nodes {
		c.usage = append(c.usage, Utilization{When: when, Node: n.name, Values: maps.Clone(n.room), After: len(c.scores)})
	}
}

func (c *cluster) noteTaken(r *resource, n *node) {
	c.usage = append(c.usage, Utilization{Node: n.name, Resource: r.id, Values: r.takes, After: len(c.scores)})
}
