package sim

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/wire"
	"holdfast/internal/cluster/state"
)

// A world without a cluster: two hosts, each with a volume process that follows plain DRBD 8.4 rules, and operators who type
// drbdadm's verbs at any time. Hosts, disks, network, clients and the engine are those of the world with a cluster; there is no
// daemon, no log and no guard. What must hold is in unboundjudge.go, and what is true of the data in lineage.go.

// UnboundOptions shape a world without a cluster; the zero value of each field lets the seed decide.
type UnboundOptions struct {
	Setting Setting
	// Quiet: no faults and no verbs but those the caller makes, and no clients but those it starts.
	Quiet bool
	// Log, if not nil, gets what the real parts log, with the virtual time.
	Log slog.Handler
}

// Setting is the configuration of the resource, in the words of drbd.conf(5).
type Setting struct {
	Protocol, ZeroPri, OnePri, TwoPri string
	OnIOError, NoData, Fencing        string
	VerifyAlg, CsumsAlg, Integrity    string
	AlwaysASBP                        bool
	Size                              int64
	ALExtents                         int
	Discard                           bool // clients discard
}

// unbound is what a world without a cluster has beside hosts, disks and network.
type unbound struct {
	*World
	set     Setting
	parties [2]*party
	lineage *lineage
	grown   bool // the disks have been made larger
	// corrupt are the blocks that one disk has changed by itself.
	corrupt map[int]bool
	touched map[int]instant // when a block whose content is not judged was written last
	forked  bool            // a second generation of the data has begun, in which other writes may be read
	serving *host           // the last Primary, unless it has stopped being one
	made    int             // connections made
	counts  UnboundStats
	mending bool // the last phase: faults are over
}

// UnboundStats count what a run has seen, to tell a test that tests nothing.
type UnboundStats struct {
	Stats
	Verbs, Refused, Resyncs, Splits, Settled, Verifies, Found, Resizes, Errors, Equal uint64
}

// party is a host's part in the volume.
type party struct {
	u      *unbound
	h      *host
	res    *resfile.Resource
	meant  bool // to run: the operator has typed up, and not down
	status *api.VolumeStatus
	calls  map[uint64]func(api.VolumeReply)
	called uint64
	seen   wire.States // at the end of the last event
	linked int         // the connection seen last
	data   held
	// discards: the operator has connected this side with --discard-my-data; permitted tells that this connection was made so. invalid:
	// he has given its content up.
	discards, permitted, invalid bool
	// verifying is when the verify this side began did, 0 if none is under way.
	verifying instant
	marked    uint64  // bits set when it began
	leans     bool    // its users have last seen the peer's disk
	thinned   instant // when the only disk its users had last lost its power
}

// NewUnbound makes the world of a seed: both hosts are up, nothing else.
func NewUnbound(seed uint64, o UnboundOptions) *unbound {
	w := &World{Seed: seed, rng: rand.New(rand.NewPCG(seed, 0x756e626f756e64)), clocks: true, quiet: o.Quiet, opts: Options{Quiet: o.Quiet, Log: o.Log}}
	w.takeOverRandomness()
	u := &unbound{World: w, set: o.Setting, lineage: newLineage(), corrupt: map[int]bool{}, touched: map[int]instant{}}
	w.unbound = u
	u.drawSetting()
	w.opts.Size, w.opts.ALExtents = u.set.Size, u.set.ALExtents
	for i, name := range []string{"db1", "db2"} {
		w.hosts = append(w.hosts, newHost(w, i, name, state.Data))
	}
	w.data = w.hosts
	w.cuts = [][]int{make([]int, 2), make([]int, 2)}
	w.link = &replication{w: w}
	w.firstStrand()
	generation := w.rng.Uint64() | 1<<63
	for i, h := range w.data {
		w.balance = append(w.balance, &balancer{h: h})
		h.disk = newStore(w, w.opts.Size+w.metadataSize())
		h.disk.owner = h
		if err := h.disk.format(w.rng.Uint64()|1, generation&^1); err != nil {
			panic(err)
		}
		u.parties[i] = &party{u: u, h: h, res: u.resource(i), calls: map[uint64]func(api.VolumeReply){}, data: newHeld()}
		u.parties[i].data.whole = true
	}
	return u
}

// party finds that of a host.
func (u *unbound) party(h *host) *party { return u.parties[h.index] }

func (p *party) peer() *party { return p.u.parties[1-p.h.index] }

// pick draws one of some words unless one is set.
func (u *unbound) pick(set *string, words ...string) {
	word := words[u.rng.IntN(len(words))]
	if *set == "" {
		*set = word
	}
}

// drawSetting fills in what the options leave to the seed.
func (u *unbound) drawSetting() {
	s := &u.set
	u.pick(&s.Protocol, "C", "C", "C", "B", "A")
	u.pick(&s.ZeroPri, "disconnect", "disconnect", "discard-younger-primary", "discard-older-primary", "discard-zero-changes", "discard-least-changes", "discard-node-db1", "discard-node-db2")
	u.pick(&s.OnePri, "disconnect", "disconnect", "consensus", "discard-secondary", "call-pri-lost-after-sb", "violently-as0p")
	u.pick(&s.TwoPri, "disconnect", "call-pri-lost-after-sb")
	u.pick(&s.OnIOError, "detach", "detach", "pass_on", "call-local-io-error")
	u.pick(&s.NoData, "io-error", "suspend-io")
	u.pick(&s.Fencing, "dont-care", "resource-only")
	u.pick(&s.VerifyAlg, "crc32c", "md5")
	u.pick(&s.CsumsAlg, "none", "none", "md5")
	u.pick(&s.Integrity, "none", "none", "crc32c")
	always, discard, large := u.chance(3), u.chance(2), u.chance(12)
	if !u.opts.Quiet {
		s.AlwaysASBP, s.Discard = always, discard
	}
	if s.Size == 0 {
		s.Size = 512 << 10
		if large && !u.opts.Quiet {
			s.Size = 13*4<<20 + 64<<10 // more extents than the smallest activity log has room for
		}
	}
	if s.ALExtents == 0 {
		s.ALExtents = 7
	}
}

// resource is the configuration of one host: a policy that names a node is local on one and remote on the other.
func (u *unbound) resource(index int) *resfile.Resource {
	s := u.set
	zero := s.ZeroPri
	if n := len("discard-node-db"); len(zero) == n+1 && zero[:n] == "discard-node-db" {
		zero = "discard-remote"
		if s.ZeroPri[n:] == fmt.Sprint(index+1) {
			zero = "discard-local"
		}
	}
	net := fmt.Sprintf("protocol %s; after-sb-0pri %s; after-sb-1pri %s; after-sb-2pri %s; verify-alg %s;", s.Protocol, zero, s.OnePri, s.TwoPri, s.VerifyAlg)
	for _, o := range [][2]string{{"csums-alg", s.CsumsAlg}, {"data-integrity-alg", s.Integrity}} {
		if o[1] != "none" {
			net += fmt.Sprintf(" %s %s;", o[0], o[1])
		}
	}
	if s.AlwaysASBP {
		net += " always-asbp;"
	}
	text := fmt.Sprintf(`resource %s {
  options { on-no-data-accessible %s; }
  net { %s }
  disk { on-io-error %s; fencing %s; }
  on db1 { device /dev/drbd1; disk /disk/db1; address 10.0.0.1:7788; meta-disk internal; }
  on db2 { device /dev/drbd1; disk /disk/db2; address 10.0.0.2:7788; meta-disk internal; } }`, volumeName, s.NoData, net, s.OnIOError, s.Fencing)
	return parseResource("unbound.res", text)
}

// Start brings both hosts up, and makes the first Primary.
func (u *unbound) Start() {
	for _, p := range u.parties {
		p.boot()
	}
	u.after(500*time.Millisecond, "first primary", func() { u.parties[0].do(api.VolumeDo{Verb: api.VolumePrimary}, nil) })
}
