package scheduler

// Schedule decides what to do next. Bad input (references to what does not exist, values that cannot be read) never stops
// it: what cannot be used is passed over, and said so in Warnings.
func Schedule(in Input) Output {
	c := &cluster{in: in, doc: in.CIB, now: in.Now, quorum: in.Quorate, forbid: map[forbidKey]string{}}
	for _, f := range in.Forbid {
		c.forbid[forbidKey{f.Resource, f.Node}] = f.Why
	}
	c.readConfig()
	c.readNodes()
	c.readResources()
	c.readNodeStates()
	c.readTickets()
	c.readHistory()
	status := c.state()

	c.readConstraints()
	c.applyHealth()
	c.applyLocations()
	c.applyThreshold()
	c.applyExclusive()
	c.insideContainers()
	c.internalOrderings()
	c.findChanges()
	c.applyLocks()
	c.noteRoom("Original")
	c.assignAll()
	for _, check := range c.checkLater {
		check()
	}
	c.noteRoom("Remaining")
	c.planProbes()
	c.planAll()
	c.orderRemotes()
	c.planFencing()
	c.applyOrderings()
	c.updateAll()
	c.planNotifications()
	summary := c.summarize()
	graph := c.buildGraph()
	return Output{Graph: graph, Scores: c.scores, Utilization: c.usage, Summary: summary, Reasons: c.explain(), Status: status, Recheck: c.recheck,
		Warnings: c.warnings}
}

// readConstraints reads all constraints, and those that groups imply.
func (c *cluster) readConstraints() {
	for _, r := range c.resources {
		c.groupColocations(r)
		if r.kind == bundle {
			c.bundleColocations(r)
		}
	}
	cons := c.doc.Root.Child("configuration").Child("constraints")
	if cons == nil {
		return
	}
	for _, e := range cons.Children {
		switch e.Name {
		case "rsc_location":
			c.readLocation(e)
		case "rsc_colocation":
			c.readColocation(e)
		case "rsc_order":
			c.readOrdering(e)
		case "rsc_ticket":
			c.readTicketConstraint(e)
		}
	}
}
