package guest

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// configureNetwork brings up the loopback and the host's link, which the lab has moved into the namespace.
func (s *Spec) configureNetwork() error {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("switch IPv6 off: %w", err)
	}
	if err := linkUp("lo"); err != nil {
		return err
	}
	link, err := netlink.LinkByName(s.Link)
	if err != nil {
		return fmt.Errorf("find the link %s: %w", s.Link, err)
	}
	addr, err := netlink.ParseAddr(s.Address)
	if err != nil {
		return fmt.Errorf("address %s: %w", s.Address, err)
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s the address %s: %w", s.Link, s.Address, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", s.Link, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(s.Gateway)}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("route through %s: %w", s.Gateway, err)
	}
	return nil
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the link %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}
