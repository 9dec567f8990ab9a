package transition

import (
	"fmt"
	"slices"
	"strings"
)

// DOT prints the graph for Graphviz, as crm_simulate --save-dotfile does: an action per node (pseudo actions in orange
// letters), an edge for each thing that waits.
func (g *Graph) DOT() []byte {
	var b strings.Builder
	b.WriteString(" digraph \"g\" {\n")
	names := make(map[int]string, len(g.Actions))
	for _, a := range g.Actions {
		names[a.ID] = a.dotName()
	}
	var lines []string
	for _, a := range g.Actions {
		font := "black"
		if a.Kind == Pseudo {
			font = "orange"
		}
		lines = append(lines, fmt.Sprintf("%s [ style=bold color=\"green\" fontcolor=\"%s\"]\n", names[a.ID], font))
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	lines = lines[:0]
	for _, a := range g.Actions {
		for _, in := range a.Inputs {
			if names[in] != "" {
				lines = append(lines, fmt.Sprintf("%s -> %s [ style = bold]\n", names[in], names[a.ID]))
			}
		}
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, "") + "}\n")
	return []byte(b.String())
}

// dotName is the action's name in a DOT file.
func (a *Action) dotName() string {
	name := a.Key
	if a.InternalKey != "" {
		name = a.InternalKey
	}
	if a.Task == TaskCancel {
		name = "Cancel " + name
	}
	if a.Node != "" {
		name += " " + a.Node
	}
	return fmt.Sprintf("%q", name)
}
