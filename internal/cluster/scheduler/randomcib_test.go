package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
)

var randomNow = time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)

// randomCluster draws a cluster: nodes, resources of every kind with meta attributes and operations, constraints, a history
// that is its own steady state, and events on top.
type randomCluster struct {
	*rand.Rand
	t     testing.TB
	doc   *cib.Document
	nodes []string
	prims []string // primitives with an agent
	tops  []randomTop
	tied  map[string]bool // kinds of constraints and the pairs they are between
}

type randomTop struct {
	id         string
	promotable bool
	prims      []string
}

// randomCIB is the cluster of a seed.
func randomCIB(t testing.TB, seed uint64) *cib.Document {
	c := &randomCluster{Rand: rand.New(rand.NewPCG(seed, 0)), t: t, doc: cib.Empty("random"), tied: map[string]bool{}}
	c.doc.Root.Set("have-quorum", "1")
	c.properties()
	for i := range 2 + c.IntN(2) {
		id, name := strconv.Itoa(i+1), fmt.Sprintf("node%d", i+1)
		c.nodes = append(c.nodes, name)
		c.doc.AddNode(id, name)
		c.doc.SetNodeState(cib.OnlineState(id, name))
	}
	for i := range 1 + c.IntN(5) {
		c.top(i)
	}
	for i := range c.IntN(5) {
		c.constraint(i)
	}
	c.scores()
	if !c.chance(15) {
		c.doc = simulate.Run(c.input()).After
		for range c.IntN(4) {
			c.event()
		}
	}
	return c.doc
}

func (c *randomCluster) input() scheduler.Input { return randomInput(c.doc) }

func randomInput(doc *cib.Document) scheduler.Input {
	return scheduler.Input{CIB: doc, Now: randomNow, Quorate: doc.Root.Get("have-quorum") == "1"}
}

// chance is true in so many of a hundred cases.
func (c *randomCluster) chance(percent int) bool { return c.IntN(100) < percent }

func (c *randomCluster) pick(words ...string) string { return words[c.IntN(len(words))] }

// some sets in so many of a hundred cases each of the options, a name and the values to draw from.
func (c *randomCluster) some(percent int, set func(name, value string), options ...string) {
	for _, o := range options {
		words := strings.Fields(o)
		v := c.pick(words[1:]...)
		if c.chance(percent) {
			set(words[0], v)
		}
	}
}

func (c *randomCluster) node() string { return c.nodes[c.IntN(len(c.nodes))] }

func (c *randomCluster) properties() {
	c.doc.SetProperty("stonith-enabled", strconv.FormatBool(c.chance(50)))
	c.some(40, c.doc.SetProperty, "no-quorum-policy stop ignore freeze demote", "symmetric-cluster true true false",
		"start-failure-is-fatal true false", "startup-fencing true true false", "concurrent-fencing true false")
}

// top adds a primitive, a group, a clone, a promotable clone or a cloned group.
func (c *randomCluster) top(i int) {
	kind := c.pick("primitive", "primitive", "primitive", "group", "group", "clone", "promotable", "clonegroup")
	top := randomTop{id: fmt.Sprintf("r%d", i), promotable: kind == "promotable"}
	parent := c.doc.Resources()
	if kind != "primitive" {
		top.id = fmt.Sprintf("%s%d", kind, i)
		name := "clone"
		if kind == "group" {
			name = "group"
		}
		parent = parent.Append(cib.NewElement(name, "id", top.id))
	}
	if kind == "clone" || kind == "promotable" || kind == "clonegroup" {
		c.cloneMeta(parent, top)
	}
	if kind == "clonegroup" {
		parent = parent.Append(cib.NewElement("group", "id", fmt.Sprintf("g%d", i)))
	}
	count := 1
	if kind == "group" || kind == "clonegroup" {
		count = 2 + c.IntN(2)
	}
	for j := range count {
		id := fmt.Sprintf("r%d", i)
		if count > 1 {
			id = fmt.Sprintf("r%d-%d", i, j)
		}
		c.primitive(parent, id, top.promotable)
		top.prims = append(top.prims, id)
	}
	c.tops = append(c.tops, top)
	c.prims = append(c.prims, top.prims...)
}

func (c *randomCluster) cloneMeta(e *cib.Element, top randomTop) {
	meta := func(percent int, name string, values ...string) {
		v := c.pick(values...)
		if c.chance(percent) {
			cib.SetMeta(e, name, v)
		}
	}
	meta(50, "interleave", "true")
	meta(20, "ordered", "true")
	meta(30, "clone-max", "1", "2")
	meta(30, "notify", "true")
	if top.promotable {
		cib.SetMeta(e, "promotable", "true")
		meta(20, "promoted-max", "2")
		meta(10, "target-role", "Unpromoted")
	}
}

func (c *randomCluster) primitive(parent *cib.Element, id string, stateful bool) {
	agent := "Dummy"
	if stateful {
		agent = "Stateful"
	}
	p := parent.Append(cib.NewElement("primitive", "id", id, "class", "ocf", "provider", "pacemaker", "type", agent))
	ops := p.Append(cib.NewElement("operations"))
	op := func(name, interval string, attrs ...string) {
		ops.Append(cib.NewElement("op", append([]string{"id", id + "-" + name + "-" + interval, "name", name, "interval", interval}, attrs...)...))
	}
	switch {
	case stateful:
		op("monitor", "10s", "role", "Promoted")
		op("monitor", "11s", "role", "Unpromoted")
	case c.chance(85):
		op("monitor", "10s", "on-fail", c.pick("restart", "restart", "restart", "block", "ignore", "stop", "standby"))
	}
	if c.chance(10) {
		op("stop", "0s", "on-fail", c.pick("block", "ignore"))
	}
	c.some(8, func(name, value string) { cib.SetMeta(p, name, value) }, "target-role Stopped", "is-managed false", "priority 1 10",
		"migration-threshold 1 2", "resource-stickiness 0 100 INFINITY", "multiple-active stop_only block")
}

func (c *randomCluster) constraint(i int) {
	id := fmt.Sprintf("c%d", i)
	x, y := c.IntN(len(c.tops)), c.IntN(len(c.tops))
	a, b := c.tops[min(x, y)], c.tops[max(x, y)]
	score := c.pick("INFINITY", "INFINITY", "-INFINITY", "100", "-100", "1")
	kind := c.IntN(3)
	pair := fmt.Sprint(kind, a.id, b.id)
	if x != y && kind != 0 && c.tied[pair] {
		return // two that contradict each other count in the order of the CIB, as with Pacemaker
	}
	c.tied[pair] = true
	switch {
	case kind == 0 || x == y:
		c.doc.Constraints().Append(cib.NewElement("rsc_location", "id", id, "rsc", a.id, "node", c.node(), "score", score))
	case kind == 1:
		e := cib.NewElement("rsc_colocation", "id", id, "rsc", b.id, "with-rsc", a.id, "score", score)
		if a.promotable && c.chance(70) {
			e.Set("with-rsc-role", "Promoted")
		}
		c.doc.Constraints().Append(e)
	default:
		e := cib.NewElement("rsc_order", "id", id, "first", a.id, "then", b.id, "kind", c.pick("Mandatory", "Mandatory", "Optional"))
		if a.promotable && c.chance(60) {
			e.Set("first-action", "promote")
			e.Set("then-action", "start")
		}
		c.doc.Constraints().Append(e)
	}
}

// scores gives promotable resources a promotion score on most nodes.
func (c *randomCluster) scores() {
	for _, top := range c.tops {
		for _, n := range c.nodes {
			if top.promotable && c.chance(85) {
				c.doc.SetTransientAttribute(n, cib.PromotionScoreName(top.prims[0]), c.pick("5", "10", "10", "1000"))
			}
		}
	}
}

// event changes the cluster as life does.
func (c *randomCluster) event() {
	rsc := c.prims[c.IntN(len(c.prims))]
	var e simulate.Events
	switch c.IntN(11) {
	case 0, 1:
		e.Inject = []simulate.OpSpec{{Resource: rsc, Task: "monitor", Interval: 10 * time.Second, Node: c.node(), RC: 1 + 6*c.IntN(2)}}
	case 2:
		e.Inject = []simulate.OpSpec{{Resource: rsc, Task: c.pick("start", "stop"), Node: c.node(), RC: 1}}
	case 3:
		e.Fail = []string{c.node()}
	case 4:
		e.Down = []string{c.node()}
	case 5:
		e.Quorum = "0"
	case 6:
		c.doc.SetNodeAttribute(c.node(), c.pick("standby", "maintenance"), "true")
	case 7:
		c.doc.SetTransientAttribute(c.node(), "shutdown", strconv.FormatInt(randomNow.Unix(), 10))
	case 8:
		cib.SetMeta(c.doc.Resource(c.tops[c.IntN(len(c.tops))].id), "target-role", "Stopped")
	case 10:
		cib.SetMeta(c.doc.Resource(c.tops[c.IntN(len(c.tops))].id), "is-managed", "false")
	case 9:
		c.scores()
	}
	if _, _, err := e.Apply(c.doc, randomNow.Add(-time.Minute)); err != nil {
		c.t.Logf("an event that does not fit: %v", err)
	}
}
