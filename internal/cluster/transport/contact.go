package transport

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/pki"
)

// ContactPeer is a host that made a contact call.
type ContactPeer struct {
	// Name is the name it was authenticated under, empty if it was not.
	Name        string
	Fingerprint string
	Addr        string // IP address
}

// ContactHandler serves a contact call of an authenticated host.
type ContactHandler func(ctx context.Context, from ContactPeer, in json.RawMessage) (any, error)

// HandleContact has contact calls of a method served, from hosts authenticated with the hacluster password only.
func (t *Transport) HandleContact(method string, h ContactHandler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.contacts[method] = h
}

// Host is a host outside the cluster, or not yet in it.
type Host struct {
	Name string
	// Addr is HOST or HOST:PORT; empty means the name.
	Addr string
}

func (h Host) addr() string {
	if h.Addr == "" {
		return withPort(h.Name)
	}
	return withPort(h.Addr)
}

// Errors of contact calls.
var (
	// ErrNotAuthenticated: one of the two hosts has not been authenticated to the other.
	ErrNotAuthenticated = errors.New("not authenticated")
	// ErrIdentityChanged: the host shows another identity than when it was authenticated.
	ErrIdentityChanged = errors.New("its identity has changed")
)

const authMethod = "auth"

type authIn struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Name     string `json:"name"` // of the caller
}

type authOut struct {
	Name string `json:"name"` // of the host called
}

// Contact calls a method of a host this one has authenticated with (Authenticate), outside any cluster. The error is an
// *api.Error if the host's handler failed.
func (t *Transport) Contact(ctx context.Context, host Host, method string, in, out any) error {
	pin := t.known.Pin(host.Name)
	if pin == "" {
		return fmt.Errorf("contact %s: %w: type: pcs cluster auth %s", host.Name, ErrNotAuthenticated, host.Name)
	}
	_, err := t.contact(ctx, host, pin, method, in, out)
	return err
}

// Authenticate exchanges identities with a host under the hacluster password of that host: both remember the other's. A
// host already known is not asked again unless its identity has changed; already tells so.
func (t *Transport) Authenticate(ctx context.Context, host Host, user, password string) (already bool, err error) {
	if pin := t.known.Pin(host.Name); pin != "" && user == "" {
		_, err := t.contact(ctx, host, pin, pingMethod, struct{}{}, nil)
		return err == nil, err
	}
	var out authOut
	shown, err := t.contact(ctx, host, "", authMethod, authIn{user, password, t.cfg.Name}, &out)
	if err != nil {
		return false, err
	}
	if err := t.known.Set(host.Name, shown); err != nil {
		return false, err
	}
	if out.Name != "" && out.Name != host.Name {
		return false, t.known.Set(out.Name, shown)
	}
	return false, nil
}

// Authenticated tells whether this host and the one named know one another: pinned here, and pinned there.
func (t *Transport) Authenticated(ctx context.Context, host Host) bool {
	already, err := t.Authenticate(ctx, host, "", "")
	return err == nil && already
}

// pingMethod is answered to every authenticated host.
const pingMethod = "ping"

// contact makes one contact call on a connection of its own. An empty pin trusts whatever identity is shown, which is
// returned (first contact; the password is what the other side is known by).
func (t *Transport) contact(ctx context.Context, host Host, pin, method string, in, out any) (shown string, err error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("contact %s at %s: %w", host.Name, host.addr(), err)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, cluster.ContactTimeout)
	defer cancel()
	dial, stop := context.WithTimeout(ctx, cluster.DialTimeout)
	defer stop()
	d := tls.Dialer{NetDialer: &net.Dialer{Control: userTimeout}, Config: t.contactTLS(pin, &shown)}
	conn, err := d.DialContext(dial, "tcp", host.addr())
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := writeJSON(conn, request{Method: method, Body: body, TimeoutMS: time.Until(deadline).Milliseconds()}, cluster.MaxContactFrame); err != nil {
		return fail(err)
	}
	var r reply
	if err := readJSON(conn, &r, cluster.MaxContactFrame); err != nil {
		return fail(err)
	}
	if r.Error != nil {
		return shown, r.Error
	}
	if out == nil {
		return shown, nil
	}
	if err := json.Unmarshal(r.Body, out); err != nil {
		return fail(fmt.Errorf("decode: %w", err))
	}
	return shown, nil
}

// contactTLS is the configuration of a contact call's client: identities are compared with pins, not certified.
func (t *Transport) contactTLS(pin string, shown *string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{t.identity.Cert}, NextProtos: []string{contactProtocol},
		InsecureSkipVerify: true, // VerifyConnection compares the identity with its pin
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 || cs.NegotiatedProtocol != contactProtocol {
				return errors.New("it is no holdfast daemon")
			}
			*shown = pki.Fingerprint(cs.PeerCertificates[0].Raw)
			if pin != "" && *shown != pin {
				return fmt.Errorf("%w since it was authenticated: if it was installed anew, authenticate it again (pcs cluster auth); if not, somebody is in between", ErrIdentityChanged)
			}
			return nil
		},
	}
}

// serveContact answers one contact call.
func (t *Transport) serveContact(conn *tls.Conn) error {
	conn.SetDeadline(time.Now().Add(cluster.ContactTimeout))
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return fmt.Errorf("contact: %w", err)
	}
	from := ContactPeer{Fingerprint: pki.Fingerprint(conn.ConnectionState().PeerCertificates[0].Raw), Addr: host}
	from.Name, _ = t.known.Trusts(from.Fingerprint)
	var r request
	if err := readJSON(conn, &r, cluster.MaxContactFrame); err != nil {
		return fmt.Errorf("contact of %s: %w", host, err)
	}
	ctx, cancel := context.WithTimeout(t.ctx, cluster.ContactTimeout)
	defer cancel()
	out, err := t.runContact(ctx, from, r)
	return writeJSON(conn, answerWith(0, out, err), cluster.MaxContactFrame)
}

func (t *Transport) runContact(ctx context.Context, from ContactPeer, r request) (any, error) {
	t.mu.RLock()
	h := t.contacts[r.Method]
	t.mu.RUnlock()
	switch {
	case r.Method != authMethod && from.Name == "":
		return nil, fmt.Errorf("%w: %s does not know the host at %s; type there: pcs cluster auth %s", ErrNotAuthenticated, t.cfg.Name, from.Addr, t.cfg.Name)
	case r.Method == pingMethod:
		return authOut{Name: t.cfg.Name}, nil
	case h == nil:
		return nil, fmt.Errorf("%s does not serve %.80q: it runs another version of holdfast", t.cfg.Name, r.Method)
	}
	return h(ctx, from, r.Body)
}

// serveAuth checks the password and remembers the caller's identity.
func (t *Transport) serveAuth(ctx context.Context, from ContactPeer, body json.RawMessage) (any, error) {
	var in authIn
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if wait, ok := t.limiter.Allow(from.Addr, t.cfg.Clock.Boottime()); !ok {
		return nil, fmt.Errorf("too many wrong passwords from %s: wait %s", from.Addr, wait.Round(time.Second))
	}
	// Counted as a failure until it is none, so that attempts made at the same time are counted too.
	t.limiter.Failed(from.Addr, t.cfg.Clock.Boottime())
	if err := pki.CheckPassword(ctx, t.cfg.PasswordHelper, in.Username, in.Password); err != nil {
		t.cfg.Log.Warn("a host was not authenticated", "address", from.Addr, "name", in.Name, "error", err)
		if errors.Is(err, pki.ErrPassword) {
			select {
			case <-time.After(cluster.AuthDelay):
			case <-ctx.Done():
			}
			return nil, &api.Error{Code: 1, Message: fmt.Sprintf("%s: %s", t.cfg.Name, pki.ErrPassword)}
		}
		return nil, err
	}
	t.limiter.Succeeded(from.Addr)
	if err := t.known.Set(in.Name, from.Fingerprint); err != nil {
		return nil, err
	}
	t.cfg.Log.Info("a host was authenticated", "address", from.Addr, "name", in.Name)
	return authOut{Name: t.cfg.Name}, nil
}
