package replica

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"holdfast/internal/block/wire"
)

// Stepped is a link without sockets and goroutines: its caller carries the packets over, stream by stream and in order, and
// says when the link is down. The simulator drives volumes with it.
type Stepped struct{ *Link }

// NewStepped makes the link of cfg with the peer that would dial with theirs. It fails where the greeting of a real
// connection does. acceptedMeta is Link.ResolveConflicts: true on one side.
func NewStepped(cfg, theirs Config, acceptedMeta bool) (Stepped, error) {
	if cfg.Bound != theirs.Bound {
		return Stepped{}, fmt.Errorf("connect to %s: one side is in a cluster, the other is not", cfg.Peer)
	}
	l := &Link{cfg: cfg.withDefaults(), closed: make(chan struct{}), credit: newCredit(), stepped: true, ResolveConflicts: acceptedMeta}
	if cfg.Bound {
		hello := theirs.hello()
		if err := cfg.check(hello); err != nil {
			return Stepped{}, fmt.Errorf("connect to %s: %w", cfg.Peer, err)
		}
		l.PeerDevice, l.PeerInstance = parseHex(hello.Device), hello.Instance
	}
	ours := wire.Features{Min: wire.ProtocolMin, Max: wire.ProtocolMax, Flags: cfg.offers()}
	var err error
	if l.Protocol, l.Features, err = ours.Agree(wire.Features{Min: ours.Min, Max: ours.Max, Flags: theirs.offers()}); err != nil {
		return Stepped{}, fmt.Errorf("connect to %s: %w", cfg.Peer, err)
	}
	if err = l.agreeDigest(); err != nil {
		return Stepped{}, err
	}
	l.data, l.meta = newChannel(nil, false), newChannel(nil, false)
	return Stepped{l}, nil
}

// Take removes and returns what waits to be sent on the data or the meta connection, nil if nothing does. It copies, so
// that buffers given to Send are free afterwards.
func (s Stepped) Take(meta bool) []byte {
	c := s.channel(meta)
	if len(c.queue.items) == 0 {
		return nil
	}
	q := c.queue
	c.queue = outbox{}
	q.fillSums(s.sumOut())
	var out bytes.Buffer
	from := 0
	for _, it := range q.items {
		out.Write(q.heads[from:it.end])
		out.Write(it.extra)
		it.buffer.Release()
		from = it.end
	}
	return out.Bytes()
}

func (s Stepped) channel(meta bool) *channel {
	if meta {
		return s.meta
	}
	return s.data
}

// Receive hands over whole packets that came on one of the connections; the handler of Start gets them before it returns.
func (s Stepped) Receive(meta bool, packets []byte) error {
	c := s.channel(meta)
	c.in = bufio.NewReader(bytes.NewReader(packets))
	for {
		h, err := c.header()
		if err == io.EOF {
			return nil
		}
		if err == nil && meta {
			err = s.receiveMeta(h)
		} else if err == nil {
			err = s.receive(h)
		}
		if err != nil {
			return fmt.Errorf("packets of %s: %w", s.cfg.Peer, err)
		}
	}
}

// Closed tells whether this side has dropped the link.
func (s Stepped) Closed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// End drops the link if it is not dropped yet, as the loss of a connection does, and tells the owner that it is down. It is
// called once.
func (s Stepped) End(reason string, silent bool) {
	s.end(reason, silent)
	if s.down != nil {
		s.down(s.reason, s.silent)
	}
}

// Beat sends a ping, as the watch of a real link does for a silent peer.
func (s Stepped) Beat() {
	s.pingsSent.Add(1)
	s.sendPing()
}
