package scheduler

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"holdfast/internal/cluster/cib"
)

// The resources that a bundle implies, as they would stand in the CIB.

// addresses are those of the replicas, one after the other from ip-range-start on; "" where there is none. The last octet goes
// from 1 to 254. There are no ranges of IPv6 addresses: only the first replica has one.
func (s *bundleSpec) addresses() []string {
	out := make([]string, s.replicas)
	next := s.firstIP
	for i := range out {
		out[i] = next
		next = addressAfter(next)
	}
	return out
}

func addressAfter(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || !addr.Is4() {
		return ""
	}
	b := addr.As4()
	for i := 3; i >= 0; i-- {
		if b[i] < 254 {
			b[i]++
			return netip.AddrFrom4(b).String()
		}
		b[i] = 1
	}
	return ""
}

func (s *bundleSpec) primitiveXML(id, provider, agent string, params ...string) *cib.Element {
	x := cib.NewElement("primitive", "id", id, "class", "ocf", "provider", provider, "type", agent)
	set := x.Append(cib.NewElement("instance_attributes", "id", id+"-attributes"))
	appendPairs(set, params...)
	return x
}

// appendPairs adds names and values to a set, empty values left out.
func appendPairs(set *cib.Element, pairs ...string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		set.Append(cib.NewElement("nvpair", "id", set.ID()+"-"+pairs[i], "name", pairs[i], "value", pairs[i+1]))
	}
}

func addMonitor(x *cib.Element, attrs ...string) {
	attrs = append([]string{"id", x.ID() + "-monitor-" + attrs[1], "name", "monitor"}, attrs...)
	x.Append(cib.NewElement("operations")).Append(cib.NewElement("op", attrs...))
}

// defaultBundleMonitor is how often a container and its address are checked.
const defaultBundleMonitor = "60s"

func (s *bundleSpec) addressXML(ip string) *cib.Element {
	params := []string{"ip", ip}
	if s.nic != "" {
		params = append(params, "nic", s.nic)
	}
	params = append(params, "cidr_netmask", s.netmask)
	x := s.primitiveXML(s.id+"-ip-"+strings.ReplaceAll(ip, ":", "."), "heartbeat", "IPaddr2", params...)
	addMonitor(x, "interval", defaultBundleMonitor)
	return x
}

func (s *bundleSpec) connectionXML(number int, ip string) *cib.Element {
	x := s.primitiveXML(s.name(number), "pacemaker", "remote", "addr", defaultTo(ip, hostOfContainer), "port", s.controlPort)
	meta := x.Append(cib.NewElement("meta_attributes", "id", x.ID()+"-meta_attributes"))
	appendPairs(meta, "internal-rsc", "true", "container", s.containerID(number))
	addMonitor(x, "interval", defaultRemoteMonitor, "timeout", "30s")
	return x
}

// hostOfContainer stands for the name of the node the container is on.
const hostOfContainer = "#uname"

// cloneXML is the clone of the primitive inside. The primitive's meta attributes count for it, but those the bundle sets.
func (s *bundleSpec) cloneXML() *cib.Element {
	id := s.id + "-clone"
	if s.promotedMax > 0 {
		id = s.id + "-master"
	}
	x := cib.NewElement("clone", "id", id)
	meta := x.Append(cib.NewElement("meta_attributes", "id", id+"-meta_attributes", "score", "INFINITY"))
	appendPairs(meta, "ordered", "true", "clone-max", strconv.Itoa(s.replicas), "clone-node-max", strconv.Itoa(s.perHost),
		"globally-unique", strconv.FormatBool(s.perHost > 1))
	if s.promotedMax > 0 {
		appendPairs(meta, "promotable", "true", "promoted-max", strconv.Itoa(s.promotedMax))
	}
	for _, set := range s.primitive.ChildrenNamed("meta_attributes") {
		x.Append(set)
	}
	x.Append(s.primitive)
	return x
}

func (s *bundleSpec) containerID(number int) string {
	return s.id + "-" + s.technology + "-" + strconv.Itoa(number)
}

func (s *bundleSpec) containerXML(number int, ips []string) *cib.Element {
	params := []string{"image", s.image, "allow_pull", "true", "force_kill", "false", "reuse", "false",
		"run_opts", s.runOptions(number, ips)}
	if s.runCommand != "" {
		params = append(params, "run_cmd", s.runCommand)
	}
	params = append(params, "monitor_cmd", "/bin/true", "mount_points", s.ownMounts(number))
	x := s.primitiveXML(s.containerID(number), "heartbeat", s.technology, params...)
	addMonitor(x, "interval", defaultBundleMonitor)
	return x
}

// from is the host's directory of a mount, for one replica.
func (s *bundleSpec) from(m mount, number int) string {
	if m.own {
		return m.source + "/" + s.name(number)
	}
	return m.source
}

// ownMounts lists the directories each replica has of its own, which the agent makes when they are missing.
func (s *bundleSpec) ownMounts(number int) string {
	var out []string
	for _, m := range s.mounts {
		if m.own {
			out = append(out, s.from(m, number))
		}
	}
	return strings.Join(out, ",")
}

// runOptions are the options the container is run with. They are part of its parameters, and so of its digests: they must be
// the same, to the byte, as those Pacemaker makes.
func (s *bundleSpec) runOptions(number int, ips []string) string {
	var b strings.Builder
	add := func(format string, a ...any) { fmt.Fprintf(&b, " "+format, a...) }
	words := commandWords(s.technology)
	if s.technology == "docker" {
		add("--restart=no")
	}
	if s.firstIP != "" {
		add("%s%s", words.hostname, s.name(number))
	}
	add("%sPCMK_stderr=1", words.environment)
	if s.network != "" {
		add("--net=%s", s.network)
	}
	add("%sPCMK_remote_port=%s", words.environment, s.controlPort)
	for i, m := range s.mounts {
		add("%s", words.mount(i, s.from(m, number), m))
	}
	for _, p := range s.ports {
		switch {
		case ips[number] != "":
			add("%s", words.port(ips[number]+":", p))
		case s.network != "host":
			add("%s", words.port("", p))
		}
	}
	if s.options != "" {
		add("%s", s.options)
	}
	add("%s", s.hosts(ips))
	return b.String()
}

// hosts are the options that let the replicas find each other by name.
func (s *bundleSpec) hosts(ips []string) string {
	var b strings.Builder
	for i, ip := range ips {
		switch {
		case ip == "":
		case s.addHost && s.technology != "rkt":
			fmt.Fprintf(&b, " --add-host=%s:%s", s.name(i), ip)
		default:
			fmt.Fprintf(&b, " --hosts-entry=%s=%s", ip, s.name(i))
		}
	}
	return b.String()
}

// runWords are the words of a container technology's command line.
type runWords struct {
	hostname, environment string
	mount                 func(i int, from string, m mount) string
	port                  func(ip string, p portMapping) string
}

func commandWords(technology string) runWords {
	suffix := func(sep, options string) string {
		if options == "" {
			return ""
		}
		return sep + options
	}
	if technology == "rkt" {
		return runWords{hostname: "--hostname=", environment: "--environment=",
			mount: func(i int, from string, m mount) string {
				return fmt.Sprintf("--volume vol%d,kind=host,source=%s%s --mount volume=vol%d,target=%s", i, from, suffix(",", m.options), i, m.target)
			},
			port: func(ip string, p portMapping) string { return "--port=" + p.inside + ":" + ip + p.host }}
	}
	return runWords{hostname: "-h ", environment: "-e ",
		mount: func(_ int, from string, m mount) string {
			return "-v " + from + ":" + m.target + suffix(":", m.options)
		},
		port: func(ip string, p portMapping) string { return "-p " + ip + p.host + ":" + p.inside }}
}
