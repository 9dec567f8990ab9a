package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/controller"
	"holdfast/internal/cluster/state"
)

// cibGet answers with the CIB, as of a linearizable read unless a local copy will do.
func (d *Daemon) cibGet(ctx context.Context, in api.CIBGetRequest) (api.CIB, error) {
	s, err := d.needSession()
	if err != nil {
		return api.CIB{}, err
	}
	if !in.Local {
		if err := s.catchUp(ctx); err != nil {
			return api.CIB{}, fmt.Errorf("read the CIB: %w", err)
		}
	}
	doc := s.raft.View().CIB
	if doc == nil {
		return api.CIB{}, errors.New("the cluster has no CIB yet; try again in a moment")
	}
	return api.CIB{XML: string(doc.Bytes())}, nil
}

// catchUp waits until this node's copy of the log has all that was committed before the call: a host that has just joined
// may know nothing yet.
func (s *session) catchUp(ctx context.Context) error {
	read, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if _, err := s.raft.ReadIndex(read); err != nil {
		return fmt.Errorf("%w (this side has no quorum, or no leader yet)", err)
	}
	return nil
}

// cibPush replaces the configuration, and notes what it did against advice.
func (d *Daemon) cibPush(ctx context.Context, in api.CIBPushRequest) (api.CIB, error) {
	s, err := d.needSession()
	if err != nil {
		return api.CIB{}, err
	}
	if err := valid(in.XML); err != nil {
		return api.CIB{}, &api.Error{Code: 1, Message: err.Error()}
	}
	before := policy(s.raft.View().CIB)
	c := &state.CIBReplace{Base: in.Base, XML: in.XML, By: in.By, Client: "pcs", Origin: d.node, UnixSeconds: time.Now().Unix()}
	if _, err := d.change(ctx, c); err != nil {
		return api.CIB{}, err
	}
	doc := s.raft.View().CIB
	if now := policy(doc); now == "ignore" && before != now {
		note := &state.OperatorNote{By: in.By, What: "no-quorum-policy=ignore", UnixSeconds: time.Now().Unix(),
			Text: "of two hosts without a witness, each goes on alone when it loses the other; with three or more votes it acts as stop for whatever holds a replicated volume"}
		if _, err := d.change(ctx, note); err != nil {
			return api.CIB{}, err
		}
	}
	return api.CIB{XML: string(doc.Bytes())}, nil
}

// valid checks a document as the schema does; warnings pass.
func valid(xml string) error {
	doc, err := cib.Parse([]byte(xml))
	if err != nil {
		return fmt.Errorf("the CIB is not accepted: %w", err)
	}
	for _, p := range cib.Validate(doc) {
		if p.Severity == cib.Error {
			return fmt.Errorf("the CIB is not accepted: %s", p)
		}
	}
	return nil
}

// policy is the no-quorum-policy of a CIB.
func policy(doc *cib.Document) string {
	if doc == nil {
		return ""
	}
	return cib.Property(doc, "no-quorum-policy")
}

// cleanup forgets failures and history, so that the resource is probed again.
func (d *Daemon) cleanup(ctx context.Context, in api.CleanupRequest) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	if err := s.catchUp(ctx); err != nil {
		return api.Empty{}, fmt.Errorf("clean up: %w", err)
	}
	edits, err := controller.CleanupEdits(s.raft.View(), in.Resource, in.Node)
	if err != nil {
		return api.Empty{}, &api.Error{Code: 1, Message: err.Error()}
	}
	if len(edits) == 0 {
		return api.Empty{}, nil
	}
	return d.change(ctx, &state.CIBStatus{Edits: edits})
}
