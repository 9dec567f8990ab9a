package scheduler

import (
	"strconv"
	"time"

	"holdfast/internal/cluster/cib"
)

// node is a cluster node as the decision sees it.
type node struct {
	index    int
	id, name string
	online   bool
	standby  bool
	onFail   bool // standby because of a failure with on-fail=standby
	maint    bool
	unclean  bool
	reason   string // why it must be fenced
	shutdown bool
	pending  bool
	seen     bool // the status section knows it
	noProbe  bool // resource discovery is disabled on it
	attrs    map[string]string
	state    *cib.Element
	xml      *cib.Element // its <node>, nil when only the status section knows it
	room     amounts      // what it has left to offer
	// loadStopped is the point at which what leaves the node has left; nil until asked for
	loadStopped *action
	dc          bool
	clusterName string // cluster-name, which rules may ask for
	base        int    // the score every resource has on it to begin with
	// Pacemaker Remote
	remote        bool      // reached by a connection, not a member
	connection    *resource // that connection, nil when there is none any more
	requiresReset bool      // a guest whose container must be restarted
	wasFenced     bool
	late          bool // not known from the beginning (an orphaned connection, a bundle's container): no place for anything
	inside        bool // in a container of a bundle, and so the place of one instance only
	historyRead   bool
	assigned      int // resources assigned to it in this decision
	running       []*resource
}

// usable tells whether resources may run on the node.
func (n *node) usable() bool {
	return n != nil && n.online && !n.pending && !n.shutdown && !n.unclean && !n.standby && !n.maint
}

// attr reads a node attribute; #uname, #id and #kind are built in.
func (n *node) attr(name string) (string, bool) {
	switch name {
	case "", "#uname":
		return n.name, true
	case "#is_dc":
		return strconv.FormatBool(n.dc), true
	case "#id":
		return n.id, true
	case "#kind":
		return n.kind(), true
	case "#site-name":
		if site, ok := n.attrs["site-name"]; ok {
			return site, true
		}
		return n.clusterName, n.clusterName != ""
	case "#cluster-name":
		return n.clusterName, n.clusterName != ""
	}
	v, ok := n.attrs[name]
	return v, ok
}

// discovery says whether a resource is probed on a node.
type discovery int

const (
	discoverAlways discovery = iota
	discoverNever
	discoverExclusive
)

// weight is a resource's score on a node; present is false where the node is no candidate at all.
type weight struct {
	present  bool
	score    int
	discover discovery
}

// weights are a resource's scores, by node.index.
type weights []weight

func (w weights) clone() weights { return append(weights(nil), w...) }

// get returns the score and whether the node is a candidate.
func (w weights) get(n *node) (int, bool) {
	if n == nil || n.index >= len(w) {
		return 0, false
	}
	return w[n.index].score, w[n.index].present
}

func (w weights) add(n *node, score int) {
	c := &w[n.index]
	if !c.present {
		*c = weight{present: true, score: n.base}
	}
	c.score = addScores(c.score, score)
}

func (w weights) set(n *node, score int) {
	w[n.index].present = true
	w[n.index].score = score
}

// anyUsable tells whether some node is usable and not ruled out.
func (c *cluster) anyUsable(w weights) bool {
	for i, n := range c.nodes {
		if w[i].present && w[i].score >= 0 && n.usable() {
			return true
		}
	}
	return false
}

const infinity = cib.Infinity

// addScores adds with infinity as the limit; minus infinity wins over infinity.
func addScores(a, b int) int {
	if a <= -infinity || b <= -infinity {
		return -infinity
	}
	if a >= infinity || b >= infinity {
		return infinity
	}
	return max(-infinity, min(a+b, infinity))
}

// Kinds of resource as the decision sees them.
type kind int

const (
	primitive kind = iota
	group
	clone
	bundle
)

// requirement is what must hold before a resource may start.
type requirement int

const (
	needNothing requirement = iota
	needQuorum
	needFencing
)

// multiActive is what to do with a resource found active on several nodes.
type multiActive int

const (
	stopStart multiActive = iota
	stopOnly
	blockAll
	stopUnexpected
)

// resource is a primitive, a group, a clone or a bundle. A clone's children are its instances, a bundle's all that it implies.
type resource struct {
	id    string
	kind  kind
	xml   *cib.Element
	order int // position in the tree, for stable sorting

	parent   *resource
	children []*resource

	class, provider, typ string
	// historyName is the name history knows an instance by; "" until history is found.
	historyName string

	meta   map[string]string
	params map[nodeKey]map[string]string // parameters by node, filled on demand
	ops    []*opConfig

	// Configuration.
	priority     int
	stickiness   int
	threshold    int
	failTimeout  time.Duration
	managed      bool
	maintenance  bool
	notify       bool
	unique       bool
	promotable   bool
	interleave   bool
	ordered      bool
	critical     bool
	takes        amounts       // what it needs of its node
	connects     *node         // the remote node this is the connection to
	container    *resource     // what it runs inside of
	fillers      []*resource   // what runs inside of it
	adrift       bool          // an orphaned connection to a guest node
	nested       bool          // a connection into a bundle, whose containers may be on remote nodes
	parts        *bundleParts  // of a bundle
	replica      *replica      // of a bundle, whose container, address, connection or instance it is
	reconnect    time.Duration // reconnect_interval of a connection
	orphan       bool
	requires     requirement
	multi        multiActive
	max, nodeMax int // clone-max, clone-node-max
	promotedMax  int
	promotedNode int // promoted-node-max
	cloneMin     int

	// Read from the history.
	role           Role
	runningOn      []*node
	knownOn        []bool
	failed         bool
	failedStop     bool // a failure that is mended by a stop
	failureIgnored bool
	blocked        bool
	startPending   bool
	barred         map[*node]string // the failed operation that rules a node out, in words
	lockNode       *node            // it is kept for this node, which was shut down with it
	lockedAt       time.Time
	allowMigrate   bool    // it may be migrated live
	migratingFrom  *node   // a live migration has begun here
	migratingTo    *node   // and is to end here
	dangling       []*node // migrated away from, but not stopped there
	recovering     bool    // a migration that had begun cannot go on
	reloading      bool    // its agent is told of new parameters
	pendingTask    string
	pendingNode    *node

	// Decided.
	nextRole           Role
	weights            weights
	exclusive          bool // discovered only on listed nodes
	locations          []*location
	thisWith, withThis []*colocation
	tickets            []*ticketNeed
	assigned           *node
	provisional        bool
	assigning          bool
	merging            bool
	restarting         bool
	stopUnexpected     bool // it is active where it should not be, and stopped there only
	scoresAdded        bool
	colocatedScores    map[int]int // by node.index, what colocated resources think of it
	assignedScore      int
	counts             []int // instances by node, of a clone
	sortIndex          int
	actions            []*action
	actionIndex        map[actionID][]*action
	notes              *cloneNotes
}

type nodeKey int

// top is the outermost resource r is part of.
func (r *resource) top() *resource {
	for r.parent != nil {
		r = r.parent
	}
	return r
}

// cloneOf is the clone r is an instance of (or a member of an instance), or nil.
func (r *resource) cloneOf() *resource {
	for p := r.parent; p != nil; p = p.parent {
		if p.kind == clone {
			return p
		}
	}
	return nil
}

// collection is the clone that r is, or is part of, or else the outermost resource it is part of.
func (r *resource) collection() *resource {
	if r.kind == clone {
		return r
	}
	if cl := r.cloneOf(); cl != nil {
		return cl
	}
	return r.top()
}

// isAnonymous tells whether r is part of a clone whose instances are interchangeable.
func (r *resource) isAnonymous() bool {
	c := r.cloneOf()
	return c != nil && !c.unique
}

// instances are the parts of a clone or bundle that do a task one by one: a clone's instances; a bundle's containers, or what
// runs inside of them if the task is about roles.
func (r *resource) instances(task string) []*resource {
	if r.kind != bundle {
		return r.children
	}
	switch task {
	case "promote", "demote":
		return r.parts.inside()
	}
	return r.containers()
}

// isPromotable tells whether r is, or is part of, a promotable clone, or is a bundle with one.
func (r *resource) isPromotable() bool {
	if r.kind == bundle {
		return r.parts.clone != nil && r.parts.clone.promotable
	}
	return r.collection().promotable
}

// first and last members of a group.
func (r *resource) firstMember() *resource { return r.children[0] }
func (r *resource) lastMember() *resource  { return r.children[len(r.children)-1] }

// leaves calls f for each primitive at or below r.
func (r *resource) leaves(f func(*resource)) {
	switch r.kind {
	case primitive:
		f(r)
		return
	case bundle:
		for _, p := range r.parts.replicas {
			for _, x := range p.parts() {
				f(x)
			}
		}
		return
	}
	for _, c := range r.children {
		c.leaves(f)
	}
}

// all calls f for r and everything below it, parents first.
func (r *resource) all(f func(*resource)) {
	f(r)
	for _, c := range r.children {
		c.all(f)
	}
}

// curNode is the first node the resource is active on, or nil. Nodes that are up come before others.
func (r *resource) curNode() *node {
	for _, n := range r.runningOn {
		if n.online && !n.unclean {
			return n
		}
	}
	if len(r.runningOn) > 0 {
		return r.runningOn[0]
	}
	return nil
}

// where lists the nodes a resource is active on (current) or assigned to.
func (r *resource) where(current bool) []*node {
	if r.kind == primitive {
		if current {
			return r.runningOn
		}
		if r.assigned != nil {
			return []*node{r.assigned}
		}
		return nil
	}
	var out []*node
	for _, c := range r.children {
		for _, n := range c.where(current) {
			if !containsNode(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// location is the node a resource is active on or assigned to, if it is exactly one.
func (r *resource) location(current bool) *node {
	if l := r.where(current); len(l) == 1 {
		return l[0]
	}
	return nil
}

// state is the highest role among the primitives of r, now (current) or after the transition.
func (r *resource) state(current bool) Role {
	if r.kind == primitive {
		if current {
			return r.role
		}
		return r.nextRole
	}
	role := RoleUnknown
	for _, c := range r.children {
		role = max(role, c.state(current))
	}
	return role
}

// active tells whether the resource runs anywhere; all demands that of every child.
func (r *resource) active(all bool) bool {
	if r.kind == primitive {
		for _, n := range r.runningOn {
			if n.unclean || n.online || !r.managed {
				return true
			}
		}
		return false
	}
	any := false
	for _, c := range r.children {
		a := c.active(all)
		if all && !a {
			return false
		}
		any = any || a
	}
	return any
}

func containsNode(list []*node, n *node) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

// opConfig is one configured operation.
type opConfig struct {
	name     string
	interval time.Duration
	role     string // as written, "" when missing
	disabled bool
	xml      *cib.Element
}

// cluster is one decision in the making.
type cluster struct {
	in     Input
	doc    *cib.Document
	conf   config
	now    time.Time
	quorum bool

	nodes      []*node // by natural order of names
	nodeByID   map[string]*node
	nodeByName map[string]*node

	resources []*resource
	byID      map[string]*resource
	templates map[string]*cib.Element
	tags      map[string][]string
	tickets   map[string]ticketState
	sets      map[string]*cib.Element // nvpair sets by id, for id-ref
	forbid    map[forbidKey]string

	locations   []*location
	colocations []*colocation
	orderings   []*ordering
	actions     []*action
	failures    []FailedOp
	recheck     time.Time
	scores      []Score
	usage       []Utilization
	warnings    []string
	fences      []*action
	nextOrder   int
	stopNeeded  []*resource // containers to stop, found while reading histories
	checkLater  []func()    // what can only be checked when all resources have their nodes
	// resource and op defaults
	rscDefaults, opDefaults *cib.Element
}

type forbidKey struct{ resource, node string }

// recheckAt notes that the decision may change at t.
func (c *cluster) recheckAt(t time.Time) {
	if t.After(c.now) && (c.recheck.IsZero() || t.Before(c.recheck)) {
		c.recheck = t
	}
}
