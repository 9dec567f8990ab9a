package peer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
)

// side is a machine with as much of a shell as its decisions need: counts of bits, what was stored, what was answered.
type side struct {
	t       *testing.T
	name    string
	m       *Machine
	other   *side
	linked  bool
	bits    uint64
	unconf  bool
	busy    bool
	now     time.Duration
	fresh   uint64
	sb      metadata.Superblock
	epoch   uint64
	role    string
	broken  string
	mode    string // of the write path
	held    bool
	owes    bool  // what the peer had not flushed may be lost
	roomFor int64 // of a disk that has grown
	grown   []Effect
	growErr error
	without bool // the path is without a local disk
	saves   int  // how often a heal has saved what differs
	replies []api.VolumeReply
	queue   []Effect // packets for the other side
	log     []string
}

func (s *side) env() Env {
	s.fresh += 0x1000000000
	return Env{Now: s.now, Fresh: s.fresh, OOS: s.bits, Unconfirmed: s.unconf, Idle: !s.busy}
}

// run carries effects out.
func (s *side) run() {
	for list := s.m.Effects(); len(list) > 0; list = s.m.Effects() {
		for _, e := range list {
			s.effect(e)
		}
	}
}

func (s *side) effect(e Effect) {
	switch e.Do {
	case Store:
		s.m.Superblock(&s.sb)
	case StoreEpoch:
		s.epoch = e.Number
	case SaveRole:
		s.role = "secondary"
		if s.m.IsPrimary() {
			s.role = fmt.Sprintf("primary of %d", e.Number)
		}
	case SetAllBits:
		s.bits = 1000
	case ClearAllBits:
		s.bits = 0
	case MarkExtents:
		s.bits += 7
	case CloseLink:
		s.cut(e.Text)
	case PathUp:
		s.mode, s.owes = "up", e.Word != 0
	case PathSuspend:
		s.mode = "suspended"
	case PathGone:
		s.mode = "gone"
	case PathDropDisk:
		s.without = true
	case PathTakeDisk:
		s.without = false
	case Grow:
		if s.m.IsPrimary() && s.linked && s.other.m.size < int64(e.Number) {
			s.t.Errorf("%s: the Primary has grown before its peer", s.name)
		}
		s.grown = append(s.grown, e)
		if e.Word == GrowFresh {
			s.bits += 100
		}
		s.m.Resized(s.env(), int64(e.Number), s.growErr)
	case DropDisk:
		s.loseDisk(true)
	case PathHold:
		s.held = true
	case PathRelease:
		s.held = false
	case PathBreak:
		s.broken = e.Text
	case Answer:
		s.replies = append(s.replies, e.Reply)
	case Log, Warn:
		s.log = append(s.log, e.Text)
	case SendFirst, SendSizes, SendUUIDs, SendState, SendBitmap, SendSyncUUID, SendChange, SendConnChange, SendReply, SendConnReply:
		if e.Do == SendUUIDs {
			e.UUIDs.Bits = s.bits
		}
		s.queue = append(s.queue, e)
	case StartTarget:
		s.queue = append(s.queue, Effect{Do: StartTarget})
	case HealHold:
		s.saves++
		s.m.HealSaved(s.env())
	case HealEnded:
		s.log = append(s.log, "heal ended: "+e.Text)
	}
}

// cut ends the connection for both.
func (s *side) cut(why string) {
	for _, x := range []*side{s, s.other} {
		if x.linked {
			x.linked, x.queue = false, nil
			x.m.LinkDown(x.env(), why, false)
			defer x.run()
		}
	}
}

// deliver passes a packet of the other side's on.
func (s *side) deliver(e Effect) {
	m := s.m
	switch e.Do {
	case SendFirst:
		m.PeerProtocol(s.env(), wire.ProtocolInfo{Protocol: 3}, wire.ProtocolInfo{Protocol: 3})
		s.deliverSizes(wire.SizesInfo{Current: uint64(s.other.m.size / 512)})
	case SendSizes:
		i := wire.SizesInfo{User: e.Number, DDSFlags: uint16(e.Word), Current: uint64(s.other.m.size / 512)}
		if e.ID != 0 {
			i.Current = 0
		}
		s.deliverSizes(i)
	case SendUUIDs:
		m.PeerUUIDs(s.env(), e.UUIDs)
	case SendState:
		m.PeerState(s.env(), wire.StatesOf(e.Word))
	case SendBitmap:
		s.bits = max(s.bits, s.other.bits)
		m.BitmapReceived(s.env())
	case SendSyncUUID:
		m.PeerSyncUUID(s.env(), e.Number)
	case SendChange:
		m.PeerChange(s.env(), e.Change)
	case SendConnChange:
		m.PeerConnChange(s.env(), e.Change)
	case SendReply:
		m.ChangeReply(s.env(), e.Return)
	case SendConnReply:
		m.ConnChangeReply(s.env(), e.Return)
	}
	s.run()
}

// deliverSizes passes P_SIZES on, with what the other side's disk has room for.
func (s *side) deliverSizes(i wire.SizesInfo) {
	i.Disk = uint64(s.other.room() / 512)
	s.m.PeerSizes(s.env(), i, s.room(), 0)
}

// room is what the disk has room for, in bytes: the device's size unless it has grown.
func (s *side) room() int64 {
	if s.roomFor != 0 {
		return s.roomFor
	}
	return s.m.size
}

type simPair struct{ a, b *side }

func newSim(t *testing.T, a, b Attach) *simPair {
	p := &simPair{a: &side{t: t, name: "a", fresh: 0xa000000000000000}, b: &side{t: t, name: "b", fresh: 0xb000000000000000}}
	p.a.other, p.b.other = p.b, p.a
	for s, at := range map[*side]Attach{p.a: a, p.b: b} {
		s.m = New(Settings{Resource: "r0", Node: s.name, PeerNode: s.other.name, Minor: 1}, 0)
		if at.Size == 0 {
			at.Size = 64 << 20
		}
		s.m.Attached(s.env(), at, nil)
		s.run()
	}
	return p
}

// settle exchanges packets until neither has any; a resync, when it begins, is carried out at once unless slow.
func (p *simPair) settle(slow bool) { p.settleUpTo(-1, slow) }

// settleUpTo exchanges at most n packets; it tells whether that many were there.
func (p *simPair) settleUpTo(n int, slow bool) bool {
	for busy := true; busy; {
		busy = false
		for _, s := range []*side{p.a, p.b} {
			if len(s.queue) == 0 {
				continue
			}
			if n == 0 {
				return true
			}
			n--
			busy = true
			e := s.queue[0]
			s.queue = s.queue[1:]
			if e.Do == StartTarget {
				if !slow {
					s.bits, s.other.bits = 0, 0
					s.m.TargetDone(s.env())
					s.run()
				}
				continue
			}
			s.other.deliver(e)
		}
	}
	return false
}

func (p *simPair) link(slow bool) { p.linkUpTo(-1, slow) }

// linkUpTo makes a connection and exchanges at most n packets.
func (p *simPair) linkUpTo(n int, slow bool) (more bool) {
	for _, s := range []*side{p.a, p.b} {
		if !s.m.Link().Wanted {
			return false
		}
	}
	for i, s := range []*side{p.a, p.b} {
		s.linked = true
		s.m.LinkUp(s.env(), LinkInfo{Protocol: 101, Features: 15, ResolveConflicts: i == 0, PeerDevice: s.other.m.device, PeerInstance: "life of " + s.other.name})
	}
	p.a.run()
	p.b.run()
	return p.settleUpTo(n, slow)
}

// connect is `up` on both without a cluster.
func (p *simPair) connect() {
	for _, s := range []*side{p.a, p.b} {
		s.m.View(s.env(), api.VolumeView{})
		s.m.Connect(s.env(), false)
		s.run()
	}
	p.link(false)
}

func (s *side) state() string {
	var st api.VolumeStatus
	s.m.FillStatus(&st)
	text := fmt.Sprintf("%s %s/%s %s/%s", st.Conn, st.Role, st.PeerRole, st.Disk, st.PeerDisk)
	if st.Frozen != "" {
		text += " frozen"
	}
	if st.Reason != "" {
		text += " (" + st.Reason + ")"
	}
	return text
}

func (s *side) expect(want string) {
	s.t.Helper()
	if got := s.state(); got != want {
		s.t.Errorf("%s: got  %q\nwant %q\nlog: %s", s.name, got, want, strings.Join(s.log, "\n     "))
	}
}

func (s *side) primary(force bool, epoch uint64) api.VolumeReply {
	s.m.Primary(s.env(), 1, force, epoch)
	s.run()
	(&simPair{a: s, b: s.other}).settle(false)
	if len(s.replies) == 0 { // it waits for the peer's demotion
		s.tick(block.PingTimeout)
	}
	return s.lastReply()
}

func (s *side) secondary() api.VolumeReply {
	s.m.Secondary(s.env(), 1)
	s.run()
	(&simPair{a: s, b: s.other}).settle(false)
	return s.lastReply()
}

func (s *side) lastReply() api.VolumeReply {
	s.t.Helper()
	if len(s.replies) == 0 {
		s.t.Fatalf("%s: no answer", s.name)
	}
	r := s.replies[len(s.replies)-1]
	s.replies = nil
	return r
}

func (s *side) tick(d time.Duration) {
	s.now += d
	s.m.Tick(s.env())
	s.run()
}

func upToDate(set generation.Set, device uint64, more metadata.Flags) Attach {
	return Attach{UUIDs: set, Device: device, Flags: metadata.Consistent | metadata.WasUpToDate | more}
}

// equal are two disks with the same data.
func equal() (Attach, Attach) {
	g := generation.Set{Current: 0x1111111111111110}
	return upToDate(g, 0xa1, 0), upToDate(g, 0xb1, 0)
}

func fresh(device uint64) Attach {
	return Attach{UUIDs: generation.Set{Current: generation.JustCreated}, Device: device}
}
