package scheduler

import (
	"strconv"

	"holdfast/internal/cluster/cib"
)

// Bundles: a bundle runs replicas of a container, each with what it implies: an address, if the bundle has a range of them,
// and, if there is a primitive to run inside, the connection to a guest node in the container and an instance of that
// primitive there. The instances make up a clone, which is promotable if the bundle says so. What is asked of a bundle by
// constraints is asked of its containers. (Pacemaker Explained, "Bundles: Containerized Resources".)

// bundleParts are what a bundle consists of.
type bundleParts struct {
	spec     *bundleSpec
	replicas []*replica
	clone    *resource // of the primitive inside; nil without one
}

// replica is one container of a bundle, with all that belongs to it. address, connection and instance may be missing.
type replica struct {
	number                         int
	ip                             string
	bundle                         *resource
	address, container, connection *resource
	instance                       *resource
	guest                          *node
}

// inside are the instances in the containers, by number.
func (b *bundleParts) inside() []*resource {
	var out []*resource
	for _, p := range b.replicas {
		if p.instance != nil {
			out = append(out, p.instance)
		}
	}
	return out
}

// parts are the replica's resources in the order in which they are told of.
func (p *replica) parts() []*resource {
	var out []*resource
	for _, r := range []*resource{p.address, p.container, p.connection, p.instance} {
		if r != nil {
			out = append(out, r)
		}
	}
	return out
}

// bundled tells whether a resource is part of a bundle.
func (r *resource) bundled() bool { return r.top().kind == bundle && r.kind != bundle }

// inBundle is the bundle that r is, or is part of; nil if there is none.
func (r *resource) inBundle() *resource {
	if t := r.top(); t.kind == bundle {
		return t
	}
	return nil
}

// followsHost tells whether a connection's address is that of the node its container is on.
func (r *resource) followsHost() bool { return r.nested && r.replica.ip == "" }

// resolveHost puts the name of the node that has the container, or will have it, in place of hostOfContainer.
func (p *replica) resolveHost(params map[string]string) {
	if params["addr"] != hostOfContainer {
		return
	}
	host := p.container.assigned
	if host == nil {
		host = p.container.curNode()
	}
	if host != nil {
		params["addr"] = host.name
	}
}

// agentAttributes are the attributes that a resource's agent set for n: with container-attribute-target=host, and inside of a
// container, those of the node the container is on. Without one there are none.
func agentAttributes(r *resource, n *node) map[string]string {
	if !n.isGuest() || r.meta["container-attribute-target"] != "host" {
		return n.attrs
	}
	if host := n.connection.container.curNode(); host != nil {
		return host.attrs
	}
	return nil
}

// addBundleGuests adds the nodes that the containers of bundles will be. A name that has a node already keeps it.
func (c *cluster) addBundleGuests() {
	for _, e := range c.doc.Root.Child("configuration").Child("resources").ChildrenNamed("bundle") {
		spec, problem := readBundleSpec(e)
		if problem != "" || spec.primitive == nil {
			continue
		}
		for i := range spec.replicas {
			known := c.nodeByName[spec.name(i)] != nil
			if n := c.addRemoteNode(spec.name(i)); n != nil && !known {
				n.late = true
			}
		}
	}
}

// readBundle makes what a bundle implies, replica by replica.
func (c *cluster) readBundle(b *resource) bool {
	spec, problem := readBundleSpec(b.xml)
	if problem != "" {
		c.warn("bundle " + b.id + " is left alone: " + problem)
		return false
	}
	b.parts = &bundleParts{spec: spec}
	b.max, b.nodeMax, b.unique = spec.replicas, spec.perHost, spec.perHost > 1
	b.counts = make([]int, len(c.nodes))
	if spec.primitive != nil {
		b.parts.clone = c.newResource(spec.cloneXML(), b, "")
		if b.parts.clone == nil {
			return false
		}
	}
	ips := spec.addresses()
	for i := range spec.replicas {
		c.readReplica(b, &replica{number: i, ip: ips[i], bundle: b}, ips)
	}
	if cl := b.parts.clone; cl != nil {
		b.children = append(b.children, cl)
	}
	return true
}

func (c *cluster) readReplica(b *resource, p *replica, ips []string) {
	spec := b.parts.spec
	add := func(x *cib.Element) *resource {
		r := c.newResource(x, b, "")
		r.replica = p
		b.children = append(b.children, r)
		return r
	}
	if p.ip != "" {
		p.address = add(spec.addressXML(p.ip))
	}
	p.container = add(spec.containerXML(p.number, ips))
	if cl := b.parts.clone; cl != nil {
		p.guest = c.nodeByName[spec.name(p.number)]
		c.bearGuest(p.guest, b)
		p.connection = add(spec.connectionXML(p.number, p.ip))
		p.connection.nested = true
		p.instance = cl.children[p.number]
		p.instance.replica = p
		p.instance.weights = make(weights, len(c.nodes))
		p.instance.weights.set(p.guest, instanceScore)
		cl.weights.set(p.guest, -infinity)
	}
	b.parts.replicas = append(b.parts.replicas, p)
}

// instanceScore is how much an instance likes the guest node in its container, the only one it may be on.
const instanceScore = 500

// bearGuest makes the guest node of a bundle b known: from here on it counts as a node, though no other resource's place.
func (c *cluster) bearGuest(n *node, b *resource) {
	for _, r := range c.resources {
		r.all(func(x *resource) {
			if x.weights[n.index].present {
				x.weights[n.index] = weight{present: true, score: -infinity, discover: discoverNever}
			}
		})
	}
	b.weights[n.index].present = false
	n.late, n.inside = false, true
}

// bundleSpec is what a <bundle> asks for.
type bundleSpec struct {
	id           string
	technology   string // docker, podman or rkt: the name of the element and of the agent
	image        string
	runCommand   string
	options      string
	network      string // the container's network; "" for the technology's default
	replicas     int
	perHost      int
	promotedMax  int
	firstIP      string // "" when the containers have no addresses of their own
	netmask, nic string
	addHost      bool
	controlPort  string
	ports        []portMapping
	mounts       []mount
	primitive    *cib.Element
}

type portMapping struct{ host, inside string }

// mount maps a directory of the host into the container; own means that each replica has one of its own, below source.
type mount struct {
	source, target, options string
	own                     bool
}

// defaultControlPort is Pacemaker Remote's.
const defaultControlPort = "3121"

// readBundleSpec reads a <bundle>, with Pacemaker's defaults; problem says why it cannot be used.
func readBundleSpec(e *cib.Element) (spec *bundleSpec, problem string) {
	s := &bundleSpec{id: e.ID(), primitive: e.Child("primitive"), controlPort: defaultControlPort}
	var box *cib.Element
	for _, name := range []string{"docker", "podman", "rkt"} {
		if x := e.Child(name); x != nil && box == nil {
			s.technology, box = name, x
		}
	}
	if box == nil {
		return nil, "it has neither <docker> nor <podman> nor <rkt>"
	}
	s.image, s.runCommand, s.options, s.network = box.Get("image"), box.Get("run-command"), box.Get("options"), box.Get("network")
	s.promotedMax = max(0, intOr(defaultTo(box.Get("promoted-max"), box.Get("masters")), 0))
	s.replicas = intOr(box.Get("replicas"), max(1, s.promotedMax))
	s.perHost = max(1, intOr(box.Get("replicas-per-host"), 1))
	s.replicas = max(1, s.replicas)
	if s.replicas > cib.MaxInstances {
		return nil, "more than " + strconv.Itoa(cib.MaxInstances) + " replicas"
	}
	net := e.Child("network")
	s.readNetwork(net)
	s.readStorage(e.Child("storage"))
	if s.primitive == nil {
		return s, ""
	}
	if s.firstIP == "" && net.Get("control-port") == "" {
		return nil, "the primitive in it cannot be reached: <network> needs control-port or ip-range-start"
	}
	if s.runCommand == "" {
		s.runCommand = "/usr/sbin/pacemaker-remoted"
	}
	s.mounts = append(s.mounts,
		mount{source: "/etc/pacemaker/authkey", target: "/etc/pacemaker/authkey"},
		mount{source: "/var/log/pacemaker/bundles", target: "/var/log", own: true})
	s.ports = append(s.ports, portMapping{s.controlPort, s.controlPort})
	return s, ""
}

func (s *bundleSpec) readNetwork(net *cib.Element) {
	s.firstIP, s.nic = net.Get("ip-range-start"), net.Get("host-interface")
	s.netmask = defaultTo(net.Get("host-netmask"), "32")
	s.controlPort = defaultTo(net.Get("control-port"), s.controlPort)
	s.addHost = boolOr(net.Get("add-host"), true)
	for _, m := range net.ChildrenNamed("port-mapping") {
		port := defaultTo(m.Get("port"), m.Get("range"))
		s.ports = append(s.ports, portMapping{port, defaultTo(m.Get("internal-port"), port)})
	}
}

func (s *bundleSpec) readStorage(storage *cib.Element) {
	for _, m := range storage.ChildrenNamed("storage-mapping") {
		x := mount{source: m.Get("source-dir"), target: m.Get("target-dir"), options: m.Get("options")}
		if x.source == "" {
			x.source, x.own = m.Get("source-dir-root"), true
		}
		s.mounts = append(s.mounts, x)
	}
}

// name is that of a replica, of its guest node and of the connection to it.
func (s *bundleSpec) name(number int) string { return s.id + "-" + strconv.Itoa(number) }
