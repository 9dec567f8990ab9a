package replica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/planted"
)

func readFull(c net.Conn, p []byte) (int, error) { return io.ReadFull(c, p) }

// secure sets the socket up and, for a bound peer, brings TLS up and exchanges hellos.
func (p *pairing) secure(e *end) error {
	if tcp, ok := e.conn.(*net.TCPConn); ok {
		tcp.SetNoDelay(true)
	}
	if !p.cfg.Bound {
		return nil
	}
	e.conn.SetDeadline(time.Now().Add(block.HandshakeTimeout))
	conf, err := tlsConfig(p.cfg)
	if err != nil {
		return err
	}
	raw, err := newSocket(e.conn)
	if err != nil {
		return err
	}
	t := tls.Server(raw, conf)
	if e.dialed {
		t = tls.Client(raw, conf)
	}
	ctx, cancel := context.WithTimeout(p.ctx, block.HandshakeTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with %s: %w", p.cfg.Peer, err)
	}
	if e.hello, err = p.greetings(t); err != nil {
		return err
	}
	e.conn.SetDeadline(time.Time{})
	e.conn = t
	return nil
}

func (p *pairing) greetings(t net.Conn) (hello, error) {
	mine := p.cfg.hello()
	var theirs hello
	if err := api.WriteFrame(t, mine); err != nil {
		return theirs, fmt.Errorf("hello: %w", err)
	}
	if err := api.ReadFrame(t, &theirs); err != nil {
		return theirs, fmt.Errorf("hello: %w", err)
	}
	return theirs, p.cfg.check(theirs)
}

// hello is what this side says first.
func (c Config) hello() hello {
	return hello{Version: helloVersion, Resource: c.Resource, Node: c.Node, Device: c.Device, Branch: c.Branch, Epoch: c.Epoch, Instance: c.Instance}
}

// check refuses a peer that is another, or of another branch or epoch (S3, S8).
func (c Config) check(theirs hello) error {
	switch {
	case theirs.Version != helloVersion:
		return fmt.Errorf("%s speaks version %d of the hello, this node %d", c.Peer, theirs.Version, helloVersion)
	case theirs.Resource != c.Resource:
		return fmt.Errorf("%s is connecting resource %q, this is %q: do both files name the same port?", c.Peer, theirs.Resource, c.Resource)
	case theirs.Node != c.Peer:
		return fmt.Errorf("expected node %s, got %q", c.Peer, theirs.Node)
	case theirs.Branch != c.Branch && !planted.OtherBranchConnects:
		return fmt.Errorf("split brain: %s is in branch %x of the cluster's log, this node in %x: their epochs do not compare, and nothing is merged; see pcs status", c.Peer, theirs.Branch, c.Branch)
	case theirs.Epoch != c.Epoch && !planted.OldEpochConnects:
		return fmt.Errorf("%s is in epoch %d, this node in %d: a connection belongs to one epoch", c.Peer, theirs.Epoch, c.Epoch)
	}
	return nil
}

// tlsConfig demands TLS 1.3 both ways and a certificate of the cluster's CA that names the peer. Names are checked here
// and not by the standard rules, because certificates name nodes and not hosts.
func tlsConfig(cfg Config) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("this node's certificate: %w", err)
	}
	pem, err := os.ReadFile(cfg.TLS.CA)
	if err != nil {
		return nil, fmt.Errorf("the cluster's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the cluster's CA: no certificate in %s", cfg.TLS.CA)
	}
	return &tls.Config{
		Certificates:                []tls.Certificate{cert},
		MinVersion:                  tls.VersionTLS13,
		ClientAuth:                  tls.RequireAnyClientCert,
		InsecureSkipVerify:          true, // VerifyConnection does it
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		VerifyConnection:            func(s tls.ConnectionState) error { return verifyPeer(s, roots, cfg.Peer) },
	}, nil
}

func verifyPeer(s tls.ConnectionState, roots *x509.CertPool, name string) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the peer shows no certificate")
	}
	leaf := s.PeerCertificates[0]
	if leaf.Subject.CommonName != name {
		return fmt.Errorf("the certificate names %q, expected %q", leaf.Subject.CommonName, name)
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("the certificate of %s is not of this cluster: %w", name, err)
	}
	return nil
}
