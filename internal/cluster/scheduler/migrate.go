package scheduler

// A live migration moves a resource without stopping it: migrate_to where it runs, migrate_from where it is to run, then a
// stop at the source. The start at the target becomes a mere point in the order. If any step cannot be done, it all
// becomes a stop and a start.

// canMigrate tells whether a resource may be migrated live from cur to where it has been assigned.
func (r *resource) canMigrate(cur *node) bool {
	return r.allowMigrate && r.managed && !r.failed && !r.startPending && cur != nil && !cur.unclean &&
		r.assigned != nil && !r.assigned.unclean
}

// continuesMigration tells whether a migration that has begun goes on to the node it began for; else it is forgotten.
func (r *resource) continuesMigration(cur *node, moving bool) bool {
	if r.migratingFrom == nil && r.migratingTo == nil {
		return false
	}
	if moving && r.canMigrate(cur) && len(r.runningOn) == 2 && cur == r.migratingFrom && r.assigned == r.migratingTo {
		return true
	}
	r.migratingFrom, r.migratingTo = nil, nil
	r.recovering = true
	return false
}

// planMigration plans the steps of a live migration from cur.
func (c *cluster) planMigration(r *resource, cur *node) {
	start, stop := c.start(r, r.assigned, true), c.stop(r, cur, true)
	from := c.action(r, "migrate_from", 0, r.assigned, true)
	meta := map[string]string{"migrate_source": cur.name, "migrate_target": r.assigned.name}
	from.meta, from.migratable = meta, true
	start.migratable, start.pseudo = true, true
	stop.migratable = true
	if r.migratingTo == nil {
		to := c.action(r, "migrate_to", 0, cur, true)
		to.meta = map[string]string{"record-pending": "true", "migrate_source": cur.name, "migrate_target": r.assigned.name}
		to.migratable, to.needs = true, start.needs
		c.orderTasks(r, "monitor", r, "migrate_to", orderPlain)
		c.orderTasks(r, "migrate_to", r, "migrate_from", orderPlain|migratableImpliesFirst)
	} else {
		from.needs = start.needs
		c.orderTasks(r, "monitor", r, "migrate_from", orderPlain)
	}
	c.orderTasks(r, "migrate_from", r, "stop", orderPlain|migratableImpliesFirst)
	c.orderTasks(r, "migrate_from", r, "start", orderPlain|migratableImpliesFirst|pseudoLeft)
}

// abortMigrations plans the stops at nodes that a resource has been migrated away from without being stopped there.
func (c *cluster) abortMigrations(r *resource) {
	for _, n := range r.dangling {
		c.stop(r, n, false).dangling = true
		if c.conf.removeAfterStop {
			c.planDelete(r, n, false)
		}
	}
}

// orderMigrations gives an ordering its equivalents for resources that may be migrated instead of stopped and started.
func (c *cluster) orderMigrations(o *ordering) {
	f, t := o.firstRsc, o.thenRsc
	if f == nil || t == nil || f == t || o.firstAction != nil || o.thenAction != nil || !f.allowMigrate && !t.allowMigrate ||
		isAncestor(f, t) || isAncestor(t, f) {
		return
	}
	both := orderPlain
	if f.allowMigrate {
		both |= onlyIfUnmigratable
	}
	switch {
	case o.firstTask == "start" && o.thenTask == "start":
		if f.allowMigrate && t.allowMigrate {
			c.addOrdering(&ordering{firstRsc: f, firstTask: "migrate_from", thenRsc: t, thenTask: "migrate_to", flags: orderPlain})
		}
		if t.allowMigrate {
			c.addOrdering(&ordering{firstRsc: f, firstTask: "start", thenRsc: t, thenTask: "migrate_to", flags: both})
		}
	case t.allowMigrate && o.firstTask == "stop" && o.thenTask == "stop":
		c.orderMigrationAfter(f, "stop", t, both)
	case t.allowMigrate && o.firstTask == "promote" && o.thenTask == "start":
		c.addOrdering(&ordering{firstRsc: f, firstTask: "promote", thenRsc: t, thenTask: "migrate_to", flags: orderPlain})
	case t.allowMigrate && o.firstTask == "demote" && o.thenTask == "stop":
		c.orderMigrationAfter(f, "demote", t, orderPlain)
	}
}

// orderMigrationAfter orders a migration after a task of another resource, also if it has already begun.
func (c *cluster) orderMigrationAfter(f *resource, task string, t *resource, flags order) {
	c.addOrdering(&ordering{firstRsc: f, firstTask: task, thenRsc: t, thenTask: "migrate_to", flags: flags})
	if t.migratingTo != nil {
		c.addOrdering(&ordering{firstRsc: f, firstTask: task, thenRsc: t, thenTask: "migrate_from", flags: flags})
	}
}
