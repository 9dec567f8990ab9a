package guest

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/lab/ask"
)

// Op is what PID 1 is asked for.
type Op string

// The operations of the control socket.
const (
	OpStart    Op = "start"
	OpStop     Op = "stop"
	OpRestart  Op = "restart"
	OpStatus   Op = "status"   // of one service, or of all when Service is empty
	OpEnable   Op = "enable"   // start at boot from now on
	OpDisable  Op = "disable"  // no longer
	OpShutdown Op = "shutdown" // stop every service in reverse order, then end the host; the answer comes before
)

// Request is one line of JSON to the control socket, Response the line that answers it; then the connection closes.
type Request struct {
	Op      Op     `json:"op"`
	Service string `json:"service,omitempty"`
}

// Response carries an error text, a remark for the user, and for OpStatus the services.
type Response struct {
	Error    string   `json:"error,omitempty"`
	Remark   string   `json:"remark,omitempty"`
	Services []Status `json:"services,omitempty"`
}

// Status is the state of one service.
type Status struct {
	Name   string `json:"name"`
	Active bool   `json:"active"`
	// PID is 0 while no process runs; the host's numbering.
	PID int `json:"pid,omitempty"`
	// Last says how the process ended last.
	Last   string `json:"last,omitempty"`
	AtBoot bool   `json:"at_boot"`
}

// Control sends one request to the PID 1 listening on the unix socket at path and returns its answer; an Error in it
// becomes the error.
func Control(ctx context.Context, path string, req Request) (Response, error) {
	resp, err := ask.Once[Request, Response](ctx, path, req)
	if err != nil {
		return resp, fmt.Errorf("the host's init was to %s %s: %w", req.Op, req.Service, err)
	}
	if resp.Error != "" {
		return resp, errors.New(resp.Error)
	}
	return resp, nil
}
