package lab

import (
	"bytes"
	_ "embed" // for the shipped topology
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"

	"holdfast/internal/lab/image"
)

//go:embed tutorial.json
var tutorialJSON []byte

// Topology is what a lab consists of. Its file format is this structure as JSON.
type Topology struct {
	Subnets []Subnet   `json:"subnets"`
	Hosts   []HostSpec `json:"hosts"`
	// DatabaseAddress is where the web hosts look for their database: the internal balancer's address. The lab gives it to
	// nobody; holdfast does.
	DatabaseAddress string `json:"database_address,omitempty"`
}

// Subnet is a bridge in the router, which has the first address of the range.
type Subnet struct {
	Name string       `json:"name"`
	CIDR netip.Prefix `json:"cidr"`
}

// Gateway is the router's address in the subnet: its first.
func (s Subnet) Gateway() netip.Addr { return s.CIDR.Masked().Addr().Next() }

// HostSpec is one host of the topology.
type HostSpec struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	Role    image.Role `json:"role"`
	// DiskMiB is the size of the data disk /dev/sdc of a database host; 0 takes the Config's.
	DiskMiB int `json:"disk_mib,omitempty"`
}

// Tutorial returns the shipped topology.
func Tutorial() Topology {
	t, err := ParseTopology(tutorialJSON)
	if err != nil {
		panic("lab: the shipped topology is broken: " + err.Error())
	}
	return t
}

// LoadTopology reads a topology file.
func LoadTopology(path string) (Topology, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Topology{}, fmt.Errorf("read the topology: %w", err)
	}
	t, err := ParseTopology(data)
	if err != nil {
		return Topology{}, fmt.Errorf("topology %s: %w", path, err)
	}
	return t, nil
}

// ParseTopology reads a topology and checks it.
func ParseTopology(data []byte) (Topology, error) {
	var t Topology
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return t, err
	}
	return t, t.check()
}

// hostName is a DNS label, short enough to be the name of the host's link in the router (15 bytes).
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$`)

// keeperName is the keeper's cgroup, beside the hosts'.
const keeperName = "keeper"

func (t Topology) check() error {
	if len(t.Hosts) == 0 {
		return fmt.Errorf("it has no hosts")
	}
	if err := t.checkSubnets(); err != nil {
		return err
	}
	names, addresses := map[string]bool{}, map[netip.Addr]string{}
	for _, h := range t.Hosts {
		if err := t.checkHost(h); err != nil {
			return err
		}
		if names[h.Name] {
			return fmt.Errorf("host %s is there twice", h.Name)
		}
		if other, taken := addresses[h.Address]; taken {
			return fmt.Errorf("host %s has the address %s of host %s", h.Name, h.Address, other)
		}
		names[h.Name], addresses[h.Address] = true, h.Name
	}
	return nil
}

func (t Topology) checkSubnets() error {
	for i, s := range t.Subnets {
		if !s.CIDR.IsValid() || !s.CIDR.Addr().Is4() || s.CIDR.Bits() > 29 || s.CIDR.Bits() < 8 {
			return fmt.Errorf("subnet %q: cidr must be an IPv4 range between /8 and /29", s.Name)
		}
		for _, other := range t.Subnets[:i] {
			if s.CIDR.Overlaps(other.CIDR) {
				return fmt.Errorf("subnets %q and %q overlap", other.Name, s.Name)
			}
		}
	}
	return nil
}

func (t Topology) checkHost(h HostSpec) error {
	if !hostName.MatchString(h.Name) || h.Name == keeperName {
		return fmt.Errorf("%q cannot name a host: use at most 15 of a-z, 0-9 and -, and not %q", h.Name, keeperName)
	}
	s, ok := t.subnetOf(h.Address)
	if !ok {
		return fmt.Errorf("host %s: its address %s is in none of the subnets", h.Name, h.Address)
	}
	if h.Address == s.Gateway() || h.Address == s.CIDR.Masked().Addr() {
		return fmt.Errorf("host %s: %s is the router's or the subnet's own address", h.Name, h.Address)
	}
	switch h.Role {
	case image.Plain, image.Database, image.Web:
	default:
		return fmt.Errorf("host %s: unknown role %q; there are %s, %s and %s", h.Name, h.Role, image.Plain, image.Database, image.Web)
	}
	if h.DiskMiB < 0 {
		return fmt.Errorf("host %s: disk_mib is negative", h.Name)
	}
	return nil
}

func (t Topology) subnetOf(a netip.Addr) (Subnet, bool) {
	for _, s := range t.Subnets {
		if s.CIDR.Contains(a) {
			return s, true
		}
	}
	return Subnet{}, false
}

func (t Topology) host(name string) (HostSpec, bool) {
	for _, h := range t.Hosts {
		if h.Name == name {
			return h, true
		}
	}
	return HostSpec{}, false
}

func (t Topology) addresses() map[string]string {
	all := map[string]string{}
	for _, h := range t.Hosts {
		all[h.Name] = h.Address.String()
	}
	return all
}
