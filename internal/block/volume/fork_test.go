package volume

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// fork is the log of a branch that n goes on with alone: the daemon has ended the process it had. Only n hears of it.
func (l *fakeLog) fork(n *node, branch uint64) *fakeLog {
	l.t.Helper()
	l.mu.Lock()
	f := &fakeLog{t: l.t, p: l.p, tls: l.tls, quorum: true, adopted: true, branch: branch, epoch: l.epoch, version: l.version, unclean: true,
		u: slices.Clone(l.u), gen: l.gen + branch<<8, down: map[string]bool{"a": n.name != "a", "b": n.name != "b"}}
	l.down[n.name] = true
	l.mu.Unlock()
	f.take(n)
	return f
}

// take has a node's process, a new one, follow this log.
func (l *fakeLog) take(n *node) {
	l.t.Helper()
	n.stop(false)
	n.set(func() { n.onWant = func(w api.VolumeWant) { l.want(n, w) } })
	l.back(n)
}

// TestHealAcrossBranches: both sides have served, each in a branch of the log of its own, and more differs than is saved while a
// connection waits. They do not meet; then b is back in a's branch, its blocks are saved, and U has it after that.
func TestHealAcrossBranches(t *testing.T) {
	p, l := bound(t)
	p.a.write(0, fill(1, 64<<10))
	p.a.flush()
	a, b := l.fork(p.a, 1<<40), l.fork(p.b, 1<<41)
	a.promote(p.a)
	b.promote(p.b)
	p.a.write(0, fill(2, 8192))
	for off := int64(4096); off < 20<<20; off += 1 << 20 {
		p.b.write(off, fill(3, 1<<20))
	}
	p.b.flush()
	p.a.write(28<<20, fill(4, 4096))
	for _, n := range []*node{p.a, p.b} {
		if st := n.until("alone", func(s *api.VolumeStatus) bool { return s.Role == "Primary" }); st.Conn != "WFConnection" {
			t.Errorf("%s is %s to a peer of another branch", n.name, st.Conn)
		}
	}
	b.lose(p.b, false)
	a.take(p.b)
	before := p.b.image()
	p.b.until("the split brain", func(s *api.VolumeStatus) bool { return strings.Contains(s.Reason, "not known to be older") })
	if !a.inU("a") {
		t.Fatal("the side that was given up is in U before it was healed")
	}
	file := filepath.Join(t.TempDir(), "b.side")
	p.b.ok(api.VolumeDo{Verb: api.VolumeHeal, File: file})
	p.b.untilHeal(api.HealDone)
	p.b.until("in U", func(*api.VolumeStatus) bool { return a.inU("a", "b") })
	if !bytes.Equal(before, applied(t, file, p.b.image())) {
		t.Error("the file does not hold what the losing side had")
	}
	p.a.write(29<<20, fill(5, 4096))
	p.identical()
}
