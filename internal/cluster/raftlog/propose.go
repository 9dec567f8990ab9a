package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
)

type proposalKey struct{ origin, seq uint64 }

// proposal waits for its outcome. It is sent again, under the same identity, until there is one: the machine recognises
// repetitions.
type proposal struct {
	data []byte
	done chan outcome
	sent int // how often it was handed to Raft
	last clock.Boottime
	// term, when not 0, binds the proposal to this leader in this term: it is neither forwarded nor sent again.
	term uint64
}

type outcome struct {
	result state.Result
	sent   int
	err    error
}

// Propose has the cluster apply a command and returns its result once it is applied here. The error is the
// *state.Refusal if the command was refused, ErrNoLeader if it was never sent, ErrUnknownOutcome if ctx ended before an
// answer came to a proposal that was sent.
func (n *Node) Propose(ctx context.Context, cmd state.Command) (state.Result, error) {
	return n.propose(ctx, 0, cmd)
}

// ProposeInTerm is Propose for what only the leader of that term may say (a lease expiry). It fails with ErrNotLeader if
// this host does not lead in term, and with ErrUnknownOutcome if it loses the lead before the outcome.
func (n *Node) ProposeInTerm(ctx context.Context, term uint64, cmd state.Command) (state.Result, error) {
	return n.propose(ctx, term, cmd)
}

func (n *Node) propose(ctx context.Context, term uint64, cmd state.Command) (state.Result, error) {
	for {
		result, sent, err := n.proposeOnce(ctx, term, cmd)
		switch {
		case err != nil:
			return result, fmt.Errorf("propose %s: %w", state.Verb(cmd), err)
		case !result.TooOld:
			return result, result.Err()
		case sent > 1:
			return result, fmt.Errorf("propose %s: %w: %w", state.Verb(cmd), ErrUnknownOutcome, result.Err())
		}
		// Refused because this host was far behind when it proposed. It was sent once, so it was not applied before; and
		// now that the refusal is applied here, this host is up to date.
	}
}

// proposeOnce makes a proposal under a new identity and waits for its outcome. Sent is how often it was sent.
func (n *Node) proposeOnce(ctx context.Context, term uint64, cmd state.Command) (r state.Result, sent int, err error) {
	id := state.ID{Origin: n.origin, Seq: n.seq.Add(1), After: n.View().Index}
	data, err := state.Encode(id, cmd)
	if err != nil {
		return state.Result{}, 0, err
	}
	p := &proposal{data: data, done: make(chan outcome, 1), term: term}
	key := proposalKey{id.Origin, id.Seq}
	if err := n.do(ctx, func() { n.enter(key, p) }); err != nil {
		return state.Result{}, 0, err
	}
	out := n.await(ctx, key, p)
	return out.result, out.sent, out.err
}

// enter registers a proposal and sends it for the first time.
func (n *Node) enter(key proposalKey, p *proposal) {
	if len(n.proposals) >= cluster.MaxProposals {
		p.done <- outcome{err: fmt.Errorf("%d proposals are waiting already", len(n.proposals))}
		return
	}
	if p.term != 0 && (!n.leading || n.raft.BasicStatus().HardState.GetTerm() != p.term) {
		p.done <- outcome{err: ErrNotLeader}
		return
	}
	n.proposals[key] = p
	n.submit(p, n.cfg.Clock.Boottime())
}

func (n *Node) await(ctx context.Context, key proposalKey, p *proposal) outcome {
	select {
	case out := <-p.done:
		return out
	case <-ctx.Done():
	case <-n.done:
		return outcome{err: fmt.Errorf("%w: %w", ErrUnknownOutcome, ErrStopped)}
	}
	sent := 0
	if err := n.do(context.Background(), func() {
		sent = p.sent
		delete(n.proposals, key)
	}); err != nil {
		return outcome{err: fmt.Errorf("%w: %w", ErrUnknownOutcome, err)}
	}
	select {
	case out := <-p.done:
		return out
	default:
	}
	if sent == 0 {
		return outcome{err: fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())}
	}
	return outcome{err: fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())}
}

// submit hands the proposal to Raft, which forwards it to the leader.
func (n *Node) submit(p *proposal, now clock.Boottime) {
	p.last = now
	err := n.raft.Propose(p.data)
	switch {
	case err == nil:
		p.sent++
	case !errors.Is(err, raft.ErrProposalDropped):
		n.cfg.Log.Warn("propose", "error", err)
	}
}

// settle gives a proposal of this process its outcome.
func (n *Node) settle(r state.Result) {
	key := proposalKey{r.ID.Origin, r.ID.Seq}
	if p := n.proposals[key]; p != nil {
		delete(n.proposals, key)
		p.done <- outcome{result: r, sent: p.sent}
	}
}

func (n *Node) retryProposals(now clock.Boottime) {
	for _, key := range n.waiting() {
		if p := n.proposals[key]; p.term == 0 && now.Sub(p.last) >= cluster.ProposalRetry {
			n.submit(p, now)
		}
	}
}

// resendAll sends what waits to a new leader at once.
func (n *Node) resendAll() {
	if n.leaderID == raft.None {
		return
	}
	now := n.cfg.Clock.Boottime()
	for _, key := range n.waiting() {
		if p := n.proposals[key]; p.term == 0 {
			n.submit(p, now)
		}
	}
	for _, id := range n.readers() {
		n.ask(n.reads[id], now)
	}
}

// readers lists the reads in the order they were begun.
func (n *Node) readers() []uint64 { return slices.Sorted(maps.Keys(n.reads)) }

// dropTermBound ends the proposals only the leader may make, when it leads no more.
func (n *Node) dropTermBound() {
	for _, key := range n.waiting() {
		if p := n.proposals[key]; p.term != 0 {
			delete(n.proposals, key)
			p.done <- outcome{err: fmt.Errorf("%w: this host lost the lead", ErrUnknownOutcome)}
		}
	}
}

// waiting lists the proposals in the order they were made.
func (n *Node) waiting() []proposalKey {
	return slices.SortedFunc(maps.Keys(n.proposals), func(a, b proposalKey) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
}

// read waits for a log index that is linearizable, and then until it is applied here.
type read struct {
	id    uint64
	index uint64 // 0 until known
	last  clock.Boottime
	done  chan uint64
}

// ReadIndex returns once everything that was committed in the cluster when it was called is applied here, and says up to
// which index: what View shows then is not old. The leader proves its leadership to a quorum for it (ReadOnlySafe).
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	r := &read{id: n.seq.Add(1), done: make(chan uint64, 1)}
	full := false
	if err := n.do(ctx, func() {
		if full = len(n.reads) >= cluster.MaxReads; !full {
			n.reads[r.id] = r
			n.ask(r, n.cfg.Clock.Boottime())
		}
	}); err != nil {
		return 0, fmt.Errorf("read the cluster's state: %w", err)
	}
	if full {
		return 0, fmt.Errorf("read the cluster's state: %d reads are waiting already", cluster.MaxReads)
	}
	select {
	case index := <-r.done:
		return index, nil
	case <-n.done:
		return 0, fmt.Errorf("read the cluster's state: %w", ErrStopped)
	case <-ctx.Done():
	}
	_ = n.do(context.Background(), func() { delete(n.reads, r.id) })
	if n.Status().Leader == "" {
		return 0, fmt.Errorf("read the cluster's state: %w: %w", ErrNoLeader, ctx.Err())
	}
	return 0, fmt.Errorf("read the cluster's state: no quorum confirmed it: %w", ctx.Err())
}

// ask requests an index. The context names process and read, so that answers to others are told apart.
func (n *Node) ask(r *read, now clock.Boottime) {
	r.last = now
	if r.index == 0 && n.leaderID != raft.None {
		n.raft.ReadIndex(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.origin), r.id))
	}
}

func (n *Node) readAt(s raft.ReadState) {
	if len(s.RequestCtx) != 16 || binary.BigEndian.Uint64(s.RequestCtx) != n.origin {
		return
	}
	if r := n.reads[binary.BigEndian.Uint64(s.RequestCtx[8:])]; r != nil && r.index == 0 {
		r.index, n.dirty = max(s.Index, 1), true
	}
}

// answerReads answers the reads whose index is applied and published.
func (n *Node) answerReads() {
	for _, id := range n.readers() {
		r := n.reads[id]
		if r.index != 0 && n.applied >= r.index {
			delete(n.reads, id)
			r.done <- r.index
		}
	}
}

func (n *Node) retryReads(now clock.Boottime) {
	for _, id := range n.readers() {
		r := n.reads[id]
		if now.Sub(r.last) >= cluster.ReadRetry {
			n.ask(r, now)
		}
	}
}
