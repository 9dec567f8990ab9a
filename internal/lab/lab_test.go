package lab_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// needLab skips a test that needs the privileges of a lab, and fails it in the job that promises them.
func needLab(t *testing.T) {
	t.Helper()
	if os.Getenv("HOLDFAST_LAB") == "" {
		t.Skip("set HOLDFAST_LAB=1 to run the tests that make hosts (root, namespaces, loop devices)")
	}
	if os.Geteuid() != 0 {
		t.Fatal("HOLDFAST_LAB is set, but the lab's tests need root")
	}
}

// up brings up a lab without daemons and takes it down with the test.
func up(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	needLab(t)
	if c.Daemon == nil {
		c.Daemon = []string{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	l, err := lab.Up(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// sh runs a shell line in a host, wants it to succeed and returns what it printed.
func sh(t *testing.T, h *lab.Host, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := h.Exec(ctx, "sh", "-c", line)
	if err != nil {
		t.Fatalf("%s: %s: %v", h.Name(), line, err)
	}
	if r.Code != 0 {
		t.Fatalf("%s: %s: exit code %d\n%s%s", h.Name(), line, r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// reaches tells whether packets pass both ways between two hosts: a port nobody listens on then refuses at once.
func reaches(t *testing.T, from, to *lab.Host) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", to.Name()+":9")
	if err == nil {
		conn.Close()
		t.Fatalf("something listens on the discard port of %s", to.Name())
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// eventually waits for a state, with a bound.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestHosts(t *testing.T) {
	l := up(t, lab.Config{Name: "hosts"})
	for _, h := range l.Hosts() {
		if got := sh(t, h, "hostname"); got != h.Name() {
			t.Errorf("%s calls itself %s", h.Name(), got)
		}
		if got := sh(t, h, "cat /proc/1/comm"); got != "holdfast" {
			t.Errorf("PID 1 of %s is %s", h.Name(), got)
		}
		for _, other := range l.Hosts() {
			eventually(t, h.Name()+" reaches "+other.Name(), func() bool { return reaches(t, h, other) })
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
