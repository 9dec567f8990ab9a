// Package ask is the lab's way of asking one of its processes for something: one JSON value each way over a unix socket,
// one question per connection.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
)

// Once connects to the socket at path, sends the question and returns the answer. It ends with ctx.
func Once[Q, A any](ctx context.Context, path string, question Q) (A, error) {
	var answer A
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return answer, fmt.Errorf("ask at %s: %w", path, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(question); err != nil {
		return answer, fmt.Errorf("ask at %s: %w", path, errors.Join(ctx.Err(), err))
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return answer, fmt.Errorf("wait for the answer at %s: %w", path, errors.Join(ctx.Err(), err))
	}
	return answer, nil
}

// Listen makes the socket at path, for root only.
func Listen(path string) (net.Listener, error) {
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

// Serve answers each question with reply, each connection on its own goroutine, until the listener is closed. A question
// that cannot be read gets no answer. After is called when the answer has been sent; nil means nothing to do.
func Serve[Q, A any](l net.Listener, reply func(Q) A, after func(Q)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go serveOne(conn, reply, after)
	}
}

func serveOne[Q, A any](conn net.Conn, reply func(Q) A, after func(Q)) {
	defer conn.Close()
	var question Q
	if json.NewDecoder(conn).Decode(&question) != nil {
		return
	}
	_ = json.NewEncoder(conn).Encode(reply(question)) // who asked may have gone
	if after != nil {
		after(question)
	}
}
