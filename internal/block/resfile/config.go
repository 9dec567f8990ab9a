// Package resfile reads DRBD's configuration: drbd.conf and the .res files it includes, in the grammar of DRBD 8.4 with
// the older spellings 8.4 still accepts (protocol at resource level, syncer, no-OPTION). Source of the grammar:
// drbd.conf(5) of 8.4; of the messages and of the dump's layout: recordings of drbdadm.
package resfile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Config is a whole configuration.
type Config struct {
	Name      string // of the first file
	Global    Options
	Common    Sections
	HasCommon bool
	Resources []*Resource
	// Warnings name, once each and with their place, options that are unknown or have no effect in holdfast.
	Warnings []string
}

// Pos is a place in a file.
type Pos struct {
	File string
	Line int
}

// String gives FILE:LINE.
func (p Pos) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Sections are the option sections that a resource and common may have.
type Sections struct {
	Options  Options
	Net      Options
	Disk     Options
	Startup  Options
	Handlers Options
}

// Resource is one replicated resource: a connection with one or more volumes.
type Resource struct {
	Name  string
	Pos   Pos
	Hosts []*Host // in the order of the file
	// Own are the resource's options as written; Net, Disk and Setting add what common says.
	Own    Sections
	common *Sections
}

// Host is an `on` or `floating` section: one node's part of a resource.
type Host struct {
	Names    []string // node names; empty for floating
	Pos      Pos
	Floating bool
	Address  Address
	Volumes  []*Volume // by number
	// Implicit: the volume was written without a volume section.
	Implicit bool
	// StackedOn is the lower resource of a stacked-on-top-of section; Names are that resource's hosts. Read and dumped,
	// but no such volume can be run.
	StackedOn string
}

// Address is where a node listens for its peer.
type Address struct {
	Family string // ipv4, ipv6, sdp, ssocks
	Host   string // without brackets
	Port   int
}

// String gives the address as the dump writes it: ipv4 10.0.1.4:7788.
func (a Address) String() string { return a.Family + " " + a.Endpoint() }

// Endpoint gives what can be dialled: 10.0.1.4:7788 or [fd01::1]:7788.
func (a Address) Endpoint() string {
	if strings.Contains(a.Host, ":") {
		return fmt.Sprintf("[%s]:%d", a.Host, a.Port)
	}
	return fmt.Sprintf("%s:%d", a.Host, a.Port)
}

// Volume is one device of a resource on one host.
type Volume struct {
	Number int
	Pos    Pos
	Device string // /dev/drbd1; empty if only a minor was given
	Minor  int
	Disk   string
	Meta   MetaDisk
	// Options are the volume's own disk options of the host section; they count before the resource's.
	Options Options
	// Shared are the disk options of the resource's volume section: they count after the resource's and common's, as they do
	// for drbdadm.
	Shared Options

	set map[string]Pos // statements seen
}

// Path is the device node's path: what was configured, or /dev/drbdMINOR.
func (v *Volume) Path() string {
	if v.Device != "" {
		return v.Device
	}
	return fmt.Sprintf("/dev/drbd%d", v.Minor)
}

// MetaKind is where metadata lives.
type MetaKind int

// The kinds of meta-disk.
const (
	MetaInternal MetaKind = iota + 1
	MetaIndexed           // meta-disk DEV [INDEX]
	MetaFlexible          // meta-disk DEV, flexible-meta-disk DEV
)

// MetaDisk says where a volume's metadata is.
type MetaDisk struct {
	Kind   MetaKind
	Device string // empty for internal
	Index  int
}

// IndexText is what `drbdadm sh-md-idx` and drbdmeta call it: internal, flex-external or the index.
func (m MetaDisk) IndexText() string {
	switch m.Kind {
	case MetaInternal:
		return "internal"
	case MetaFlexible:
		return "flex-external"
	}
	return fmt.Sprint(m.Index)
}

// On is the device that carries the metadata of a volume with this disk.
func (m MetaDisk) On(disk string) string {
	if m.Kind == MetaInternal {
		return disk
	}
	return m.Device
}

// Resource finds a resource by name.
func (c *Config) Resource(name string) (*Resource, bool) {
	i := slices.IndexFunc(c.Resources, func(r *Resource) bool { return r.Name == name })
	if i < 0 {
		return nil, false
	}
	return c.Resources[i], true
}

// Locate gives the `floating` sections whose address is one of this node's the node's name: For and On find them then, as
// drbdadm finds them by address. A node named in an `on` section of the same resource needs none.
func (c *Config) Locate(node string, addresses []netip.Addr) {
	for _, r := range c.Resources {
		if r.host(node) != nil {
			continue
		}
		for _, h := range r.Hosts {
			if at, err := netip.ParseAddr(h.Address.Host); err == nil && h.Floating && slices.Contains(addresses, at.WithZone("")) {
				h.Names = []string{node}
				break
			}
		}
	}
}

// Stacked tells whether the resource lies on another one, on any host.
func (r *Resource) Stacked() bool {
	return slices.ContainsFunc(r.Hosts, func(h *Host) bool { return h.StackedOn != "" })
}

// On lists the resources that have a section for this node, in the order of the files; stacked ones are none of them.
func (c *Config) On(node string) []*Resource {
	var all []*Resource
	for _, r := range c.Resources {
		if h := r.host(node); h != nil && h.StackedOn == "" {
			all = append(all, r)
		}
	}
	return all
}

func (r *Resource) host(node string) *Host {
	for _, h := range r.Hosts {
		if slices.Contains(h.Names, node) {
			return h
		}
	}
	return nil
}

// For gives this node's part of the resource and its peer's. The error says what is missing; node is `uname -n`.
func (r *Resource) For(node string) (self, peer *Host, err error) {
	self = r.host(node)
	if self == nil {
		return nil, nil, fmt.Errorf("'%s' not defined in your config (for this host).", r.Name)
	}
	if r.Stacked() {
		return nil, nil, fmt.Errorf("%v: '%s' is a stacked resource: a holdfast volume has two replicas, on two hosts", r.Pos, r.Name)
	}
	for _, h := range r.Hosts {
		switch {
		case h == self:
		case peer != nil:
			return nil, nil, fmt.Errorf("%v: in resource %s: more than two hosts; a volume has two replicas", h.Pos, r.Name)
		default:
			peer = h
		}
	}
	if peer == nil {
		return nil, nil, fmt.Errorf("%v: in resource %s: there is no section for a peer of %s", r.Pos, r.Name, node)
	}
	if len(self.Volumes) == 0 {
		return nil, nil, fmt.Errorf("%v: in resource %s, on %s { ... }: no volume defined", self.Pos, r.Name, node)
	}
	return self, peer, nil
}

// Volume finds a volume by number.
func (h *Host) Volume(number int) (*Volume, bool) {
	for _, v := range h.Volumes {
		if v.Number == number {
			return v, true
		}
	}
	return nil, false
}

// DeviceName is what the guard and the kernel know the device of one of the host's volumes by: the resource's name for an only
// volume and for volume 0.
func (h *Host) DeviceName(resource string, v *Volume) string {
	if len(h.Volumes) == 1 || v.Number == 0 {
		return resource
	}
	return fmt.Sprintf("%s:%d", resource, v.Number)
}

// Label names the host in messages: on lqi1ecmy01, floating ipv4 10.0.1.4:7788.
func (h *Host) Label() string {
	switch {
	case h.Floating:
		return "floating " + h.Address.String()
	case h.StackedOn != "":
		return "stacked-on-top-of " + h.StackedOn
	}
	return "on " + strings.Join(h.Names, " ")
}

// Name is the host's node name, the first if there are several.
func (h *Host) Name() string {
	if len(h.Names) == 0 {
		return h.Address.Host
	}
	return h.Names[0]
}

// Net gives the resource's network options, those of common included.
func (r *Resource) Net() Options { return r.Own.Net.over(r.common.Net) }

// Disk gives the resource's disk options, those of common included; with a volume also its own.
func (r *Resource) Disk(v *Volume) Options {
	all := r.Own.Disk.over(r.common.Disk)
	if v == nil {
		return all
	}
	return v.Options.over(all).over(v.Shared)
}

// Setting gives the options section, that of common included.
func (r *Resource) Setting() Options { return r.Own.Options.over(r.common.Options) }

// Startup gives the startup section, that of common included.
func (r *Resource) Startup() Options { return r.Own.Startup.over(r.common.Startup) }

// Handlers gives the handlers section, that of common included.
func (r *Resource) Handlers() Options { return r.Own.Handlers.over(r.common.Handlers) }

// Protocol is A, B or C; C if nothing says otherwise.
func (r *Resource) Protocol() string { return r.Net().Text("protocol", "C") }
