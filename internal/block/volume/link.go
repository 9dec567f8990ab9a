package volume

import (
	"context"
	"fmt"
	"slices"
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
func (r *resource) followPolicy() {
	want := r.policy()
	if want != r.line.policy {
		r.line.policy = want
		if r.line.cancel != nil {
			r.line.cancel()
			r.line.cancel = nil
		}
		r.closeLink("another epoch, or no connection, is wanted")
	}
	// An old connection's writes are carried out before there is a new one (S3).
	if want.Wanted && r.line.link == nil && r.line.cancel == nil && r.line.peerJobs == 0 {
		r.dial(want)
	}
}

// policy is the connection that every volume agrees to.
func (r *resource) policy() peer.LinkPolicy {
	p := r.parts[0].machine.Link()
	for _, e := range r.parts[1:] {
		p.Wanted = e.machine.Link().Wanted && p.Wanted
	}
	return p
}

// refuse drops the connection for good, for every volume.
func (r *resource) refuse(why string) {
	for _, e := range r.parts {
		if e.machine.Reason() != why {
			e.machine.Refused(e.env(), why)
		}
	}
}

// followRefusal: what one volume has refused is no connection for the others either.
func (r *resource) followRefusal() {
	if !r.several() {
		return
	}
	for _, e := range r.parts {
		why := e.machine.Reason()
		if why == "" {
			continue
		}
		for _, o := range r.parts {
			if o.machine.Reason() == "" {
				o.machine.Refused(o.env(), fmt.Sprintf("volume %d: %s", e.volume.Number, why))
			}
		}
		r.settle()
		return
	}
}

func (r *resource) dial(p peer.LinkPolicy) {
	r.line.attempt++
	attempt := r.line.attempt
	net := r.cfg.Resource.Net()
	cfg := replica.Config{
		Local: r.self.Address.Endpoint(), Remote: r.other.Address.Endpoint(), Resource: r.cfg.Resource.Name,
		Node: r.cfg.Node, Peer: r.other.Name(), Bound: p.Bound, Branch: p.Branch, Epoch: p.Epoch, TLS: p.TLS,
		Device: fmt.Sprintf("%016X", r.parts[0].machine.Device()), Instance: r.instance, Log: r.log,
	}
	if !p.Bound {
		cfg.Secret, cfg.HMAC = net.Text("shared-secret", ""), net.Text("cram-hmac-alg", "")
		cfg.PingInterval = seconds(net.Number("ping-int", 0))
		cfg.PingTimeout = tenths(net.Number("ping-timeout", 0))
		cfg.SendTimeout = r.peerTimeout()
		cfg.Integrity = net.Text("data-integrity-alg", "")
		cfg.Refused = func(err error) { r.inbox.call(func() { r.linkRefused(err, attempt) }) }
	}
	r.line.cancel = r.connect(cfg, func(l *replica.Link) { r.linkUp(l, attempt) })
}

// peerTimeout is how long a peer may leave a request unanswered: timeout times ko-count, as DRBD has it; within a cluster it
// is short and fixed, since a failover waits for it.
func (r *resource) peerTimeout() time.Duration {
	if r.line.policy.Bound {
		return block.PeerTimeout
	}
	net := r.cfg.Resource.Net()
	times := net.Number("ko-count", block.KoCount)
	if times == 0 {
		return block.Patience
	}
	return tenths(net.Number("timeout", int64(block.PeerTimeout/tenths(1)))) * time.Duration(times)
}

// linkRefused: the peer is not the one configured.
func (r *resource) linkRefused(why error, attempt int) {
	if attempt != r.line.attempt || r.line.cancel == nil {
		return
	}
	r.refuse(why.Error())
}

// connector begins to connect and gives the way to stop that. up is called on the engine's goroutine.
type connector func(cfg replica.Config, up func(*replica.Link)) (cancel context.CancelFunc)

func (r *resource) connectSockets(cfg replica.Config, up func(*replica.Link)) context.CancelFunc {
	ctx, cancel := context.WithCancel(context.Background())
	before, ended := r.line.ended, make(chan struct{})
	r.line.ended = ended
	go func() {
		defer close(ended)
		if before != nil {
			<-before // it still has the port
		}
		l, err := replica.Connect(ctx, cfg)
		if err == nil {
			r.inbox.call(func() { up(l) })
		}
	}()
	return cancel
}

// linkUp takes a new connection into use, unless it came too late.
func (r *resource) linkUp(l *replica.Link, attempt int) {
	if attempt != r.line.attempt || r.line.cancel == nil || r.line.link != nil {
		l.Discard()
		return
	}
	r.line.cancel = nil
	if r.several() && l.Protocol < versionOfVolumes {
		l.Discard()
		r.refuse(fmt.Sprintf("the peer speaks protocol %d, which knows of one volume, and resource %s has %d: DRBD 8.4 is needed there", l.Protocol, r.cfg.Resource.Name, len(r.parts)))
		return
	}
	r.line.link, r.line.closing = l, false
	r.line.receiver = writepath.NewReceiver()
	r.line.received = r.line.received[:0]
	r.line.flushes, r.line.flushErr, r.line.leaving = 0, nil, false
	for _, e := range r.parts {
		e.unflushed = e.unflushed && e.store != nil // the peer hears in the handshake that a disk is gone
	}
	r.line.protocol = r.protocol()
	r.epochs.Reset()
	l.Start(r.pool, func(p replica.Packet) { r.inbox.post(event{link: l, packet: decode(p)}) },
		func(reason string, silent bool) { r.inbox.call(func() { r.linkDown(l, reason, silent) }) })
	for _, e := range r.parts {
		e.linkUp(l)
	}
}

// linkUp is a new connection for one volume.
func (e *engine) linkUp(l *replica.Link) {
	e.conn.asked = map[uint64]*kernel.Request{}
	e.conn.bitmapIn, e.conn.seq, e.conn.ackSeq, e.conn.heardAck = nil, 0, 0, e.now()
	e.machine.SetVerifyAlg(e.cfg.Resource.Net().Text("verify-alg", ""))
	e.machine.SetNoData(e.cfg.Resource.Setting().Text("on-no-data-accessible", "io-error") == "suspend-io")
	e.machine.SetPolicies(e.cfg.Resource.Net().Bool("always-asbp", false))
	if e.path != nil {
		e.tellOfPeer(e.path)
	}
	e.machine.LinkUp(e.env(), peer.LinkInfo{Protocol: l.Protocol, Features: l.Features, ResolveConflicts: l.ResolveConflicts,
		PeerDevice: l.PeerDevice, PeerInstance: l.PeerInstance})
}

// foreign tells whether the peer is connected and no holdfast.
func (r *resource) foreign() bool {
	return r.line.link != nil && r.line.link.Features&wire.FeatureHoldfast == 0
}

// closeLink drops the connection: nothing of it is listened to any more.
func (r *resource) closeLink(why string) {
	if r.line.link != nil && !r.line.closing {
		r.line.closing = true
		r.line.link.Close(why)
	}
}

func (r *resource) linkDown(l *replica.Link, reason string, silent bool) {
	if l != r.line.link {
		return
	}
	r.line.link, r.line.closing = nil, false
	r.forgetReceived()
	r.line.receiver = nil
	r.epochs.Reset()
	for _, e := range r.parts {
		e.conn.bitmapIn = nil
		e.endResync()
		e.endVerify()
		e.machine.LinkDown(e.env(), reason, silent)
		e.askedLost()
	}
}

// protocolInfo is P_PROTOCOL as this node's configuration has it.
func (r *resource) protocolInfo() wire.ProtocolInfo {
	net := r.cfg.Resource.Net()
	i := wire.ProtocolInfo{Protocol: r.protocol(), AfterSB0Pri: afterSB(net.Text("after-sb-0pri", "disconnect")),
		AfterSB1Pri: afterSB(net.Text("after-sb-1pri", "disconnect")), AfterSB2Pri: afterSB(net.Text("after-sb-2pri", "disconnect"))}
	if net.Bool("allow-two-primaries", false) {
		i.TwoPrimaries = 1
	}
	if !r.line.policy.Bound {
		i.IntegrityAlg = net.Text("data-integrity-alg", "")
	}
	if slices.ContainsFunc(r.parts, func(e *engine) bool { return e.machine.Discarding() }) {
		i.ConnFlags |= wire.ConnDiscardMyData
	}
	return i
}

// protocol is the replication protocol. Within a cluster a write is acknowledged only when every member of U has it (S2),
// whatever the configuration says.
func (r *resource) protocol() uint32 {
	if r.line.policy.Bound {
		return wire.ProtocolC
	}
	switch r.cfg.Resource.Protocol() {
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
