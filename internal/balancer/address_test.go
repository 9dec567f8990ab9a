package balancer

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"holdfast/internal/api"
)

func hasAddress(t *testing.T, ip string) bool {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	list, err := lo.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.String() == ip+"/32" {
			return true
		}
	}
	return false
}

// The frontend's address is put on lo, also when a crash left it there, and is gone when the rule is.
func TestAddressOfAFrontend(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("an address on lo needs root")
	}
	const ip = "198.51.100.78"
	addr := netip.MustParseAddr(ip)
	if err := addAddress(addr); err != nil {
		t.Skipf("no address can be put on lo: %v", err)
	}
	defer removeAddress(addr)
	if err := addAddress(addr); err != nil {
		t.Fatalf("a second time: %v", err)
	}
	h := start(t)
	a := newServer(t, "a")
	rule := webRule(ip+":7733", a)
	rule.AddAddress = true
	second := webRule(ip+":7734", a)
	second.Name, second.AddAddress = "second", true
	h.update.Rules = []api.BalancerRule{rule, second}
	h.untilOpen(a.addr, true)
	h.expect(h.client(rule.Frontend), "a")
	h.expect(h.client(second.Frontend), "a")
	h.update.Rules = []api.BalancerRule{rule}
	h.push()
	h.expect(h.client(rule.Frontend), "a")
	if !hasAddress(t, ip) {
		t.Error("the address went with the first of two rules")
	}
	h.stop()
	if hasAddress(t, ip) {
		t.Error("the address was left behind")
	}
	if err := removeAddress(addr); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}
