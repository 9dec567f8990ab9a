package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/api"
)

// method answers one call of the control socket.
type method func(ctx context.Context, body []byte) (any, error)

// typed turns a function over request and answer types into a method.
func typed[In, Out any](f func(context.Context, In) (Out, error)) method {
	return func(ctx context.Context, body []byte) (any, error) {
		var in In
		if len(body) > 0 {
			if err := json.Unmarshal(body, &in); err != nil {
				return nil, &api.Error{Code: 1, Message: fmt.Sprintf("the request is not valid: %v", err)}
			}
		}
		return f(ctx, in)
	}
}

// server is the control socket (see api/daemon.go).
type server struct {
	methods map[string]method
	log     *slog.Logger
}

// listenUnix listens on path, replacing what a dead daemon left there. Only root may connect.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the socket %s: %w", path, err)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another holdfast daemon already answers on %s: stop it first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the stale socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("restrict %s to root: %w", path, err)
	}
	return l, nil
}

// serve answers calls until the listener is closed.
func (s *server) serve(l net.Listener) {
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	if err := srv.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Error("control socket ended", "err", err)
	}
}

// ServeHTTP dispatches POST /v1/METHOD.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/v1/")
	m := s.methods[name]
	if m == nil || r.Method != http.MethodPost {
		answer(w, http.StatusNotFound, &api.Error{Code: 1, Message: fmt.Sprintf("this daemon has no method %q; the command line and the daemon may be of different versions", name)})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, api.MaxFrame))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, &api.Error{Code: 1, Message: fmt.Sprintf("read the request: %v", err)})
		return
	}
	out, err := m(r.Context(), body)
	if err != nil {
		var known *api.Error
		if !errors.As(err, &known) {
			known = &api.Error{Code: 1, Message: err.Error()}
		}
		answer(w, http.StatusUnprocessableEntity, known)
		return
	}
	answer(w, http.StatusOK, out)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller has gone; nothing is left to tell it
}
