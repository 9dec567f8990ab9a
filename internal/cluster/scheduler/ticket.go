package scheduler

import "holdfast/internal/cluster/cib"

// Tickets: a resource that depends on a ticket runs (or is promoted) only where the site holds it. A ticket in standby is
// about to be given up: what depends on it is brought down in order, whatever the loss policy says.

// lossPolicy is what becomes of a resource whose ticket is lost.
type lossPolicy int

const (
	lossStop lossPolicy = iota
	lossDemote
	lossFence
	lossFreeze
)

// ticketState is what the status section knows of a ticket; one it does not know is not granted.
type ticketState struct{ granted, standby bool }

// ticketNeed says that a resource, in one role or (RoleUnknown) in any, depends on a ticket.
type ticketNeed struct {
	rsc    *resource
	ticket string
	role   Role
	policy lossPolicy
}

// readTickets reads the tickets' states.
func (c *cluster) readTickets() {
	c.tickets = map[string]ticketState{}
	for _, t := range c.doc.Root.Child("status").Child("tickets").ChildrenNamed("ticket_state") {
		c.tickets[t.ID()] = ticketState{granted: boolOr(t.Get("granted"), false), standby: boolOr(t.Get("standby"), false)}
	}
}

// readTicketConstraint reads a <rsc_ticket>.
func (c *cluster) readTicketConstraint(e *cib.Element) {
	if e.Get("ticket") == "" {
		c.warn("rsc_ticket " + e.ID() + " names no ticket, and so has no effect")
		return
	}
	if sets := e.ChildrenNamed("resource_set"); len(sets) > 0 {
		for _, set := range sets {
			set = c.deref(set)
			for _, r := range c.setMembers(set) {
				c.needTicket(e, r, set.Get("role"))
			}
		}
		return
	}
	for _, r := range c.named(e.Get("rsc")) {
		c.needTicket(e, r, e.Get("rsc-role"))
	}
}

// needTicket notes a dependency, and applies it when the ticket is missing.
func (c *cluster) needTicket(e *cib.Element, r *resource, role string) {
	need := &ticketNeed{rsc: r, ticket: e.Get("ticket"), role: parseRole(role)}
	need.policy = c.lossPolicyOf(e, r, need.role)
	r.tickets = append(r.tickets, need)
	if !c.holds(need) {
		c.withoutTicket(r, need)
	}
}

// lossPolicyOf reads loss-policy; without one a promoted role is given up, and anything else stopped.
func (c *cluster) lossPolicyOf(e *cib.Element, r *resource, role Role) lossPolicy {
	switch e.Get("loss-policy") {
	case "freeze":
		return lossFreeze
	case "fence":
		if c.conf.stonith {
			return lossFence
		}
		c.warn("rsc_ticket " + e.ID() + ": loss-policy=fence needs fencing (stonith-enabled=true); acting as stop")
		return lossStop
	case "demote":
		return lossDemote
	case "":
		if role == RolePromoted {
			return lossDemote
		}
	}
	return lossStop
}

// holds tells whether the ticket is there to be used.
func (c *cluster) holds(need *ticketNeed) bool {
	t := c.tickets[need.ticket]
	return t.granted && !t.standby
}

// withoutTicket applies a missing ticket to each primitive at or below r. What is active in the role loses it as the
// policy says; what is not may not begin.
func (c *cluster) withoutTicket(r *resource, need *ticketNeed) {
	if r.kind != primitive {
		for _, k := range r.children {
			c.withoutTicket(k, need)
		}
		return
	}
	if !c.tickets[need.ticket].granted && len(r.runningOn) > 0 {
		c.loseTicket(r, need)
		return
	}
	if need.role != RolePromoted || need.policy == lossStop {
		c.ban(r, nil, "__no_ticket__")
	}
}

func (c *cluster) loseTicket(r *resource, need *ticketNeed) {
	switch need.policy {
	case lossDemote:
		// Who may not be promoted is settled when the roles are.
		if need.role != RolePromoted {
			c.ban(r, nil, "__loss_of_ticket__")
		}
	case lossFreeze:
		if need.inRole(r) {
			r.managed, r.blocked = false, true
		}
	case lossFence:
		if !need.inRole(r) {
			return
		}
		c.ban(r, nil, "__loss_of_ticket__")
		for _, n := range r.runningOn {
			c.mustFence(n, "deadman ticket was lost")
		}
	default:
		c.ban(r, nil, "__loss_of_ticket__")
	}
}

// inRole tells whether a resource is in the role that needs the ticket.
func (need *ticketNeed) inRole(r *resource) bool {
	return need.role == RoleUnknown || need.role == r.role
}

// promotionTicketMissing tells whether a ticket without which r may not be promoted is missing.
func (c *cluster) promotionTicketMissing(r *resource) bool {
	for _, need := range r.tickets {
		if need.role == RolePromoted && !c.holds(need) {
			return true
		}
	}
	return false
}
