package balancer

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

// events appends to the host's timeline (events.jsonl, one JSON object per line, see the daemon) when a backend opens or
// closes: the last phase of a failover is seen here. Each is a log line too.
type events struct {
	mu    sync.Mutex
	file  *os.File // nil when it could not be opened
	clock clock.Source
	log   *slog.Logger
	node  string
}

func openEvents(root paths.Root, clk clock.Source, log *slog.Logger, node string) *events {
	e := &events{clock: clk, log: log, node: node}
	err := os.MkdirAll(root.Log(), 0o755)
	if err == nil {
		e.file, err = os.OpenFile(filepath.Join(root.Log(), "events.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		log.Warn("the timeline cannot be written", "err", fmt.Errorf("open it: %w", err))
	}
	return e
}

// backend records that a backend opened or closed.
func (e *events) backend(name, rule, node, addr, reason string, reset int) {
	line := map[string]any{"at": e.clock.Wall().UnixNano(), "boot": int64(e.clock.Boottime()), "node": e.node, "event": name,
		"rule": rule, "backend": node, "addr": addr}
	args := []any{"event", name, "rule", rule, "backend", node, "addr", addr}
	if reason != "" {
		line["reason"], line["reset"] = reason, reset
		args = append(args, "reason", reason, "reset", reset)
	}
	e.log.Info("backend", args...)
	data, err := json.Marshal(line)
	if err != nil || e.file == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.file.Write(append(data, '\n')); err != nil {
		e.log.Warn("event not recorded", "event", name, "err", err)
	}
}

func (e *events) close() {
	if e.file != nil {
		e.file.Close()
	}
}
