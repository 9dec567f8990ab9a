package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// hostLink is the name of a host's link, as the host sees it.
const hostLink = "eth0"

// bridgeName is the i-th subnet's bridge in the router.
func bridgeName(i int) string { return fmt.Sprintf("subnet%d", i) }

// buildRouter turns the network namespace of this process into the router: a bridge with the gateway's address for each
// subnet, and forwarding between them.
func buildRouter(t Topology) error {
	for _, set := range [][2]string{
		{"/proc/sys/net/ipv4/ip_forward", "1"},
		{"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"},
	} {
		if err := os.WriteFile(set[0], []byte(set[1]), 0o644); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("build the router: %w", err)
		}
	}
	for i, s := range t.Subnets {
		if err := buildBridge(bridgeName(i), s); err != nil {
			return fmt.Errorf("build the router's subnet %s: %w", s.Name, err)
		}
	}
	return nil
}

func buildBridge(name string, s Subnet) error {
	// With a hardware address of its own it does not take that of a port, which would change when a host reboots.
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: hardwareAddr(s.Gateway())}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make the bridge: %w", err)
	}
	addr := &netlink.Addr{IPNet: toIPNet(s.Gateway(), s.CIDR.Bits())}
	if err := netlink.AddrAdd(bridge, addr); err != nil {
		return fmt.Errorf("give the bridge its address: %w", err)
	}
	return netlink.LinkSetUp(bridge)
}

func toIPNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}

// router is a netlink connection into the keeper's network namespace.
type router struct {
	ns     netns.NsHandle
	handle *netlink.Handle
}

// openRouter connects to the router of a running lab.
func openRouter(s *state) (*router, error) {
	if !s.Keeper.alive() {
		return nil, fmt.Errorf("lab %s: its keeper has died; `holdfast lab down --name %s` clears up", s.Name, s.Name)
	}
	ns, err := netns.GetFromPid(s.Keeper.PID)
	if err != nil {
		return nil, fmt.Errorf("open the router: %w", err)
	}
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open the router: %w", err)
	}
	return &router{ns: ns, handle: handle}, nil
}

func (r *router) close() {
	r.handle.Close()
	r.ns.Close()
}

// connect makes the link of a host: one end on the subnet's bridge under the host's name, the other in the network
// namespace of process pid. The host's hardware address follows from its address, so that a reboot changes nobody's ARP.
func (r *router) connect(t Topology, h HostSpec, pid int) error {
	bridge, err := r.bridgeOf(t, h)
	if err != nil {
		return err
	}
	if err := r.disconnect(h.Name); err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: h.Name, MasterIndex: bridge.Attrs().Index},
		PeerName:         hostLink,
		PeerHardwareAddr: hardwareAddr(h.Address),
		PeerNamespace:    netlink.NsPid(pid),
	}
	if err := r.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the link of %s: %w", h.Name, err)
	}
	return r.setUp(h.Name, true)
}

func (r *router) bridgeOf(t Topology, h HostSpec) (netlink.Link, error) {
	for i, s := range t.Subnets {
		if s.CIDR.Contains(h.Address) {
			bridge, err := r.handle.LinkByName(bridgeName(i))
			if err != nil {
				return nil, fmt.Errorf("find the bridge of subnet %s: %w", s.Name, err)
			}
			return bridge, nil
		}
	}
	return nil, fmt.Errorf("host %s is in no subnet", h.Name)
}

// disconnect removes what a former life of the host may have left; the kernel removes it some time after the host's end.
func (r *router) disconnect(host string) error {
	link, err := r.handle.LinkByName(host)
	if isNoLink(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the link of %s: %w", host, err)
	}
	if err := r.handle.LinkDel(link); err != nil && !isNoLink(err) {
		return fmt.Errorf("remove the link of %s: %w", host, err)
	}
	return nil
}

// setUp brings the router's end of a host's link up or down; down, nothing reaches or leaves the host any more.
func (r *router) setUp(host string, up bool) error {
	link, err := r.handle.LinkByName(host)
	if err != nil {
		return fmt.Errorf("find the link of %s: %w", host, err)
	}
	set := r.handle.LinkSetDown
	if up {
		set = r.handle.LinkSetUp
	}
	if err := set(link); err != nil {
		return fmt.Errorf("switch the link of %s: %w", host, err)
	}
	return nil
}

// isNoLink tells that there is no such link: none was found, or the kernel removed it between the look and the deed.
func isNoLink(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrNotExist)
}

// hardwareAddr is a locally administered address made of the IPv4 address.
func hardwareAddr(a netip.Addr) net.HardwareAddr {
	ip := a.As4()
	return net.HardwareAddr{0x02, 0x68, ip[0], ip[1], ip[2], ip[3]}
}
