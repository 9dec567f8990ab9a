package replica

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"holdfast/internal/block/wire"
)

// offered are the features this side has. Write-same is offered because with it come the limits in P_SIZES and the rules
// for a crashed Primary of DRBD 8.4.7; P_SIZES says that no such writes are to be sent.
const offered = wire.FeatureTrim | wire.FeatureThinResync | wire.FeatureWriteSame | wire.FeatureWriteZeroes

// negotiate agrees on the protocol version and the features, then authenticates.
func (l *Link) negotiate() error {
	deadline := time.Now().Add(l.cfg.handshake())
	l.data.conn.SetDeadline(deadline)
	defer l.data.conn.SetDeadline(time.Time{})
	ours := wire.Features{Min: wire.ProtocolMin, Max: wire.ProtocolMax, Flags: offered}
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
	if l.cfg.HMAC == "" {
		return nil
	}
	if err := l.authenticate(); err != nil {
		return fmt.Errorf("authentication of %s: %w", l.cfg.Peer, err)
	}
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
	alg, err := digest(l.cfg.HMAC)
	if err != nil {
		return err
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
		return fmt.Errorf("wrong answer: do both nodes have the same shared-secret?")
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

func digest(name string) (func() hash.Hash, error) {
	switch name {
	case "md5":
		return md5.New, nil
	case "sha1":
		return sha1.New, nil
	case "sha256":
		return sha256.New, nil
	case "sha384":
		return sha512.New384, nil
	case "sha512":
		return sha512.New, nil
	}
	return nil, fmt.Errorf("cram-hmac-alg %q is not known: use sha1, sha256, sha512 or md5", name)
}

func parseHex(s string) uint64 {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0
	}
	return v
}
