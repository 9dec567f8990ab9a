package volume

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
)

// followPolicy connects, or drops a connection the machine does not want any more.
func (e *engine) followPolicy() {
	want := e.machine.Link()
	if want != e.conn.policy {
		e.conn.policy = want
		if e.conn.cancel != nil {
			e.conn.cancel()
			e.conn.cancel = nil
		}
		e.closeLink("another epoch, or no connection, is wanted")
	}
	// An old connection's writes are carried out before there is a new one (S3).
	if want.Wanted && e.conn.link == nil && e.conn.cancel == nil && e.conn.peerJobs == 0 {
		e.dial(want)
	}
}

func (e *engine) dial(p peer.LinkPolicy) {
	e.conn.attempt++
	attempt := e.conn.attempt
	net := e.cfg.Resource.Net()
	cfg := replica.Config{
		Local: e.self.Address.Endpoint(), Remote: e.other.Address.Endpoint(), Resource: e.cfg.Resource.Name,
		Node: e.cfg.Node, Peer: e.other.Name(), Bound: p.Bound, Branch: p.Branch, Epoch: p.Epoch, TLS: p.TLS,
		Device: fmt.Sprintf("%016X", e.machine.Device()), Instance: e.instance, Log: e.log,
	}
	if !p.Bound {
		cfg.Secret, cfg.HMAC = net.Text("shared-secret", ""), net.Text("cram-hmac-alg", "")
		cfg.PingInterval = seconds(net.Number("ping-int", 0))
		cfg.PingTimeout = tenths(net.Number("ping-timeout", 0))
		cfg.SendTimeout = e.peerTimeout()
		cfg.Integrity = net.Text("data-integrity-alg", "")
		cfg.Refused = func(err error) { e.inbox.call(func() { e.linkRefused(err, attempt) }) }
	}
	e.conn.cancel = e.connect(cfg, func(l *replica.Link) { e.linkUp(l, attempt) })
}

// peerTimeout is how long a peer may leave a request unanswered: timeout times ko-count, as DRBD has it; within a cluster it
// is short and fixed, since a failover waits for it.
func (e *engine) peerTimeout() time.Duration {
	if e.conn.policy.Bound {
		return block.PeerTimeout
	}
	net := e.cfg.Resource.Net()
	times := net.Number("ko-count", block.KoCount)
	if times == 0 {
		return block.Patience
	}
	return tenths(net.Number("timeout", int64(block.PeerTimeout/tenths(1)))) * time.Duration(times)
}

// linkRefused: the peer is not the one configured.
func (e *engine) linkRefused(why error, attempt int) {
	if attempt != e.conn.attempt || e.conn.cancel == nil {
		return
	}
	e.machine.Refused(e.env(), why.Error())
}

// connector begins to connect and gives the way to stop that. up is called on the engine's goroutine.
type connector func(cfg replica.Config, up func(*replica.Link)) (cancel context.CancelFunc)

func (e *engine) connectSockets(cfg replica.Config, up func(*replica.Link)) context.CancelFunc {
	ctx, cancel := context.WithCancel(context.Background())
	before, ended := e.conn.ended, make(chan struct{})
	e.conn.ended = ended
	go func() {
		defer close(ended)
		if before != nil {
			<-before // it still has the port
		}
		l, err := replica.Connect(ctx, cfg)
		if err == nil {
			e.inbox.call(func() { up(l) })
		}
	}()
	return cancel
}

// linkUp takes a new connection into use, unless it came too late.
func (e *engine) linkUp(l *replica.Link, attempt int) {
	if attempt != e.conn.attempt || e.conn.cancel == nil || e.conn.link != nil {
		l.Discard()
		return
	}
	e.conn.cancel = nil
	e.conn.link, e.conn.closing = l, false
	e.conn.receiver = writepath.NewReceiver()
	e.conn.received = e.conn.received[:0]
	e.conn.asked = map[uint64]*kernel.Request{}
	e.conn.bitmapIn, e.conn.seq, e.conn.ackSeq, e.conn.heardAck = nil, 0, 0, e.now()
	e.conn.protocol = e.protocol()
	e.machine.SetVerifyAlg(e.cfg.Resource.Net().Text("verify-alg", ""))
	e.machine.SetNoData(e.cfg.Resource.Setting().Text("on-no-data-accessible", "io-error") == "suspend-io")
	e.machine.SetPolicies(e.cfg.Resource.Net().Bool("always-asbp", false))
	if e.path != nil {
		e.tellOfPeer(e.path)
	}
	l.Start(e.pool, func(p replica.Packet) { e.inbox.post(event{link: l, packet: decode(p)}) },
		func(reason string, silent bool) { e.inbox.call(func() { e.linkDown(l, reason, silent) }) })
	e.machine.LinkUp(e.env(), peer.LinkInfo{Protocol: l.Protocol, Features: l.Features, ResolveConflicts: l.ResolveConflicts,
		PeerDevice: l.PeerDevice, PeerInstance: l.PeerInstance})
}

// foreign tells whether the peer is connected and no holdfast.
func (e *engine) foreign() bool {
	return e.conn.link != nil && e.conn.link.Features&wire.FeatureHoldfast == 0
}

// closeLink drops the connection: nothing of it is listened to any more.
func (e *engine) closeLink(why string) {
	if e.conn.link != nil && !e.conn.closing {
		e.conn.closing = true
		e.conn.link.Close(why)
	}
}

func (e *engine) linkDown(l *replica.Link, reason string, silent bool) {
	if l != e.conn.link {
		return
	}
	e.conn.link, e.conn.closing = nil, false
	e.forgetReceived()
	e.conn.receiver, e.conn.bitmapIn = nil, nil
	e.endResync()
	e.endVerify()
	e.machine.LinkDown(e.env(), reason, silent)
	e.askedLost()
}

// protocolInfo is P_PROTOCOL as this node's configuration has it.
func (e *engine) protocolInfo() wire.ProtocolInfo {
	net := e.cfg.Resource.Net()
	i := wire.ProtocolInfo{Protocol: e.protocol(), AfterSB0Pri: afterSB(net.Text("after-sb-0pri", "disconnect")),
		AfterSB1Pri: afterSB(net.Text("after-sb-1pri", "disconnect")), AfterSB2Pri: afterSB(net.Text("after-sb-2pri", "disconnect"))}
	if net.Bool("allow-two-primaries", false) {
		i.TwoPrimaries = 1
	}
	if !e.conn.policy.Bound {
		i.IntegrityAlg = net.Text("data-integrity-alg", "")
	}
	if e.machine.Discarding() {
		i.ConnFlags |= wire.ConnDiscardMyData
	}
	return i
}

// protocol is the replication protocol. Within a cluster a write is acknowledged only when every member of U has it (S2),
// whatever the configuration says.
func (e *engine) protocol() uint32 {
	if e.conn.policy.Bound {
		return wire.ProtocolC
	}
	switch e.cfg.Resource.Protocol() {
	case "A":
		return wire.ProtocolA
	case "B":
		return wire.ProtocolB
	}
	return wire.ProtocolC
}

// afterSB numbers the split-brain policies as the wire does.
func afterSB(word string) uint32 {
	p, _ := generation.PolicyNamed(word)
	return uint32(p)
}

func (e *engine) sizesInfo() wire.SizesInfo {
	s := wire.SizesInfo{MaxBIO: block.MaxIO}
	if e.hasDisk() {
		s.Disk, s.Current = uint64(e.store.capacity()/512), uint64(e.store.size/512)
		s.User = uint64(e.userSize() / 512)
	} else if e.target != nil {
		s.Current = uint64(e.target.Size() / 512)
	}
	if e.conn.link.Features&wire.FeatureWriteSame != 0 {
		s.HasLimits, s.PhysicalBlock, s.LogicalBlock, s.IOMin, s.Discard = true, 512, 512, 512, true
	}
	return s
}

func (e *engine) syncParams() wire.SyncParams {
	o := e.cfg.Resource.Disk(e.volume)
	net := e.cfg.Resource.Net()
	return wire.SyncParams{Rate: uint32(o.Number("resync-rate", 250)), VerifyAlg: net.Text("verify-alg", ""),
		CsumsAlg: net.Text("csums-alg", ""), PlanAhead: uint32(o.Number("c-plan-ahead", 20)),
		DelayTarget: uint32(o.Number("c-delay-target", 10)), FillTarget: uint32(o.Number("c-fill-target", 100)),
		MaxRate: uint32(o.Number("c-max-rate", 102400))}
}
