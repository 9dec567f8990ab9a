package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/loopback"
	"holdfast/internal/paths"
)

const patience = 20 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !ok() {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

type testHost struct {
	*Transport
	root paths.Root
	name string
}

func (h testHost) addr() string { return h.Addr().String() }

func startHost(t *testing.T, name, helper string) testHost {
	t.Helper()
	return startAt(t, name, helper, paths.Root(t.TempDir()), loopback.Address(t))
}

func startAt(t *testing.T, name, helper string, root paths.Root, addr string) testHost {
	t.Helper()
	tr, err := New(Config{Root: root, Name: name, Listen: []string{addr}, Clock: clock.System{},
		Log: slog.New(slog.DiscardHandler), PasswordHelper: helper})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return testHost{tr, root, name}
}

// certify makes the host a member of the CA's cluster.
func certify(t *testing.T, ca *pki.CA, h testHost) {
	t.Helper()
	req, err := pki.NewRequest(h.name)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(req.CSR, h.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.Install(h.root, req.Key, cert, ca.CertPEM); err != nil {
		t.Fatal(err)
	}
	own, err := pki.LoadCluster(h.root)
	if err != nil {
		t.Fatal(err)
	}
	h.SetCluster(own)
}

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// join makes the hosts one cluster, each knowing the others.
func join(t *testing.T, hosts ...testHost) {
	t.Helper()
	ca := newCA(t)
	var peers []Peer
	for _, h := range hosts {
		certify(t, ca, h)
		peers = append(peers, Peer{Name: h.name, Addrs: []string{h.addr()}})
	}
	for _, h := range hosts {
		h.SetPeers(peers)
	}
	// A call waits only a moment for a connection; on a slow machine the first takes longer.
	for _, h := range hosts {
		for _, p := range peers {
			eventually(t, h.name+" connected to "+p.Name, func() bool { return h.Connected(p.Name) })
		}
	}
}

func echo(_ context.Context, from string, in json.RawMessage) (any, error) {
	return map[string]string{"from": from, "in": string(in)}, nil
}

func TestCalls(t *testing.T) {
	a, b := startHost(t, "a", ""), startHost(t, "b", "")
	join(t, a, b)
	b.Handle("echo", echo)
	b.Handle("refuse", func(context.Context, string, json.RawMessage) (any, error) {
		return nil, &api.Error{Code: 17, Message: "no"}
	})
	b.Handle("wrapped", func(context.Context, string, json.RawMessage) (any, error) {
		return nil, fmt.Errorf("outer: %w", &api.Error{Code: 11, Message: "inner"})
	})
	var out map[string]string
	if err := a.Call(testContext(t), "b", "echo", 7, &out); err != nil || out["from"] != "a" || out["in"] != "7" {
		t.Fatalf("echo: %v, %v", out, err)
	}
	for _, tt := range []struct {
		method string
		code   int
		text   string
	}{{"refuse", 17, "no"}, {"wrapped", 11, "outer: inner"}, {"nonsense", 1, "does not serve"}} {
		var failed *api.Error
		err := a.Call(testContext(t), "b", tt.method, nil, nil)
		if !errors.As(err, &failed) || failed.Code != tt.code || !strings.Contains(failed.Message, tt.text) {
			t.Errorf("%s: got %v", tt.method, err)
		}
	}
	a.Handle("echo", echo)
	if err := a.Call(testContext(t), "a", "echo", 1, &out); err != nil || out["from"] != "a" {
		t.Errorf("call of itself: %v, %v", out, err)
	}
}

func TestUnreachableFailsFast(t *testing.T) {
	a := startHost(t, "a", "")
	join(t, a)
	a.SetPeers([]Peer{{"b", []string{loopback.Address(t)}}})
	for _, node := range []string{"b", "stranger"} {
		if err := a.Call(testContext(t), node, "echo", nil, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("call of %s: %v, want ErrUnreachable", node, err)
		}
	}
}

func TestReconnectAfterRestart(t *testing.T) {
	a, b := startHost(t, "a", ""), startHost(t, "b", "")
	join(t, a, b)
	b.Handle("echo", echo)
	if err := a.Call(testContext(t), "b", "echo", 1, nil); err != nil {
		t.Fatal(err)
	}
	addr := b.addr()
	b.Close()
	eventually(t, "a notices", func() bool { return !a.Connected("b") })
	again := startAt(t, "b", "", b.root, addr)
	again.SetPeers([]Peer{{"a", []string{a.addr()}}})
	again.Handle("echo", echo)
	eventually(t, "calls work again", func() bool { return a.Call(testContext(t), "b", "echo", 1, nil) == nil })
}

// A call whose connection goes while it is carried out has an unknown outcome, and says so.
func TestLostCall(t *testing.T) {
	a, b := startHost(t, "a", ""), startHost(t, "b", "")
	join(t, a, b)
	entered, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) }) // before the hosts are closed
	b.Handle("hang", func(context.Context, string, json.RawMessage) (any, error) {
		close(entered)
		<-release
		return nil, nil
	})
	done := make(chan error, 1)
	go func() { done <- a.Call(testContext(t), "b", "hang", nil, nil) }()
	select {
	case <-entered:
	case err := <-done:
		t.Fatalf("the call was never made: %v", err)
	}
	b.SetCluster(b.membership()) // closes all connections
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	a, b := startHost(t, "a", ""), startHost(t, "b", "")
	join(t, a, b)
	a.Handle("echo", echo)
	peers := []Peer{{"a", []string{a.addr()}}, {"b", []string{b.addr()}}}

	other := startHost(t, "x", "")
	certify(t, newCA(t), other)
	other.SetPeers(peers)
	if err := other.Call(testContext(t), "a", "echo", 1, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a host of another cluster: %v", err)
	}

	swapped := startHost(t, "y", "")
	ca := newCA(t)
	certify(t, ca, swapped)
	victim := startHost(t, "z", "")
	certify(t, ca, victim)
	swapped.SetPeers([]Peer{{"b", []string{victim.addr()}}})
	if err := swapped.Call(testContext(t), "b", "echo", 1, nil); err == nil || !strings.Contains(err.Error(), "it is z") {
		t.Errorf("a member under another's address: %v", err)
	}
}

// A member that was removed still has its certificate, and perhaps a connection: neither lets it in any more.
func TestRemovedMembersAreTurnedAway(t *testing.T) {
	a, b := startHost(t, "a", ""), startHost(t, "b", "")
	join(t, a, b)
	a.Handle("echo", echo)
	if err := b.Call(testContext(t), "a", "echo", 1, nil); err != nil {
		t.Fatal(err)
	}
	a.SetPeers(nil)
	if err := b.Call(testContext(t), "a", "echo", 1, nil); !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrLost) {
		t.Errorf("a call on the old connection: %v", err)
	}
	if err := b.Call(testContext(t), "a", "echo", 1, nil); !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrLost) {
		t.Errorf("a call on a new connection: %v", err)
	}
	a.SetPeers([]Peer{{"b", []string{b.addr()}}})
	eventually(t, "the member taken in again is served", func() bool { return b.Call(testContext(t), "a", "echo", 1, nil) == nil })
}

func TestBeatsOnEveryLink(t *testing.T) {
	a, b := startHost(t, "a", ""), startHost(t, "b", "")
	join(t, a, b)
	a.SetPeers([]Peer{{"b", []string{b.addr(), "127.0.0.1:1", b.addr()}}})
	got := make(chan int, 1000)
	b.OnBeat(func(from string, link int, data []byte) {
		if from == "a" && string(data) == "beat" {
			select {
			case got <- link:
			default:
			}
		}
	})
	seen := map[int]bool{}
	eventually(t, "beats on links 0 and 2", func() bool {
		a.SendBeat("b", []byte("beat"))
		select {
		case link := <-got:
			seen[link] = true
		default:
		}
		return seen[0] && seen[2]
	})
	if seen[1] {
		t.Error("a beat came on a link to nowhere")
	}
	links := a.Links()
	if len(links) != 3 || links[1].Up || links[1].Error == "" || !links[0].Up {
		t.Errorf("links: %+v", links)
	}
}

// helperFor is the distribution's password helper, seeing an /etc/shadow of its own that has the hash of "secret".
func helperFor(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the password helper needs root")
	}
	if _, err := os.Stat(pki.PasswordHelper); err != nil {
		t.Skip("no password helper here: ", err)
	}
	if err := exec.Command("unshare", "-m", "true").Run(); err != nil {
		t.Skip("no mount namespaces here: ", err)
	}
	dir := t.TempDir()
	hash, err := exec.Command("openssl", "passwd", "-6", "secret").Output()
	if err != nil {
		t.Skip("no openssl to make a password hash: ", err)
	}
	write := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	shadow := write("shadow", "root:*:19000::::::\nhacluster:"+strings.TrimSpace(string(hash))+":19000:0:99999:7:::\n", 0o600)
	passwd := write("passwd", "root:x:0:0::/root:/bin/sh\nhacluster:x:990:990::/:/usr/sbin/nologin\n", 0o644)
	return write("helper", fmt.Sprintf("#!/bin/sh\nexec unshare -m sh -c 'mount --bind %s /etc/shadow && mount --bind %s /etc/passwd && exec %s \"$@\"' sh \"$@\"\n",
		shadow, passwd, pki.PasswordHelper), 0o755)
}

func TestFirstContact(t *testing.T) {
	helper := helperFor(t)
	a, b := startHost(t, "a", helper), startHost(t, "b", helper)
	hostB, hostA := Host{"b", b.addr()}, Host{"a", a.addr()}
	b.HandleContact("setup", func(_ context.Context, from ContactPeer, in json.RawMessage) (any, error) {
		return from.Name + " " + string(in), nil
	})
	ctx := testContext(t)
	if err := a.Contact(ctx, hostB, "setup", 1, nil); !errors.Is(err, ErrNotAuthenticated) {
		t.Errorf("contact without authentication: %v", err)
	}
	if _, err := a.Authenticate(ctx, hostB, "hacluster", "wrong"); err == nil || !strings.Contains(err.Error(), "password is incorrect") {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := a.Authenticate(ctx, hostB, "root", "secret"); err == nil {
		t.Error("root may not authenticate")
	}
	if a.Authenticated(ctx, hostB) {
		t.Error("authenticated by a wrong password")
	}
	if _, err := a.Authenticate(ctx, hostB, "hacluster", "secret"); err != nil {
		t.Fatal(err)
	}
	var out string
	if err := a.Contact(ctx, hostB, "setup", 1, &out); err != nil || out != "a 1" {
		t.Errorf("contact: %q, %v", out, err)
	}
	if !a.Authenticated(ctx, hostB) {
		t.Error("not authenticated after the right password")
	}
	// The identities went both ways: b may call a.
	if !b.Authenticated(ctx, hostA) {
		t.Error("the host called does not know the caller")
	}
}

func TestAnotherIdentityIsNoticed(t *testing.T) {
	helper := helperFor(t)
	a, b := startHost(t, "a", helper), startHost(t, "b", helper)
	ctx := testContext(t)
	if _, err := a.Authenticate(ctx, Host{"b", b.addr()}, "hacluster", "secret"); err != nil {
		t.Fatal(err)
	}
	impostor := startHost(t, "b", helper)
	if err := a.Contact(ctx, Host{"b", impostor.addr()}, "ping", nil, nil); !errors.Is(err, ErrIdentityChanged) {
		t.Errorf("an impostor: %v", err)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	b := startHost(t, "b", "/bin/false") // every password is wrong
	a := startHost(t, "a", "")
	ctx := testContext(t)
	errs := make(chan error, 2*cluster.AuthAttempts)
	for range 2 * cluster.AuthAttempts {
		go func() {
			_, err := a.Authenticate(ctx, Host{"b", b.addr()}, "hacluster", "guess")
			errs <- err
		}()
	}
	tooMany := 0
	for range 2 * cluster.AuthAttempts {
		if err := <-errs; err == nil {
			t.Error("a guess was accepted")
		} else if strings.Contains(err.Error(), "too many wrong passwords") {
			tooMany++
		}
	}
	if tooMany < cluster.AuthAttempts {
		t.Errorf("%d of %d guesses were turned away", tooMany, 2*cluster.AuthAttempts)
	}
}

func TestGarbageIsTurnedAway(t *testing.T) {
	a := startHost(t, "a", "")
	join(t, a)
	a.Handle("echo", echo)
	for _, junk := range []string{"", "GET / HTTP/1.0\r\n\r\n", strings.Repeat("\xff", 1<<16)} {
		conn, err := net.Dial("tcp", a.addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(junk))
		conn.Close()
	}
	if err := a.Call(testContext(t), "a", "echo", 1, nil); err != nil {
		t.Error(err)
	}
}
