package guard

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// pair is a connected pair of unix sockets.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err == nil {
		b, err = l.AcceptUnix()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestDescriptorTravelsBesideItsFrame(t *testing.T) {
	a, b := pair(t)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() { // three frames at once: only the middle one has a descriptor
		for i, name := range []string{"first", "second", "third"} {
			fd := -1
			if i == 1 {
				fd = int(f.Fd())
			}
			if err := send(a, api.GuardRequest{Name: name, GuardHeld: api.GuardHeld{Meta: strings.Repeat("m", 5000)}}, fd); err != nil {
				t.Error(err)
			}
		}
	})
	for i, want := range []string{"first", "second", "third"} {
		var req api.GuardRequest
		fd, err := receive(b, &req)
		if err != nil || req.Name != want || (fd >= 0) != (i == 1) {
			t.Fatalf("frame %d: %q with descriptor %d, %v", i, req.Name, fd, err)
		}
		if fd < 0 {
			continue
		}
		var content [16]byte
		n, err := unix.Read(fd, content[:])
		unix.Close(fd)
		if err != nil || string(content[:n]) != "content" {
			t.Errorf("the descriptor reads %q, %v", content[:n], err)
		}
	}
}

func TestTwoDescriptorsAreRefused(t *testing.T) {
	a, b := pair(t)
	frame := []byte{0, 0, 0, 2, '{', '}'}
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	if _, _, err := a.WriteMsgUnix(frame, unix.UnixRights(fd, fd), nil); err != nil {
		t.Fatal(err)
	}
	var req api.GuardRequest
	got, err := receive(b, &req)
	closeIf(got)
	if err == nil || !strings.Contains(err.Error(), "more than one descriptor") {
		t.Errorf("descriptor %d, %v", got, err)
	}
}

func FuzzControlMessage(f *testing.F) {
	f.Add(unix.UnixRights(1 << 30))
	f.Add([]byte{16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, oob []byte) {
		messages, err := unix.ParseSocketControlMessage(oob)
		if err != nil {
			return
		}
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_RIGHTS {
				return // would close descriptors that are the test's own
			}
		}
		r := &rightsReader{fd: -1}
		if err := r.keep(oob); r.fd != -1 {
			t.Fatalf("descriptor %d out of no descriptors (%v)", r.fd, err)
		}
	})
}
