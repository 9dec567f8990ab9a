package scheduler

import (
	"cmp"
	"slices"
	"strconv"

	"holdfast/internal/cluster/cib"
)

// readResources builds the resource tree, with one child of a clone for each instance it may have.
func (c *cluster) readResources() {
	conf := c.doc.Root.Child("configuration")
	c.byID = map[string]*resource{}
	c.templates = map[string]*cib.Element{}
	c.rscDefaults, c.opDefaults = conf.Child("rsc_defaults"), conf.Child("op_defaults")
	c.indexSets(conf)
	for _, t := range conf.Child("resources").ChildrenNamed("template") {
		c.templates[t.ID()] = t
	}
	for _, e := range resourceElements(conf.Child("resources")) {
		if r := c.newResource(e, nil, ""); r != nil {
			c.resources = append(c.resources, r)
		}
	}
	c.addGuestConnections()
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			c.conf.haveDevice = c.conf.haveDevice || p.class == "stonith"
			c.conf.unfencing = c.conf.unfencing || p.class == "stonith" && p.meta["provides"] == "unfencing"
		})
	}
	c.conf.haveDevice = c.conf.haveDevice || c.conf.haveWatchdog
	slices.SortStableFunc(c.resources, func(a, b *resource) int { return cmp.Compare(b.priority, a.priority) })
	c.readTags(conf.Child("tags"))
	c.linkRemotes()
}

// indexSets notes the elements that an id-ref may name.
func (c *cluster) indexSets(e *cib.Element) {
	if c.sets == nil {
		c.sets = map[string]*cib.Element{}
	}
	if e == nil {
		return
	}
	for _, k := range e.Children {
		switch k.Name {
		case "meta_attributes", "instance_attributes", "nvpair", "rule", "operations", "cluster_property_set", "utilization":
			if id := k.ID(); id != "" {
				c.sets[id] = k
			}
		}
		c.indexSets(k)
	}
}

func (c *cluster) readTags(tags *cib.Element) {
	c.tags = map[string][]string{}
	for _, t := range tags.ChildrenNamed("tag") {
		for _, ref := range t.ChildrenNamed("obj_ref") {
			c.tags[t.ID()] = append(c.tags[t.ID()], ref.ID())
		}
	}
}

func resourceElements(parent *cib.Element) []*cib.Element {
	var out []*cib.Element
	if parent == nil {
		return nil
	}
	for _, e := range parent.Children {
		if cib.IsResource(e) {
			out = append(out, e)
		}
	}
	return out
}

// newResource builds a resource and everything below it. suffix is ":N" inside the instance N of a clone.
func (c *cluster) newResource(e *cib.Element, parent *resource, suffix string) *resource {
	r := &resource{id: e.ID() + suffix, xml: e, parent: parent, order: c.nextOrder, provisional: true, role: RoleStopped}
	c.nextOrder++
	switch e.Name {
	case "group":
		r.kind = group
	case "clone", "master":
		r.kind = clone
	case "bundle":
		r.kind = bundle
	}
	c.readMeta(r)
	c.readAgent(r)
	c.readFlags(r)
	c.readUtilization(r)
	r.nextRole = c.targetRole(r)
	c.initialWeights(r)
	c.byID[r.id] = r
	if !c.readParts(r, suffix) {
		delete(c.byID, r.id) // constraints are to find nothing
		return nil
	}
	return r
}

// readParts reads what a resource consists of, the suffix being that of newResource; false: it cannot be used.
func (c *cluster) readParts(r *resource, suffix string) bool {
	switch r.kind {
	case group:
		for _, m := range resourceElements(r.xml) {
			if k := c.newResource(m, r, suffix); k != nil {
				r.children = append(r.children, k)
			}
		}
		if len(r.children) == 0 {
			c.warn("group " + r.id + " has no members")
			return false
		}
	case clone:
		return c.readClone(r)
	case bundle:
		return c.readBundle(r)
	}
	return true
}

// readMeta collects the meta attributes: own, template's, parents', defaults.
func (c *cluster) readMeta(r *resource) {
	r.meta = map[string]string{}
	tmpl := c.templates[r.xml.Get("template")]
	x := ruleContext{now: c.now, rsc: r, class: agentField(r.xml, tmpl, "class"),
		provider: agentField(r.xml, tmpl, "provider"), typ: agentField(r.xml, tmpl, "type")}
	for _, a := range r.xml.Attrs {
		switch a.Name {
		case "is_managed", "target_role", "globally_unique", "restart_type", "multiple_active", "start_prereq", "resource_stickiness":
			r.meta[a.Name] = a.Value
		}
	}
	c.nvPairs(r.meta, "meta_attributes", x, r.xml, tmpl)
	if r.parent != nil {
		for k, v := range r.parent.meta {
			if _, have := r.meta[k]; !have {
				r.meta[k] = v
			}
		}
	}
	c.nvPairs(r.meta, "meta_attributes", x, c.rscDefaults)
}

func agentField(e, tmpl *cib.Element, name string) string {
	if v, ok := e.Lookup(name); ok {
		return v
	}
	return tmpl.Get(name)
}

func (c *cluster) readAgent(r *resource) {
	if r.kind != primitive {
		return
	}
	tmpl := c.templates[r.xml.Get("template")]
	r.class, r.provider, r.typ = agentField(r.xml, tmpl, "class"), agentField(r.xml, tmpl, "provider"), agentField(r.xml, tmpl, "type")
	seen := map[string]bool{}
	for _, owner := range []*cib.Element{r.xml, tmpl} {
		for _, ops := range owner.ChildrenNamed("operations") {
			for _, op := range c.deref(ops).ChildrenNamed("op") {
				iv, err := cib.ParseInterval(op.Get("interval"))
				if err != nil {
					iv = 0
				}
				// A resource's own operation takes the place of its template's for the same role, whatever the interval.
				key := op.Get("name") + "/" + defaultTo(op.Get("role"), "Started")
				if owner == tmpl && seen[key] {
					continue
				}
				seen[key] = true
				r.ops = append(r.ops, &opConfig{name: op.Get("name"), interval: iv, role: op.Get("role"),
					disabled: !boolOr(op.Get("enabled"), true), xml: op})
			}
		}
	}
}

func (c *cluster) readFlags(r *resource) {
	m := r.meta
	r.priority = scoreOr(m["priority"], 0)
	r.stickiness = scoreOr(m["resource-stickiness"], 0)
	r.threshold = infinity
	if s, ok := m["migration-threshold"]; ok {
		if r.threshold = scoreOr(s, 0); r.threshold < 0 {
			r.threshold = infinity
		}
	}
	r.failTimeout = span(m["failure-timeout"], 0)
	r.managed = m["is-managed"] == "" || boolOr(m["is-managed"], false)
	r.notify = boolOr(m["notify"], false)
	r.allowMigrate = boolOr(m["allow-migrate"], false)
	r.critical = boolOr(m["critical"], true)
	r.interleave = boolOr(m["interleave"], false)
	r.ordered = boolOr(m["ordered"], false)
	if c.conf.maintenance || boolOr(m["maintenance"], false) {
		r.maintenance, r.managed = true, false
	}
	switch m["multiple-active"] {
	case "stop_only":
		r.multi = stopOnly
	case "block":
		r.multi = blockAll
	case "stop_unexpected":
		r.multi = stopUnexpected
	}
	r.requires = c.requirementOf(r)
}

func (c *cluster) requirementOf(r *resource) requirement {
	switch r.meta["requires"] {
	case "nothing":
		return needNothing
	case "quorum":
		return needQuorum
	case "fencing", "unfencing":
		if c.conf.stonith && r.class != "stonith" && !isConnection(r.class, r.provider, r.typ) {
			return needFencing
		}
		return needQuorum
	}
	switch {
	case r.class == "stonith", isConnection(r.class, r.provider, r.typ):
		return needQuorum
	case c.conf.stonith:
		return needFencing
	case c.conf.policy == quorumIgnore:
		return needNothing
	}
	return needQuorum
}

// targetRole reads target-role; RoleUnknown when it does not limit anything.
func (c *cluster) targetRole(r *resource) Role {
	role := parseRole(r.meta["target-role"])
	switch role {
	case RoleStarted:
		return RoleUnknown
	case RoleUnpromoted:
		if !r.isPromotable() {
			return RoleStopped
		}
	case RolePromoted:
		return RoleUnknown
	}
	return role
}

// initialWeights makes every node a candidate, with score 0, or none of them in an opt-in cluster (but for connections to guests).
func (c *cluster) initialWeights(r *resource) {
	r.knownOn = make([]bool, len(c.nodes))
	r.weights = make(weights, len(c.nodes))
	if c.conf.symmetric || r.followsGuest() {
		for i, n := range c.nodes {
			r.weights[i] = weight{present: !n.late && !n.inside, score: n.base}
		}
	}
}

// readClone reads a clone's own meta attributes and makes its instances.
func (c *cluster) readClone(r *resource) bool {
	m := r.meta
	inner := resourceElements(r.xml)
	if len(inner) != 1 {
		c.warn("clone " + r.id + " must hold exactly one resource")
		return false
	}
	r.unique = boolOr(m["globally-unique"], false)
	r.promotable = r.xml.Name == "master" || boolOr(m["promotable"], false)
	r.max = intOr(m["clone-max"], c.placesForInstances())
	if r.max > cib.MaxInstances {
		c.warn("clone " + r.id + ": clone-max " + m["clone-max"] + " is too large; acting as " + strconv.Itoa(cib.MaxInstances))
		r.max = cib.MaxInstances
	}
	r.nodeMax = intOr(m["clone-node-max"], 1)
	if r.nodeMax > 1 && !r.unique {
		c.warn("clone " + r.id + ": clone-node-max above 1 needs globally-unique=true; acting as 1")
		r.nodeMax = 1
	}
	r.promotedMax = intOr(firstOf(m, "promoted-max", "master-max"), 1)
	r.promotedNode = intOr(firstOf(m, "promoted-node-max", "master-node-max"), 1)
	r.cloneMin = intOr(m["clone-min"], 0)
	if _, given := m["resource-stickiness"]; !given {
		// Instances should not move about for nothing.
		m["resource-stickiness"] = "1"
		r.stickiness = 1
	}
	r.counts = make([]int, len(c.nodes))
	for i := range max(r.max, 1) {
		k := c.addInstance(r, i)
		if k == nil {
			return false
		}
		k.orphan = r.max == 0
	}
	return true
}

// placesForInstances is how many instances a clone has when nothing else is said: one for each node.
func (c *cluster) placesForInstances() int {
	count := 0
	for _, n := range c.nodes {
		if !n.late {
			count++
		}
	}
	return count
}

func firstOf(m map[string]string, names ...string) string {
	for _, n := range names {
		if v, ok := m[n]; ok {
			return v
		}
	}
	return ""
}

// addInstance makes the instance with that number.
func (c *cluster) addInstance(r *resource, number int) *resource {
	k := c.newResource(resourceElements(r.xml)[0], r, ":"+strconv.Itoa(number))
	if k == nil {
		return nil
	}
	r.children = append(r.children, k)
	k.all(func(x *resource) { x.unique, x.promotable = r.unique, r.promotable })
	return k
}
