package pcs

import (
	"fmt"
	"time"

	"holdfast/internal/cli/pcs/show"
	"holdfast/internal/cluster/cib"
)

// waitFor waits, if --wait was given, until the cluster is as done says.
func (c *call) waitFor(what string, done func(*snapshot) bool) error {
	d, asked, err := c.args.wait()
	if err != nil || !asked || c.args.file() != "" {
		return err
	}
	return c.await(d, what, done)
}

// await looks at the cluster until it is as done says, or time is up.
func (c *call) await(limit time.Duration, what string, done func(*snapshot) bool) error {
	deadline := time.Now().Add(limit)
	var last error
	for {
		s, err := c.look()
		if err == nil && done(s) {
			return nil
		}
		last = err
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(pollInterval)
	}
	if last != nil {
		return fmt.Errorf("waited %s for %s: %w", limit, what, last)
	}
	return fmt.Errorf("waited %s for %s, in vain; look at: pcs status", limit, what)
}

// settled tells that no operation is under way.
func settled(s *snapshot) bool {
	busy := s.doc.Status().Find(func(e *cib.Element) bool { return e.Name == "lrm_rsc_op" && e.Get("op-status") == "-1" })
	return busy == nil
}

// runs tells whether a resource is active (want), or nowhere.
func runs(id string, want bool) func(*snapshot) bool {
	return func(s *snapshot) bool { return (len(show.Running(s.state, id, false)) > 0) == want && settled(s) }
}
