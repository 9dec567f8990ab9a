package scheduler

import "fmt"

// What rules a node out beside constraints: a failed operation, or a shutdown lock. The scores do not tell these apart; those who
// ask why need to be told.

// bar notes in words that a failed operation rules a node out, or all of them when n is nil.
func (c *cluster) bar(r *resource, n *node, op *record, where *node) {
	nodes := c.nodes
	if n != nil {
		nodes = []*node{n}
	}
	text := fmt.Sprintf("its %s failed on %s (exit %d", operationName(op), where.name, op.rc)
	if why := op.xml.Get("exit-reason"); why != "" {
		text += ": " + why
	}
	text += "): mend that, then pcs resource cleanup " + historyID(r)
	if r.barred == nil {
		r.barred = map[*node]string{}
	}
	for _, x := range nodes {
		r.barred[x] = text
	}
}

// operationName calls a probe by its name.
func operationName(op *record) string {
	if op.isProbe() {
		return "probe"
	}
	return op.task
}

// keptOff says which failed operation or shutdown lock rules a node out for a resource: one of its own, or one of a resource
// that must be with it. It is empty if there is none.
func keptOff(r *resource, n *node) string {
	for p := r; p != nil; p = p.parent {
		if why := p.barred[n]; why != "" {
			return why
		}
		if p.lockNode != nil && p.lockNode != n {
			return "it waits for " + p.lockNode.name + ", which was shut down with it (shutdown-lock)"
		}
	}
	for p := r; p != nil; p = p.parent {
		for _, x := range p.withThis {
			why := ""
			if x.score == infinity {
				why = x.dependent.barred[n]
			}
			if why != "" {
				return x.dependent.id + " must be with it, and " + why
			}
		}
	}
	return ""
}
