package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
)

// request and reply are the frames of calls.
type request struct {
	ID     uint64          `json:"id"`
	Method string          `json:"method"`
	Body   json.RawMessage `json:"body,omitempty"`
	// TimeoutMS is how long the caller waits.
	TimeoutMS int64 `json:"timeout_ms"`
}

type reply struct {
	ID    uint64          `json:"id"`
	Error *api.Error      `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// ErrUnreachable: the call was not made, since there is no connection to the member.
var ErrUnreachable = errors.New("unreachable")

// ErrLost: the call was made, but the connection was lost before the answer: whether it was carried out is not known.
var ErrLost = errors.New("no answer")

// Call calls a method of a member and decodes the answer into out (nil drops it). The error is an *api.Error if the
// member's handler failed, wraps ErrUnreachable if the call was not made, and ErrLost or ctx's error if its outcome is not
// known. Calls to this host itself are made directly.
func (t *Transport) Call(ctx context.Context, node, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("call %s: encode: %w", method, err)
	}
	ctx, cancel := context.WithTimeout(ctx, cluster.CallTimeout)
	defer cancel()
	var answer reply
	if node == t.cfg.Name {
		answer = t.serveCall(ctx, node, request{Method: method, Body: body})
	} else if answer, err = t.callPeer(ctx, node, method, body); err != nil {
		return fmt.Errorf("call %s of %s: %w", method, node, err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Body, out); err != nil {
		return fmt.Errorf("call %s of %s: decode: %w", method, node, err)
	}
	return nil
}

func (t *Transport) callPeer(ctx context.Context, node, method string, body []byte) (reply, error) {
	p := t.peer(node)
	if p == nil {
		return reply{}, fmt.Errorf("%w: it is no member this host knows", ErrUnreachable)
	}
	wait, cancel := context.WithTimeout(ctx, cluster.UnreachableAfter)
	defer cancel()
	if err := p.calls.stream.await(wait); err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return p.calls.do(ctx, method, body)
}

// caller pairs the calls to one member with their answers.
type caller struct {
	to     string
	stream *stream

	mu      sync.Mutex
	last    uint64
	pending map[uint64]chan answer
}

type answer struct {
	reply reply
	err   error
}

func newCaller(to string) *caller { return &caller{to: to, pending: make(map[uint64]chan answer)} }

func (c *caller) up() bool { return c.stream.up() }

func (c *caller) do(ctx context.Context, method string, body []byte) (reply, error) {
	id, ch, err := c.register()
	if err != nil {
		return reply{}, err
	}
	defer c.forget(id)
	deadline, _ := ctx.Deadline()
	frame, err := json.Marshal(request{ID: id, Method: method, Body: body, TimeoutMS: time.Until(deadline).Milliseconds()})
	if err != nil {
		return reply{}, fmt.Errorf("encode: %w", err)
	}
	if len(frame) > cluster.MaxPeerFrame {
		return reply{}, fmt.Errorf("a call of %d bytes is over the limit of %d", len(frame), cluster.MaxPeerFrame)
	}
	if !c.stream.send(frame) {
		return reply{}, fmt.Errorf("%w: its queue is full or the connection was just lost", ErrUnreachable)
	}
	select {
	case a := <-ch:
		return a.reply, a.err
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

func (c *caller) register() (uint64, chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) >= cluster.MaxCalls {
		return 0, nil, fmt.Errorf("%w: %d calls are waiting for it already", ErrUnreachable, len(c.pending))
	}
	c.last++
	ch := make(chan answer, 1)
	c.pending[c.last] = ch
	return c.last, ch, nil
}

func (c *caller) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

func (c *caller) received(body []byte) {
	var r reply
	if err := json.Unmarshal(body, &r); err != nil {
		return // the call times out
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.pending[r.ID]; ch != nil {
		delete(c.pending, r.ID)
		ch <- answer{reply: r}
	}
}

func (c *caller) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, ch := range c.pending {
		delete(c.pending, id)
		ch <- answer{err: fmt.Errorf("%w: %w", ErrLost, err)}
	}
}

// serveCall runs the handler of a call.
func (t *Transport) serveCall(ctx context.Context, from string, r request) reply {
	t.mu.RLock()
	h := t.calls[r.Method]
	t.mu.RUnlock()
	if h == nil {
		return failed(r.ID, fmt.Errorf("%s does not serve %.80q now: it is not running in the cluster, or runs another version of holdfast", t.cfg.Name, r.Method))
	}
	out, err := h(ctx, from, r.Body)
	return answerWith(r.ID, out, err)
}

func answerWith(id uint64, out any, err error) reply {
	if err != nil {
		return failed(id, err)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return failed(id, fmt.Errorf("encode the answer: %w", err))
	}
	return reply{ID: id, Body: body}
}

func failed(id uint64, err error) reply {
	var coded *api.Error
	if errors.As(err, &coded) && coded.Message == err.Error() {
		return reply{ID: id, Error: coded}
	}
	code := 1
	if coded != nil {
		code = coded.Code
	}
	return reply{ID: id, Error: &api.Error{Code: code, Message: err.Error()}}
}

// SendRaft sends Raft messages to a member: snapshots on a connection of their own, the others in order. What cannot be
// sent now is dropped. The messages are encoded before it returns.
func (t *Transport) SendRaft(to string, msgs []*raftpb.Message) {
	p := t.peer(to)
	if p == nil {
		return
	}
	for _, m := range msgs {
		s := p.raft
		if m.GetType() == raftpb.MsgSnap {
			s = p.bulk
		}
		if !s.up() {
			continue
		}
		data, err := proto.Marshal(m)
		if err != nil || len(data) > cluster.MaxPeerFrame {
			t.cfg.Log.Error("a Raft message cannot be sent", "to", to, "bytes", len(data), "error", err)
			continue
		}
		s.send(data)
	}
}

// SendBeat sends a heartbeat to a member on every link; where one is stuck, the newest displace the oldest.
func (t *Transport) SendBeat(to string, data []byte) {
	if p := t.peer(to); p != nil {
		for _, s := range p.beats {
			s.sendNewest(data)
		}
	}
}
