// Package nbddev drives the kernel's client for network block devices (nbd.ko) over generic netlink: it makes /dev/nbdN
// out of a connected stream socket whose other end speaks the NBD protocol, gives a device another socket, and ends it.
//
// The family "nbd" with its commands and attributes is the kernel's (linux/nbd-netlink.h); the transmission flags are the
// protocol's (doc/proto.md of the NBD project, section "Transmission flags").
package nbddev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Transmission flags that a server announces.
const (
	HasFlags        = 1 << 0
	ReadOnly        = 1 << 1
	SendFlush       = 1 << 2
	SendFUA         = 1 << 3
	SendTrim        = 1 << 5
	SendWriteZeroes = 1 << 6 // used by kernels from 6.10 on
)

// The family, its commands and attributes.
const (
	familyName = "nbd"

	cmdConnect     = 1
	cmdDisconnect  = 2
	cmdReconfigure = 3

	attrIndex      = 1
	attrSize       = 2
	attrBlockSize  = 3
	attrFlags      = 5
	attrSockets    = 7
	attrDead       = 8
	attrIdentifier = 10
	attrSocketItem = 1
	attrSocketFD   = 1
)

// ErrBusy is what Reconfigure's error wraps while the kernel has not noticed yet that the device's old socket is dead.
var ErrBusy = errors.New("the device's old connection still counts as alive")

// Config says what device to make.
type Config struct {
	Size      int64 // bytes
	BlockSize int   // logical block size in bytes, a power of two from 512 to 4096
	Flags     uint64
	// Patience is for how long requests wait for another socket when the present one has died, in whole seconds; 0: they
	// fail at once.
	Patience time.Duration
	// Identifier marks the device (the file `backend` in its sysfs directory, kernel 5.14 or later).
	Identifier string
}

// Client is a connection to the kernel. Its methods must not be called at the same time.
type Client struct {
	conn   *genetlink.Conn
	family genetlink.Family
}

// Dial fails where the kernel has no NBD client, or where we are not in the host's own network namespace.
func Dial() (*Client, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	family, err := conn.GetFamily(familyName)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("the kernel's nbd module: %w (is it loaded? `modprobe nbd`)", err)
	}
	return &Client{conn: conn, family: family}, nil
}

// Probe tells why this host has no such devices; nil if it has.
func Probe() error {
	c, err := Dial()
	if err != nil {
		return err
	}
	return c.Close()
}

// Close ends the connection; devices stay.
func (c *Client) Close() error { return c.conn.Close() }

// Connect makes a device of a socket, of which the kernel takes a reference of its own, and returns N of /dev/nbdN.
func (c *Client) Connect(cfg Config, socket int) (uint32, error) {
	e := netlink.NewAttributeEncoder()
	e.Uint64(attrSize, uint64(cfg.Size))
	e.Uint64(attrBlockSize, uint64(cfg.BlockSize))
	e.Uint64(attrFlags, cfg.Flags|HasFlags)
	e.Uint64(attrDead, uint64(cfg.Patience/time.Second))
	e.String(attrIdentifier, cfg.Identifier)
	addSocket(e, socket)
	replies, err := c.execute(cmdConnect, e, 0)
	if err != nil {
		return 0, fmt.Errorf("make an nbd device: %w", err)
	}
	index, err := indexOf(replies)
	if err != nil {
		return 0, fmt.Errorf("make an nbd device: %w", err)
	}
	return index, nil
}

// Reconfigure gives a device whose socket has died another one. The requests that were under way on the old one are sent
// again when their timer has run out (queue/io_timeout), those that waited at once.
func (c *Client) Reconfigure(index uint32, identifier string, socket int) error {
	e := netlink.NewAttributeEncoder()
	e.Uint32(attrIndex, index)
	e.String(attrIdentifier, identifier)
	addSocket(e, socket)
	_, err := c.execute(cmdReconfigure, e, netlink.Acknowledge)
	if isNoSpace(err) {
		err = ErrBusy
	}
	if err != nil {
		return fmt.Errorf("give /dev/nbd%d another connection: %w", index, err)
	}
	return nil
}

// Resize changes the size of a device that may be in use, in bytes.
func (c *Client) Resize(index uint32, identifier string, size int64) error {
	e := netlink.NewAttributeEncoder()
	e.Uint32(attrIndex, index)
	e.String(attrIdentifier, identifier)
	e.Uint64(attrSize, uint64(size))
	if _, err := c.execute(cmdReconfigure, e, netlink.Acknowledge); err != nil {
		return fmt.Errorf("resize /dev/nbd%d to %d bytes: %w", index, size, err)
	}
	return nil
}

// Disconnect ends a device: what is under way and all to come fails. One that has ended already is no error.
func (c *Client) Disconnect(index uint32) error {
	e := netlink.NewAttributeEncoder()
	e.Uint32(attrIndex, index)
	_, err := c.execute(cmdDisconnect, e, netlink.Acknowledge)
	if err != nil && !isGone(err) {
		return fmt.Errorf("disconnect /dev/nbd%d: %w", index, err)
	}
	return nil
}

func addSocket(e *netlink.AttributeEncoder, fd int) {
	e.Nested(attrSockets, func(list *netlink.AttributeEncoder) error {
		list.Nested(attrSocketItem, func(item *netlink.AttributeEncoder) error {
			item.Uint32(attrSocketFD, uint32(fd))
			return nil
		})
		return nil
	})
}

func (c *Client) execute(command uint8, e *netlink.AttributeEncoder, flags netlink.HeaderFlags) ([]genetlink.Message, error) {
	data, err := e.Encode()
	if err != nil {
		return nil, err
	}
	m := genetlink.Message{Header: genetlink.Header{Command: command, Version: c.family.Version}, Data: data}
	return c.conn.Execute(m, c.family.ID, netlink.Request|flags)
}

func indexOf(replies []genetlink.Message) (uint32, error) {
	for _, m := range replies {
		d, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return 0, fmt.Errorf("decode the kernel's answer: %w", err)
		}
		for d.Next() {
			if d.Type() == attrIndex {
				return d.Uint32(), d.Err()
			}
		}
		if err := d.Err(); err != nil {
			return 0, fmt.Errorf("decode the kernel's answer: %w", err)
		}
	}
	return 0, errors.New("the kernel's answer names no device")
}

// Path is the node of a device.
func Path(index uint32) string { return "/dev/nbd" + strconv.FormatUint(uint64(index), 10) }

// Identifier is what a device was marked with; empty if it was not, or is not connected.
func Identifier(index uint32) string {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(Path(index)), "backend"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Marked lists the devices with an identifier, in order.
func Marked(identifier string) []uint32 {
	var out []uint32
	paths, _ := filepath.Glob("/sys/block/nbd*") // the pattern is well formed
	for _, p := range paths {
		n, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(p), "nbd"), 10, 32)
		if err == nil && Identifier(uint32(n)) == identifier {
			out = append(out, uint32(n))
		}
	}
	slices.Sort(out)
	return out
}

// isNoSpace: no dead socket is there to be replaced.
func isNoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) }

// isGone: there is no such device, or it is not connected.
func isGone(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}
