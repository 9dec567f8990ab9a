package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// The daemon's control socket (paths.Root.DaemonSocket) speaks HTTP/1.1: POST /v1/METHOD with a JSON body and a JSON
// answer. A failure is status 4xx or 5xx with an Error as body. Methods and their types are in the files of this
// package named after what they concern.

// Error is a failed call. Code is the exit code a command line tool should end with.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error gives the message.
func (e *Error) Error() string { return e.Message }

// Client calls a daemon through its control socket.
type Client struct{ http *http.Client }

// NewClient makes a client for the daemon listening on the unix socket at path.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Call sends in to method and decodes the answer into out (nil to drop it). The error is an *Error if the daemon
// answered, else what kept us from asking.
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("call %s: encode: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: the holdfast daemon does not answer: %w", method, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxFrame))
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	if resp.StatusCode != http.StatusOK {
		fail := &Error{Code: 1}
		if json.Unmarshal(data, fail) != nil || fail.Message == "" {
			fail.Message = fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(data))
		}
		return fail
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("call %s: decode: %w", method, err)
	}
	return nil
}
