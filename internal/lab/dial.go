package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// dialLimit bounds a connection attempt whose context has no deadline.
const dialLimit = 10 * time.Second

// DialContext connects from inside the host's network. The address's host may be the name of a host of the lab; no other
// name is looked up.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	target, err := h.resolve(address)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	err = h.inside(unix.CLONE_NEWNET, func() error {
		// With a literal address the dialler makes its one socket on this goroutine, and so in this namespace.
		d := net.Dialer{Timeout: dialLimit}
		var err error
		conn, err = d.DialContext(ctx, network, target)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("from host %s: %w", h.name, err)
	}
	return conn, nil
}

// Listen listens inside the host's network.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var l net.Listener
	err := h.inside(unix.CLONE_NEWNET, func() error {
		var c net.ListenConfig
		var err error
		l, err = c.Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("on host %s: %w", h.name, err)
	}
	return l, nil
}

// HTTPClient returns a client whose connections begin in the host.
func (h *Host) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.DialContext}}
}

// resolve replaces the name of a host of the lab by its address.
func (h *Host) resolve(address string) (string, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("from host %s: address %q: %w", h.name, address, err)
	}
	if spec, ok := h.lab.topology.host(name); ok {
		return net.JoinHostPort(spec.Address.String(), port), nil
	}
	if net.ParseIP(name) == nil {
		return "", fmt.Errorf("from host %s: %q is neither an address nor a host of the lab", h.name, name)
	}
	return address, nil
}
