package scheduler

// blockDependents keeps what must run with a resource that cannot start (or be promoted) from doing so.
func (c *cluster) blockDependents(a *action) {
	if a.runnable || a.rsc == nil || a.task != "start" && a.task != "promote" || a.interval > 0 {
		return
	}
	r := a.rsc.collection()
	if r.kind == group {
		// What is with a group goes where its last member would be, whether or not that can start.
		return
	}
	for _, k := range r.instances(a.task) {
		if x := k.firstAction(a.task, nil); x == nil || x.runnable {
			return
		}
	}
	for _, x := range r.withThis {
		if x.score < infinity {
			continue
		}
		if a.task == "start" && x.primaryRole <= RoleStarted || a.task == "promote" && x.primaryRole == RolePromoted {
			c.blockTask(x.dependent, x.dependentRole, a.rsc)
		}
	}
}

func (c *cluster) blockTask(r *resource, role Role, why *resource) {
	task := "start"
	if role == RolePromoted {
		task = "promote"
	}
	r.all(func(p *resource) {
		for _, a := range p.actionsOf(task) {
			if a.runnable {
				a.runnable = false
				a.setReason("colocation with " + why.id)
				c.blockDependents(a)
				c.update(a)
			}
		}
	})
}
