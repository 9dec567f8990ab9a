package replica

import (
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"holdfast/internal/block/wire"
)

// offered are the features this side has. Write-same is offered because with it come the limits in P_SIZES and the rules
// for a crashed Primary of DRBD 8.4.7; P_SIZES says that no such writes are to be sent.
const offered = wire.FeatureTrim | wire.FeatureThinResync | wire.FeatureWriteSame | wire.FeatureWriteZeroes | wire.FeatureHoldfast

// offers are the features offered to a peer. With data-integrity-alg DRBD 8.4.11 expects a digest after P_ZEROES that no
// sender puts there, and drops the connection: without the feature P_TRIM is sent, which then has to read as zeros.
func (c Config) offers() uint32 {
	if c.Integrity != "" {
		return offered &^ wire.FeatureWriteZeroes
	}
	return offered
}

// ErrRefused is a peer that proved to be another than configured: trying again is of no use before an operator has looked.
var ErrRefused = errors.New("the peer is refused")

// negotiate agrees on the protocol version and the features, then authenticates.
func (l *Link) negotiate() error {
	deadline := time.Now().Add(l.cfg.handshake())
	l.data.conn.SetDeadline(deadline)
	defer l.data.conn.SetDeadline(time.Time{})
	ours := wire.Features{Min: wire.ProtocolMin, Max: wire.ProtocolMax, Flags: l.cfg.offers()}
	if _, err := l.data.conn.Write(wire.Append(nil, wire.Form80, 0, wire.ConnectFeatures, ours, 0)); err != nil {
		return fmt.Errorf("send features: %w", err)
	}
	body, err := l.expect(wire.ConnectFeatures)
	if err != nil {
		return err
	}
	var theirs wire.Features
	if err := theirs.Decode(body); err != nil {
		return err
	}
	if l.Protocol, l.Features, err = ours.Agree(theirs); err != nil {
		return err
	}
	if err := l.agreeDigest(); err != nil || l.cfg.HMAC == "" {
		return err
	}
	if err := l.authenticate(); err != nil {
		return fmt.Errorf("authentication of %s: %w", l.cfg.Peer, err)
	}
	return nil
}

// implicitDigest protects data between two holdfast peers that configure nothing else.
const implicitDigest = "crc32c"

// agreeDigest picks what precedes the data of a packet. With a foreign peer it is what the configuration says; that both
// say the same is seen to when P_PROTOCOL comes.
func (l *Link) agreeDigest() error {
	name := l.cfg.Integrity
	if name == "" && l.Features&wire.FeatureHoldfast != 0 {
		name = implicitDigest
	}
	if name == "" {
		return nil
	}
	alg, err := wire.Digest(name)
	if err != nil {
		return fmt.Errorf("data-integrity-alg: %w", err)
	}
	l.sumIn, l.newSum = alg(), alg
	l.sumLen = l.sumIn.Size()
	return nil
}

func (l *Link) expect(cmd wire.Command) ([]byte, error) {
	h, err := l.data.header()
	if err != nil {
		return nil, fmt.Errorf("waiting for %v: %w", cmd, err)
	}
	if h.Command != cmd {
		return nil, fmt.Errorf("expected %v, got %v: do both nodes agree on cram-hmac-alg?", cmd, h.Command)
	}
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(l.data.in, body); err != nil {
		return nil, fmt.Errorf("%v: %w", cmd, err)
	}
	return body, nil
}

const challengeLen = 64

// maxChallenge bounds what a peer may ask to be signed, in bytes.
const maxChallenge = 2 * challengeLen

// authenticate proves to each side that the other knows the shared secret: an HMAC of a random challenge.
func (l *Link) authenticate() error {
	alg, err := wire.Digest(l.cfg.HMAC)
	if err != nil {
		return fmt.Errorf("cram-hmac-alg: %w", err)
	}
	mine := make([]byte, challengeLen)
	rand.Read(mine)
	if err := l.sendRaw(wire.AuthChallenge, mine); err != nil {
		return err
	}
	theirs, err := l.expect(wire.AuthChallenge)
	if err != nil {
		return err
	}
	if len(theirs) > maxChallenge || hmac.Equal(theirs, mine) {
		return fmt.Errorf("bad challenge of %d bytes", len(theirs))
	}
	sign := func(p []byte) []byte {
		h := hmac.New(alg, []byte(l.cfg.Secret))
		h.Write(p)
		return h.Sum(nil)
	}
	if err := l.sendRaw(wire.AuthResponse, sign(theirs)); err != nil {
		return err
	}
	answer, err := l.expect(wire.AuthResponse)
	if err != nil {
		return err
	}
	if !hmac.Equal(answer, sign(mine)) {
		return fmt.Errorf("%w: wrong answer: do both nodes have the same shared-secret?", ErrRefused)
	}
	return nil
}

func (l *Link) sendRaw(cmd wire.Command, body []byte) error {
	p := wire.AppendHeader(nil, wire.FormFor(l.Protocol, len(body)), wire.Header{Command: cmd, Length: uint32(len(body))})
	if _, err := l.data.conn.Write(append(p, body...)); err != nil {
		return fmt.Errorf("send %v: %w", cmd, err)
	}
	return nil
}

func parseHex(s string) uint64 {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0
	}
	return v
}
