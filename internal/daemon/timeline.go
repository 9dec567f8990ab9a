package daemon

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"holdfast/internal/clock"
	"holdfast/internal/paths"
)

// timeline appends one JSON object per line to events.jsonl in the log directory: what happened on this node, with the
// wall clock in nanoseconds, so that the phases of a failover can be put together from the logs of several nodes.
type timeline struct {
	mu    sync.Mutex
	file  *os.File
	clock clock.Source
	log   *slog.Logger
	node  string
}

// openTimeline opens the file for appending, making its directory.
func openTimeline(root paths.Root, node string, clk clock.Source, log *slog.Logger) (*timeline, error) {
	if err := os.MkdirAll(root.Log(), 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	path := filepath.Join(root.Log(), "events.jsonl")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the timeline: %w", err)
	}
	return &timeline{file: f, clock: clk, log: log, node: node}, nil
}

// Event records one event. Attributes become fields beside `at`, `boot`, `node` and `event`.
func (t *timeline) Event(name string, attrs map[string]any) {
	line := map[string]any{}
	for k, v := range attrs {
		line[k] = v
	}
	line["at"] = t.clock.Wall().UnixNano()
	line["boot"] = int64(t.clock.Boottime())
	line["node"] = t.node
	line["event"] = name
	data, err := json.Marshal(line)
	if err != nil {
		t.log.Error("event not recorded", "event", name, "err", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.file.Write(append(data, '\n')); err != nil {
		t.log.Error("event not recorded", "event", name, "err", err)
	}
}

// Close closes the file.
func (t *timeline) Close() error { return t.file.Close() }
