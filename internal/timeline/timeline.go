// Package timeline writes a host's events.jsonl: what happened there, one JSON object per line, with the wall clock in
// nanoseconds, so that the phases of a failover can be put together from the files of several hosts. Daemon and balancer
// append to one file; a line is one write.
package timeline

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

// Log is the open file. Its methods may be called from several goroutines.
type Log struct {
	mu    sync.Mutex
	file  *os.File
	clock clock.Source
	log   *slog.Logger
	node  string
}

// Open opens the file in root's log directory for appending, making both. Node is this host's name; errors of writing go to
// log, since an event must not fail what it tells of.
func Open(root paths.Root, node string, clk clock.Source, log *slog.Logger) (*Log, error) {
	if err := os.MkdirAll(root.Log(), 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	path := filepath.Join(root.Log(), "events.jsonl")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the timeline: %w", err)
	}
	return &Log{file: f, clock: clk, log: log, node: node}, nil
}

// Event records one event. Attributes become fields beside `at`, `boot`, `node` and `event`.
func (t *Log) Event(name string, attrs map[string]any) {
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
func (t *Log) Close() error { return t.file.Close() }
