package replica

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/wire"
	"holdfast/internal/loopback"
)

const patience = 20 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// configs gives the two ends of one connection.
func configs(t *testing.T) (a, b Config) {
	x, y := loopback.Address(t), loopback.Address(t)
	a = Config{Local: x, Remote: y, Resource: "r0", Node: "a", Peer: "b", Retry: 20 * time.Millisecond}
	b = Config{Local: y, Remote: x, Resource: "r0", Node: "b", Peer: "a", Retry: 20 * time.Millisecond}
	return a, b
}

type result struct {
	l   *Link
	err error
}

func connect(ctx context.Context, c Config) chan result {
	ch := make(chan result, 1)
	go func() {
		l, err := Connect(ctx, c)
		ch <- result{l, err}
	}()
	return ch
}

// joined connects both ends.
func joined(t *testing.T, a, b Config) (x, y *Link) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, q := connect(ctx, a), connect(ctx, b)
	r, s := <-p, <-q
	must(t, r.err)
	must(t, s.err)
	t.Cleanup(func() { r.l.Close("end of test"); s.l.Close("end of test") })
	return r.l, s.l
}

type got struct {
	cmd  wire.Command
	body []byte
	info wire.DataInfo
	data []byte
}

// received starts a link and gives what comes in and why it ended.
func received(l *Link) (packets chan got, down chan string) {
	packets, down = make(chan got, 1000), make(chan string, 1)
	l.Start(&Pool{}, func(p Packet) {
		g := got{cmd: p.Command, body: bytes.Clone(p.Body), info: p.Info}
		if p.Data != nil {
			g.data = bytes.Clone(p.Data.B)
			n := len(p.Data.B)
			p.Data.Release()
			l.Done(n)
		}
		packets <- g
	}, func(why string, silent bool) { down <- fmt.Sprintf("%s silent=%v", why, silent) })
	return packets, down
}

func next(t *testing.T, ch chan got) got {
	t.Helper()
	select {
	case g := <-ch:
		return g
	case <-time.After(patience):
		t.Fatal("no packet came")
	}
	panic("unreachable")
}

func ended(t *testing.T, ch chan string) string {
	t.Helper()
	select {
	case s := <-ch:
		return s
	case <-time.After(patience):
		t.Fatal("the link did not end")
	}
	panic("unreachable")
}

func TestPacketsInOrder(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			a, b := configs(t)
			if secure {
				files := certificates(t, "a", "b")
				a.Bound, b.Bound, a.TLS, b.TLS = true, true, files["a"], files["b"]
				a.Device, b.Device, a.Instance, b.Instance = "00000000000000AA", "00000000000000BB", "life a", "life b"
			}
			x, y := joined(t, a, b)
			if x.Protocol != wire.ProtocolMax || x.ResolveConflicts == y.ResolveConflicts {
				t.Errorf("protocol %d, resolve conflicts %v and %v", x.Protocol, x.ResolveConflicts, y.ResolveConflicts)
			}
			if secure && (x.PeerDevice != 0xbb || y.PeerInstance != "life a") {
				t.Errorf("hello gave device %x, instance %q", x.PeerDevice, y.PeerInstance)
			}
			exchange(t, x, y)
		})
	}
}

func exchange(t *testing.T, x, y *Link) {
	_, xDown := received(x)
	in, yDown := received(y)
	big := bytes.Repeat([]byte("data"), 1<<18)
	for i := range 50 {
		n := []int{512, 4096, 1 << 20}[i%3]
		Send(x, 0, wire.Data, wire.DataInfo{Sector: uint64(i), BlockID: 7}, big[:n], nil)
		Send(x, 0, wire.Barrier, wire.BarrierInfo{Number: uint32(i)}, nil, nil)
	}
	for i := range 50 {
		g := next(t, in)
		if n := []int{512, 4096, 1 << 20}[i%3]; g.cmd != wire.Data || g.info.Sector != uint64(i) || !bytes.Equal(g.data, big[:n]) {
			t.Fatalf("packet %d is %v of sector %d with %d bytes", i, g.cmd, g.info.Sector, len(g.data))
		}
		if g = next(t, in); g.cmd != wire.Barrier {
			t.Fatalf("packet %d is %v, not a barrier", i, g.cmd)
		}
	}
	SendMeta(x, 0, wire.WriteAck, wire.BlockAck{Sector: 5})
	if g := next(t, in); g.cmd != wire.WriteAck {
		t.Errorf("got %v", g.cmd)
	}
	x.Close("done")
	if why := ended(t, xDown); why != "done silent=false" {
		t.Error(why)
	}
	if why := ended(t, yDown); !strings.Contains(why, "closed by the peer") && !strings.Contains(why, "reset") {
		t.Error(why)
	}
}

func TestPingTellsThatMetaWasRead(t *testing.T) {
	a, b := configs(t)
	x, y := joined(t, a, b)
	back, _ := received(x)
	in, _ := received(y)
	SendMeta(x, 0, wire.RSWriteAck, wire.BlockAck{Sector: 9})
	x.Ping()
	if g := next(t, back); g.cmd != wire.PingAck {
		t.Fatalf("got %v", g.cmd)
	}
	if len(in) != 1 {
		t.Error("the answer to the ping came before what was sent ahead of it had been read")
	}
}

func TestSilentPeerIsDropped(t *testing.T) {
	a, b := configs(t)
	a.PingInterval, a.PingTimeout = 50*time.Millisecond, 100*time.Millisecond
	x, _ := joined(t, a, b) // the other end is never started: it answers nothing
	_, down := received(x)
	if why := ended(t, down); why != "PingAck did not arrive in time silent=true" {
		t.Error(why)
	}
}

func TestRefusedPeers(t *testing.T) {
	files, foreign := certificates(t, "a", "b"), certificates(t, "a", "b")
	for name, spoil := range map[string]func(b *Config){
		"another branch":   func(b *Config) { b.Branch = 1 << 40 },
		"another epoch":    func(b *Config) { b.Epoch = 8 },
		"another resource": func(b *Config) { b.Resource = "r1" },
		"another node":     func(b *Config) { b.TLS = files["a"] },
		"another cluster":  func(b *Config) { b.TLS = foreign["b"] },
		"no TLS":           func(b *Config) { b.Bound = false },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := configs(t)
			a.Bound, b.Bound, a.TLS, b.TLS, a.Epoch, b.Epoch = true, true, files["a"], files["b"], 7, 7
			spoil(&b)
			ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
			defer cancel()
			p, q := connect(ctx, a), connect(ctx, b)
			for _, r := range []result{<-p, <-q} {
				if r.err == nil {
					r.l.Discard()
					t.Error("connected")
				}
			}
		})
	}
}

func TestSharedSecret(t *testing.T) {
	a, b := configs(t)
	a.HMAC, b.HMAC, a.Secret, b.Secret = "sha256", "sha256", "xyzzy", "xyzzy"
	x, y := joined(t, a, b)
	exchange(t, x, y)
	a, b = configs(t)
	a.HMAC, b.HMAC, a.Secret, b.Secret = "sha1", "sha1", "xyzzy", "plugh"
	ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
	defer cancel()
	p, q := connect(ctx, a), connect(ctx, b)
	for _, r := range []result{<-p, <-q} {
		if r.err == nil {
			t.Error("connected with different secrets")
		}
	}
}

// TestDRBDConversation plays the other side as the kernel module was recorded: it dials both connections and begins with
// the bytes it sent.
func TestDRBDConversation(t *testing.T) {
	a, _ := configs(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := connect(ctx, a)
	dial := func(first []byte) net.Conn {
		for {
			c, err := net.Dial("tcp", a.Local)
			if err == nil {
				_, err = c.Write(first)
				must(t, err)
				return c
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	data := dial([]byte{0x83, 0x74, 0x02, 0x67, 0xff, 0xf2, 0, 0})
	defer data.Close()
	meta := dial([]byte{0x83, 0x74, 0x02, 0x67, 0xff, 0xf1, 0, 0})
	defer meta.Close()
	features := append([]byte{0x83, 0x74, 0x02, 0x67, 0xff, 0xfe, 0, 72, 0, 0, 0, 0x56, 0, 0, 0, 0x0f, 0, 0, 0, 0x65}, make([]byte, 60)...)
	_, err := data.Write(features)
	must(t, err)
	r := <-p
	must(t, r.err)
	defer r.l.Discard()
	mine := make([]byte, len(features))
	features[12] |= 0x40 // what holdfast peers know each other by; the kernel ignores it
	if _, err := io.ReadFull(data, mine); err != nil || !bytes.Equal(mine, features) {
		t.Errorf("our features are % x (%v), the kernel's % x", mine, err, features)
	}
	if r.l.Protocol != 101 || r.l.Features != 15 {
		t.Errorf("agreed on %d, %x", r.l.Protocol, r.l.Features)
	}
}

func certificates(t *testing.T, nodes ...string) map[string]api.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	store := func(name, kind string, der []byte, err error) string {
		must(t, err)
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	caPath := store("ca", "CERTIFICATE", der, err)
	out := map[string]api.TLSFiles{}
	for i, n := range nodes {
		leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(2 + i)), Subject: pkix.Name{CommonName: n}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, key)
		cert := store(n, "CERTIFICATE", der, err)
		der, err = x509.MarshalECPrivateKey(leafKey)
		out[n] = api.TLSFiles{CA: caPath, Cert: cert, Key: store(n+".key", "EC PRIVATE KEY", der, err)}
	}
	return out
}
