package daemon

import (
	"context"
	"log/slog"
	"strconv"
	"sync"

	"holdfast/internal/agent"
	"holdfast/internal/agent/volume"
	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// scores keeps the promotion scores of this node's volumes in the CIB. The agent tells a score at each operation; between
// them a change of the volume's state is told at once, not at the next monitor.
type scores struct {
	node    string
	log     *slog.Logger
	propose func(ctx context.Context, c state.Command) error
	session func() uint64

	mu    sync.Mutex
	known map[string]instance // by volume
	sent  map[string]string   // by instance: the value last told
	// putting are the instances with a proposal under way.
	putting map[string]bool
}

// instance is the resource instance that a volume belongs to.
type instance struct {
	name   string
	params map[string]string
}

func newScores(node string, log *slog.Logger) *scores {
	return &scores{node: node, log: log, known: map[string]instance{}, sent: map[string]string{}, putting: map[string]bool{}}
}

// remember notes which resource a volume belongs to; every operation of the agent passes here.
func (s *scores) remember(op agent.Operation) {
	if res := op.Params["drbd_resource"]; res != "" {
		s.mu.Lock()
		s.known[res] = instance{op.Resource, op.Params}
		s.mu.Unlock()
	}
}

// changed recomputes the score of a volume whose state has changed.
func (s *scores) changed(resource string, st *api.VolumeStatus) {
	s.mu.Lock()
	in, ok := s.known[resource]
	s.mu.Unlock()
	if ok {
		score, set := volume.Score(in.params, st)
		s.tell(in.name, score, set)
	}
}

// reset forgets what was sent: a new session begins with no attributes.
func (s *scores) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = map[string]string{}
}

// tell is the agent's volume.Scorer: it proposes the attribute if it differs from the last one proposed.
func (s *scores) tell(name string, score int, set bool) {
	value := ""
	if set {
		value = strconv.Itoa(score)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.sent[name]; ok && last == value {
		return
	}
	s.sent[name] = value
	if !s.putting[name] {
		s.putting[name] = true
		go s.keepPutting(name)
	}
}

// keepPutting proposes an instance's newest value until it has been, one proposal at a time: two at once could be
// committed in the wrong order.
func (s *scores) keepPutting(name string) {
	last, told := "", false
	for {
		s.mu.Lock()
		value, wanted := s.sent[name]
		if !wanted || told && value == last {
			delete(s.putting, name)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.put(name, value)
		last, told = value, true
	}
}

// put proposes the attribute; if that fails the next change, or the next monitor, tells it again.
func (s *scores) put(name, value string) {
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	err := s.propose(ctx, &state.CIBStatus{Edits: []state.StatusEdit{{Transient: &state.AttributeEdit{
		Node: s.node, Name: volume.Attribute(name), Value: value, Session: s.session(),
	}}}})
	if err == nil {
		return
	}
	s.log.Warn("promotion score not recorded", "resource", name, "score", value, "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent[name] == value {
		delete(s.sent, name)
	}
}

// watched passes operations to the built-in volume agent and notes whose they are.
type watched struct {
	agent.Agent
	scores *scores
}

// Run carries out one operation.
func (w watched) Run(ctx context.Context, op agent.Operation) agent.Result {
	w.scores.remember(op)
	return w.Agent.Run(ctx, op)
}
