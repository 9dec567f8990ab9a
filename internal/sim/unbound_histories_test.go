package sim

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// pairStory is a named history of a pair without a cluster: no faults and no verbs but those it makes.
type pairStory struct {
	*unbound
	t    *testing.T
	a, b *party
}

// newPairStory brings a pair up, with the first host Primary and clients on both.
func newPairStory(t *testing.T, seed uint64, s Setting) *pairStory {
	t.Helper()
	o := UnboundOptions{Setting: s, Quiet: true}
	if testing.Verbose() && os.Getenv("SIM_LOG") != "" {
		o.Log = slog.NewTextHandler(os.Stdout, nil)
	}
	u := NewUnbound(seed, o)
	p := &pairStory{unbound: u, t: t, a: u.parties[0], b: u.parties[1]}
	u.Start()
	u.startClients(2)
	p.wait("a whole pair", u.healthy)
	p.acks(10)
	return p
}

// plainSetting is DRBD's default with a protocol; what is not set is drawn.
func plainSetting(protocol string) Setting {
	return Setting{Protocol: protocol, ZeroPri: "disconnect", OnePri: "disconnect", TwoPri: "disconnect", OnIOError: "detach", NoData: "io-error",
		Fencing: "dont-care", VerifyAlg: "md5", CsumsAlg: "none", Integrity: "none"}
}

func (p *pairStory) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pairStory) wait(what string, ok func() bool) { p.t.Helper(); p.must(p.until(what, ok)) }

func (p *pairStory) run(d time.Duration) { p.t.Helper(); p.must(p.Run(d)) }

// acks waits for some more acknowledged writes.
func (p *pairStory) acks(n uint64) {
	p.t.Helper()
	want := p.stats.Acked + n
	p.wait(fmt.Sprintf("%d acknowledged writes", n), func() bool { return p.stats.Acked >= want })
}

// verb types a verb and waits for its answer.
func (p *pairStory) verb(on *party, do api.VolumeDo) (reply api.VolumeReply) {
	p.t.Helper()
	done := false
	on.do(do, func(r api.VolumeReply) { reply, done = r, true })
	p.wait("the answer to "+string(do.Verb), func() bool { return done })
	return reply
}

func (p *pairStory) ok(on *party, v api.VolumeVerb) {
	p.t.Helper()
	if r := p.verb(on, api.VolumeDo{Verb: v}); r.Code != 0 {
		p.t.Fatalf("%s on %s: %+v; %s", v, on.h.name, r, p.describe())
	}
}

// apart cuts the hosts from one another and waits until both know.
func (p *pairStory) apart() {
	p.t.Helper()
	p.Cut(p.data[0], p.data[1])
	p.wait("the loss of the connection", func() bool {
		return p.a.states().Conn < wire.Connected && p.b.states().Conn < wire.Connected
	})
}

func (p *pairStory) end() { p.t.Helper(); p.must(p.Finish()) }

// splitPair has both sides write while they are apart: b writes more if it may write at all. The first was Primary when they
// parted.
func (p *pairStory) splitPair(bWrites, bStays bool) {
	p.t.Helper()
	p.apart()
	p.acks(4)
	p.ok(p.a, api.VolumeSecondary)
	p.halted = !bWrites
	p.run(time.Second)
	p.ok(p.b, api.VolumePrimary)
	if bWrites {
		p.acks(60)
	}
	if !bStays {
		p.ok(p.b, api.VolumeSecondary)
	}
	p.Mend(p.data[0], p.data[1])
}

// TestSplitBrainPolicies: the outcome of a split brain is the one of the policy.
func TestSplitBrainPolicies(t *testing.T) {
	cases := []struct {
		zero, one       string
		bWrites, bStays bool
		target          int // index of the side given up; -1: nobody is
	}{
		{"disconnect", "disconnect", true, false, -1},
		{"discard-younger-primary", "disconnect", true, false, 1},
		{"discard-older-primary", "disconnect", true, false, 0},
		{"discard-zero-changes", "disconnect", true, false, -1},
		{"discard-zero-changes", "disconnect", false, false, 1},
		{"discard-least-changes", "disconnect", true, false, 0},
		{"discard-node-db1", "disconnect", true, false, 0},
		{"discard-node-db2", "disconnect", true, false, 1},
		{"discard-node-db1", "disconnect", true, true, -1},
		{"discard-node-db2", "consensus", true, true, -1},
		{"discard-node-db1", "consensus", true, true, 0},
		{"disconnect", "discard-secondary", true, true, 0},
		{"discard-node-db1", "call-pri-lost-after-sb", true, true, 0},
		{"discard-node-db2", "call-pri-lost-after-sb", true, true, -1},
		{"discard-least-changes", "violently-as0p", true, true, 0},
		{"discard-node-db2", "violently-as0p", true, true, -1},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s %s wrote %v Primary %v", c.zero, c.one, c.bWrites, c.bStays), func(t *testing.T) {
			s := plainSetting("C")
			s.ZeroPri, s.OnePri = c.zero, c.one
			p := newPairStory(t, 11, s)
			p.splitPair(c.bWrites, c.bStays)
			target := -1
			over := func() bool {
				for i, q := range p.parties {
					if targeting(q.states().Conn) {
						target = i
					}
				}
				return p.a.reason()+p.b.reason() != "" || settled(p.a.states()) && settled(p.b.states())
			}
			p.wait("the outcome", over)
			p.halted = false
			if target != c.target {
				t.Errorf("the side given up is %d, want %d; %s", target, c.target, p.describe())
			}
			p.end()
		})
	}
}

// TestSplitBrainNeedsAWord: without a policy both sides stand alone until an operator names the victim, whose word is good for one
// connection.
func TestSplitBrainNeedsAWord(t *testing.T) {
	p := newPairStory(t, 12, plainSetting("C"))
	p.splitPair(true, true)
	p.wait("both sides StandAlone", func() bool { return p.a.reason() != "" && p.b.states().Conn == wire.StandAlone })
	p.ok(p.b, api.VolumeConnect)
	if r := p.verb(p.a, api.VolumeDo{Verb: api.VolumeConnect, DiscardMyData: true}); r.Code != 0 {
		t.Fatal(r.Error)
	}
	p.wait("the end of the resync", p.healthy)
	p.halted = true // the next split brain is a's, in which it must not be given up again
	p.ok(p.b, api.VolumeSecondary)
	p.ok(p.a, api.VolumePrimary)
	p.halted = false
	p.acks(4)
	p.splitPair(true, false)
	p.wait("another split brain", func() bool { return p.a.reason()+p.b.reason() != "" })
	p.end()
}

// TestVerifyFindsWhatDiffers: online verify, begun on either side while clients write, finds exactly the blocks one disk has changed by
// itself; the next connection mends them.
func TestVerifyFindsWhatDiffers(t *testing.T) {
	for n := range 6 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := newPairStory(t, uint64(20+n), plainSetting("C"))
			for p.counts.Found == 0 {
				for len(p.corrupt) < 3 {
					p.corruptBlock()
				}
				p.ok(p.parties[n%2], api.VolumeVerify)
				p.wait("the end of the verify", func() bool { return p.parties[n%2].verifying == 0 })
			}
			if p.counts.Found != 3 {
				t.Errorf("found %d blocks of 3", p.counts.Found)
			}
			p.end()
		})
	}
}

// TestDiskErrors: on-io-error. With a peer that is UpToDate no error is seen, and the disk that is attached again is resynced.
func TestDiskErrors(t *testing.T) {
	for _, how := range []string{"detach", "pass_on", "call-local-io-error"} {
		for n := range 4 {
			t.Run(fmt.Sprintf("%s %d", how, n), func(t *testing.T) {
				s := plainSetting("C")
				s.OnIOError = how
				p := newPairStory(t, uint64(30+n), s)
				q := p.parties[n%2]
				q.h.disk.bad = map[int]bool{p.model.places[n]: true}
				p.wait("the error", func() bool { return q.states().Disk != generation.UpToDate })
				p.acks(20)
				q.repair()
				p.end()
			})
		}
	}
}

// TestDiskComesAndGoes: a Primary's disk is detached and attached again and again while clients write, with every protocol; what it
// missed is never read from it, and never counts as equal.
func TestDiskComesAndGoes(t *testing.T) {
	for _, protocol := range []string{"A", "B", "C"} {
		for n := range 12 {
			t.Run(fmt.Sprintf("%s %d", protocol, n), func(t *testing.T) {
				p := newPairStory(t, uint64(40+n), plainSetting(protocol))
				for range 8 {
					p.run(p.between(0, 40*time.Millisecond))
					p.a.do(api.VolumeDo{Verb: api.VolumeDetach}, nil)
					p.run(p.between(0, 60*time.Millisecond))
					p.a.do(api.VolumeDo{Verb: api.VolumeAttach}, nil)
				}
				if n%3 == 0 {
					p.a.kill()
				}
				p.end()
			})
		}
	}
}

// TestOnlineResize: the device grows while clients write and something fails; both sides have its new size, what is new is in
// sync, and nothing is lost.
func TestOnlineResize(t *testing.T) {
	faults := map[string]func(p *pairStory){
		"nothing":            func(*pairStory) {},
		"the peer's process": func(p *pairStory) { p.b.kill() },
		"the Primary's":      func(p *pairStory) { p.a.kill() },
		"the peer's power":   func(p *pairStory) { p.b.powerLoss() },
		"the Primary's power": func(p *pairStory) {
			p.a.powerLoss()
		},
		"the connection": func(p *pairStory) { p.link.resetIn = 1 + p.rng.IntN(4) },
	}
	for name, fault := range faults {
		for n := range 6 {
			t.Run(fmt.Sprintf("%s %d", name, n), func(t *testing.T) {
				p := newPairStory(t, uint64(60+n), plainSetting("C"))
				p.enlargeDisks()
				p.parties[n%2].do(api.VolumeDo{Verb: api.VolumeResize}, nil)
				p.run(time.Duration(n*n) * 300 * time.Microsecond)
				fault(p)
				p.run(time.Second)
				p.end()
				if !p.resized() {
					t.Error(p.describe())
				}
			})
		}
	}
}
