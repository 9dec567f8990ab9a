package volume

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
)

// fakeLog is the cluster's log as two volume processes see it: views go out, wants come in. Its rules are those of the
// real one (cluster/state), which this plane may not import.
type fakeLog struct {
	t       testing.TB
	p       *pair
	mu      sync.Mutex
	tls     map[string]*api.TLSFiles
	quorum  bool
	adopted bool
	branch  uint64
	epoch   uint64
	version uint64
	primary string
	unclean bool
	leaning bool
	u       []api.Replica
	wants   []api.VolumeWant
	down    map[string]bool
	gen     uint64
}

func newFakeLog(p *pair) *fakeLog {
	l := &fakeLog{t: p.t, p: p, quorum: true, tls: certificates(p.t, "a", "b"), down: map[string]bool{}}
	for _, n := range []*node{p.a, p.b} {
		n.onWant = func(w api.VolumeWant) { l.want(n, w) }
	}
	return l
}

func (l *fakeLog) view(n *node) api.VolumeView {
	return api.VolumeView{Bound: true, Adopted: l.adopted, Branch: l.branch, Epoch: l.epoch, Version: l.version, Primary: l.primary, U: slices.Clone(l.u), Leaning: l.leaning, TLS: l.tls[n.name]}
}

// publish sends the record to every node that is up.
func (l *fakeLog) publish() {
	for _, n := range []*node{l.p.a, l.p.b} {
		if !l.down[n.name] {
			n.view(l.view(n))
		}
	}
}

func (l *fakeLog) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.publish()
}

// bind takes both nodes into a cluster that does not know the volume yet.
func (l *fakeLog) bind() { l.do(func() {}) }

// adopt records the first U, as the daemon does once it sees both replicas equal.
func (l *fakeLog) adopt(primary string) {
	l.t.Helper()
	var u []api.Replica
	for _, n := range []*node{l.p.a, l.p.b} {
		st := n.until("clean", func(s *api.VolumeStatus) bool {
			return s.Conn == "Connected" && s.Disk == "UpToDate" && s.PeerDisk == "UpToDate" && s.Counters.OOS == 0 && s.Bound
		})
		u = append(u, api.Replica{Node: n.name, DeviceUUID: st.DeviceUUID, Generation: st.CurrentUUID})
	}
	if u[0].Generation != u[1].Generation {
		l.t.Fatalf("generations differ: %v", u)
	}
	l.do(func() { l.adopted, l.u, l.primary, l.epoch, l.version = true, u, primary, 1, l.version+1 })
}

func (l *fakeLog) keepOnly(keep string, generation string) bool {
	var u []api.Replica
	for _, r := range l.u {
		if r.Node == keep {
			if r.PrevGeneration != "" {
				return false
			}
			r.PrevGeneration, r.Generation = r.Generation, generation
			u = append(u, r)
		}
	}
	if len(u) == 0 {
		return false
	}
	l.u = u
	l.version++
	return true
}

// notNode is the other node.
func (l *fakeLog) notNode(name string) string {
	if name == l.p.a.name {
		return l.p.b.name
	}
	return l.p.a.name
}

func (l *fakeLog) want(n *node, w api.VolumeWant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wants = append(l.wants, w)
	if !l.quorum || w.Branch != l.branch || w.Epoch != l.epoch {
		return
	}
	switch {
	case w.Alone:
		if l.adopted || w.Version != l.version {
			return
		}
		l.version++
	case w.Confirm != "":
		for i, r := range l.u {
			if r.Node == n.name && r.Generation == w.Confirm {
				l.u[i].PrevGeneration = ""
			}
		}
	case w.Version != l.version || l.primary != n.name:
		return
	case w.Remove != "":
		if !slices.ContainsFunc(l.u, func(r api.Replica) bool { return r.Node == w.Remove }) || !l.keepOnly(l.notNode(w.Remove), w.Generation) {
			return
		}
		l.leaning = l.leaning || w.Remove == n.name
	case w.Add != nil:
		for _, r := range l.u {
			if r.Node == w.Add.Node || r.PrevGeneration != "" || r.Generation != w.Add.Generation {
				return
			}
		}
		l.u = append(slices.Clone(l.u), *w.Add)
		l.version++
		l.leaning = false
	}
	l.publish()
}

// end is the end of a tenure: by demotion, or by the expiry of the lease.
func (l *fakeLog) end(unclean bool) {
	l.do(func() { l.primary, l.unclean = "", unclean })
}

// promote begins a tenure of n.
func (l *fakeLog) promote(n *node) {
	l.t.Helper()
	l.mu.Lock()
	if !slices.ContainsFunc(l.u, func(r api.Replica) bool { return r.Node == n.name }) {
		l.mu.Unlock()
		l.t.Fatalf("%s is not in U: %v", n.name, l.u)
	}
	if l.unclean && len(l.u) > 1 {
		l.gen++
		if !l.keepOnly(n.name, fmt.Sprintf("%016X", 0xfeed000000000000+l.gen<<8)) {
			l.mu.Unlock()
			l.t.Fatalf("cannot keep only %s of %v", n.name, l.u)
		}
	}
	l.epoch++
	l.primary, l.unclean = n.name, false
	epoch := l.epoch
	l.publish()
	l.mu.Unlock()
	n.ok(api.VolumeDo{Verb: api.VolumePrimary, Epoch: epoch})
}

// lose stops a node's process: with its host's power, or alone.
func (l *fakeLog) lose(n *node, power bool) {
	l.mu.Lock()
	l.down[n.name] = true
	l.mu.Unlock()
	n.stop(power)
}

// back starts it again, and gives it a view.
func (l *fakeLog) back(n *node) {
	l.t.Helper()
	n.start()
	l.mu.Lock()
	delete(l.down, n.name)
	n.view(l.view(n))
	l.mu.Unlock()
	n.ok(api.VolumeDo{Verb: api.VolumeUp})
}

func (l *fakeLog) inU(names ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var have []string
	for _, r := range l.u {
		have = append(have, r.Node)
	}
	slices.Sort(have)
	return slices.Equal(have, names)
}

// current tells whether a status is of the record as it is now.
func (l *fakeLog) current(s *api.VolumeStatus) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.Epoch == l.epoch && s.Version == l.version
}

// whole waits until U has both, both are UpToDate and connected.
func (l *fakeLog) whole() {
	l.t.Helper()
	for _, n := range []*node{l.p.a, l.p.b} {
		n.until("whole", func(s *api.VolumeStatus) bool {
			return s.Conn == "Connected" && s.Disk == "UpToDate" && s.PeerDisk == "UpToDate" && s.Frozen == "" && l.inU("a", "b") && l.current(s)
		})
	}
}

// certificates makes a CA and a certificate for each node.
func certificates(t testing.TB, nodes ...string) map[string]*api.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(t, err)
	store := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	caPath := store("ca.pem", "CERTIFICATE", caDER)
	out := map[string]*api.TLSFiles{}
	for i, n := range nodes {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: n},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
		must(t, err)
		keyDER, err := x509.MarshalECPrivateKey(key)
		must(t, err)
		out[n] = &api.TLSFiles{CA: caPath, Cert: store(n+".pem", "CERTIFICATE", der), Key: store(n+".key", "EC PRIVATE KEY", keyDER)}
	}
	return out
}
