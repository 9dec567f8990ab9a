package balancer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addAddress puts an address on lo as a /32 (/128), so that clients on this host reach it here; no other host is told of
// it. An address that is there already, from before a crash say, is left as it is.
func addAddress(ip netip.Addr) error {
	lo, addr, err := onLoopback(ip)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("put the address %s on lo: %w", ip, err)
	}
	return nil
}

// removeAddress takes it away again; one that is gone already is no error.
func removeAddress(ip netip.Addr) error {
	lo, addr, err := onLoopback(ip)
	if err != nil {
		return err
	}
	if err := netlink.AddrDel(lo, addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("take the address %s off lo: %w", ip, err)
	}
	return nil
}

func onLoopback(ip netip.Addr) (netlink.Link, *netlink.Addr, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, nil, fmt.Errorf("find the loopback interface: %w", err)
	}
	bits := ip.BitLen()
	return lo, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, bits)}}, nil
}
