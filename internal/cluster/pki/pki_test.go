package pki

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/paths"
)

func TestIdentityIsMadeOnce(t *testing.T) {
	root := paths.Root(t.TempDir())
	first, err := EnsureIdentity(root, "db1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := EnsureIdentity(root, "db1")
	if err != nil {
		t.Fatal(err)
	}
	if first.Fingerprint != again.Fingerprint || len(first.Fingerprint) != 64 {
		t.Errorf("fingerprints %s, %s", first.Fingerprint, again.Fingerprint)
	}
	info, err := os.Stat(filepath.Join(root.Etc(), "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v", info.Mode())
	}
	if err := os.WriteFile(filepath.Join(root.Etc(), "identity.key"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureIdentity(root, "db1"); err == nil {
		t.Error("a damaged identity was replaced in silence: others have pinned it")
	}
}

func install(t *testing.T, ca *CA, name string) paths.Root {
	t.Helper()
	root := paths.Root(t.TempDir())
	req, err := NewRequest("whatever it says")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(req.CSR, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Install(root, req.Key, cert, ca.CertPEM); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestClusterCertificates(t *testing.T) {
	ca, err := NewCA("one")
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewCA("one")
	if err != nil {
		t.Fatal(err)
	}
	root := install(t, ca, "db1")
	own, err := LoadCluster(root)
	if err != nil {
		t.Fatal(err)
	}
	if own.Name != "db1" {
		t.Errorf("the certificate names %q", own.Name)
	}
	stranger, err := LoadCluster(install(t, other, "db2"))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := own.PeerName([]*x509.Certificate{own.Cert.Leaf}); err != nil || name != "db1" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := own.PeerName([]*x509.Certificate{stranger.Cert.Leaf}); err == nil {
		t.Error("the certificate of another cluster was accepted")
	}
	if _, err := own.PeerName(nil); err == nil {
		t.Error("no certificate was accepted")
	}
	if err := Destroy(root); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCluster(root); !errors.Is(err, ErrNoCluster) {
		t.Errorf("after destroy: %v", err)
	}
}

func TestCAIsKept(t *testing.T) {
	ca, err := NewCA("one")
	if err != nil {
		t.Fatal(err)
	}
	root := install(t, ca, "db1")
	if _, err := LoadCA(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its key: %v", err)
	}
	if err := InstallCA(root, ca); err != nil {
		t.Fatal(err)
	}
	kept, err := LoadCA(root)
	if err != nil {
		t.Fatal(err)
	}
	own, err := LoadCluster(install(t, kept, "db3"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := LoadCluster(root)
	if err != nil {
		t.Fatal(err)
	}
	if name, err := first.PeerName([]*x509.Certificate{own.Cert.Leaf}); err != nil || name != "db3" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestBadInput(t *testing.T) {
	ca, err := NewCA("one")
	if err != nil {
		t.Fatal(err)
	}
	req, err := NewRequest("a")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(req.CSR)
	block.Bytes[len(block.Bytes)-1] ^= 1
	for name, csr := range map[string][]byte{"empty": nil, "a key": req.Key, "forged": pem.EncodeToMemory(block)} {
		if _, err := ca.Issue(csr, "a"); err == nil {
			t.Errorf("issued for a request that is %s", name)
		}
	}
	other, err := NewRequest("b")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(req.CSR, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := Install(paths.Root(t.TempDir()), other.Key, cert, ca.CertPEM); err == nil {
		t.Error("installed a certificate with another key")
	}
	if _, err := ParseCA(cert, req.Key); err == nil {
		t.Error("a member's certificate passed for a CA's")
	}
}

func TestKnownHosts(t *testing.T) {
	root := paths.Root(t.TempDir())
	k, err := LoadKnownHosts(root)
	if err != nil {
		t.Fatal(err)
	}
	one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
	for _, err := range []error{k.Set("a", one), k.Set("b", one), k.Set("b", two), k.Set("c", two), k.Remove("c")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range [][2]string{{"", one}, {"x y", one}, {"x\ny", one}, {"#x", one}, {"x", "short"}} {
		if k.Set(bad[0], bad[1]) == nil {
			t.Errorf("remembered %q", bad)
		}
	}
	again, err := LoadKnownHosts(root)
	if err != nil {
		t.Fatal(err)
	}
	if again.Pin("a") != one || again.Pin("b") != two || again.Pin("c") != "" {
		t.Errorf("%v", again.pins)
	}
	if name, ok := again.Trusts(two); !ok || name != "b" {
		t.Errorf("%q, %v", name, ok)
	}
	if _, ok := again.Trusts(""); ok {
		t.Error("trusts nobody's identity")
	}
	if err := os.WriteFile(filepath.Join(root.Etc(), "known-hosts"), []byte("a b c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKnownHosts(root); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a bad line: %v", err)
	}
}

func TestLimiter(t *testing.T) {
	l := NewLimiter()
	now := clock.Boottime(time.Hour)
	for i := range cluster.AuthAttempts {
		if _, ok := l.Allow("a", now); !ok {
			t.Fatalf("turned away after %d failures", i)
		}
		l.Failed("a", now.Add(time.Duration(i)*time.Second))
	}
	now = now.Add(10 * time.Second)
	if wait, ok := l.Allow("a", now); ok || wait != cluster.AuthWindow-10*time.Second {
		t.Errorf("wait %s, %v", wait, ok)
	}
	if _, ok := l.Allow("b", now); !ok {
		t.Error("another source is turned away")
	}
	if _, ok := l.Allow("a", now.Add(cluster.AuthWindow)); !ok {
		t.Error("turned away after the window")
	}
	l.Succeeded("a")
	if _, ok := l.Allow("a", now); !ok {
		t.Error("turned away after a success")
	}
	for i := range cluster.MaxAuthSources + 10 {
		l.Failed(string(rune('a'+i%26))+strings.Repeat("x", i), now.Add(time.Duration(i)))
	}
	if len(l.sources) > cluster.MaxAuthSources {
		t.Errorf("%d sources are remembered", len(l.sources))
	}
}

func TestPasswordIsNotPassedOn(t *testing.T) {
	// /bin/true accepts every password it is asked about: what must not be accepted is not asked.
	for _, tt := range []struct {
		name, user, password string
		ok                   bool
	}{
		{"the user", User, "secret", true},
		{"another user", "root", "secret", false},
		{"an empty password", User, "", false},
		{"a password with a NUL", User, "a\x00b", false},
	} {
		if err := CheckPassword(context.Background(), "/bin/true", tt.user, tt.password); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := CheckPassword(context.Background(), "/bin/false", User, "x"); !errors.Is(err, ErrPassword) {
		t.Errorf("a refusal: %v", err)
	}
	if err := CheckPassword(context.Background(), "/nonexistent", User, "x"); err == nil || errors.Is(err, ErrPassword) {
		t.Errorf("no helper: %v", err)
	}
}
