// Package loopback gives tests addresses that nobody else takes between being chosen and being listened on.
//
// A free port found by listening on port 0 and closing again can be given to another process, or be the source of a
// connection, before the test listens on it; the test then waits for a peer that cannot listen.
package loopback

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Address gives 127.0.0.1:PORT, which is the test's until it ends, however often it listens there: a socket that is bound
// with SO_REUSEADDR, and never listens, keeps the port from being chosen for others but lets a listener of that same option
// (as net.Listen's are) have it; see socket(7).
func Address(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}
