package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/cluster"
)

// tableFormat is the version of the table's file.
const tableFormat = 1

// table is everything that must outlive the daemon. The run directory is empty after a boot, as are the resources.
type table struct {
	Format  int    `json:"format"`
	Session uint64 `json:"session"`
	Term    uint64 `json:"term"`
	CallID  int    `json:"call_id"`
	Seq     uint64 `json:"seq"`
	// Jobs are the one-off operations, and first runs of recurring ones, asked for and not ended; in order.
	Jobs []*job `json:"jobs,omitempty"`
	// Recurring operations that have reported once.
	Recurring []*job   `json:"recurring,omitempty"`
	Outbox    []Report `json:"outbox,omitempty"`
	// Finished are the reports of ended operations, oldest first: asked for again, they are answered from here.
	Finished []Report `json:"finished,omitempty"`
	// Active are the last successful starts (or promotions) of resources, in the order of the starts.
	Active []*active `json:"active,omitempty"`
}

// active is a resource that runs here, with what its stop needs.
type active struct {
	Request  Request `json:"request"`
	Promoted bool    `json:"promoted,omitempty"`
}

// job is an operation in the making.
type job struct {
	Request Request `json:"request"`
	CallID  int     `json:"call_id"`
	// PID and Start (clock ticks since boot) are the process carrying it out, 0 when there is none.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
	// Last is the last report of a recurring operation.
	Last *Report `json:"last,omitempty"`

	// dropped: cancelled while it ran.
	dropped bool
	// due is when it is to run next, queued since when it waits.
	due, queued time.Time
}

func (j *job) recurring() bool { return j.Request.Do == Run && j.Request.Op.Interval > 0 }

// same tells whether a request is about the recurring operation j.
func (j *job) same(op agent.Operation) bool {
	return j.Request.Op.Action == op.Action && j.Request.Op.Interval == op.Interval
}

func loadTable(path string) (*table, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &table{Format: tableFormat}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the executor's table: %w", err)
	}
	t := &table{}
	if err := json.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("read the executor's table %s: %w; stop the resources of this node and remove the file", path, err)
	}
	if t.Format != tableFormat {
		return nil, fmt.Errorf("the executor's table %s has format %d, this version knows %d; stop the resources of this node and remove the file", path, t.Format, tableFormat)
	}
	return t, nil
}

// save replaces the file at once. It is not synced: it matters only while this boot lasts.
func (t *table) save(path string) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode the executor's table: %w", err)
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("write the executor's table: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("replace the executor's table: %w", err)
	}
	return nil
}

func (t *table) finishedReport(key string) (Report, bool) {
	for i := len(t.Finished) - 1; i >= 0; i-- {
		if t.Finished[i].Key == key {
			return t.Finished[i], true
		}
	}
	return Report{}, false
}

// finish remembers the report of an ended operation.
func (t *table) finish(r Report) {
	t.Finished = append(t.Finished, r)
	if over := len(t.Finished) - cluster.MaxFinishedKeys; over > 0 {
		t.Finished = slices.Delete(t.Finished, 0, over)
	}
}

// started notes that a resource runs here; a resource started again keeps its place in the order.
func (t *table) started(req Request) {
	for _, a := range t.Active {
		if a.Request.Op.Resource == req.Op.Resource {
			a.Request = req
			return
		}
	}
	t.Active = append(t.Active, &active{Request: req})
}

func (t *table) promoted(resource string, yes bool) {
	for _, a := range t.Active {
		if a.Request.Op.Resource == resource {
			a.Promoted = yes
		}
	}
}

func (t *table) ended(resource string) {
	t.Active = slices.DeleteFunc(t.Active, func(a *active) bool { return a.Request.Op.Resource == resource })
}

func remove(jobs []*job, j *job) []*job {
	return slices.DeleteFunc(jobs, func(x *job) bool { return x == j })
}
