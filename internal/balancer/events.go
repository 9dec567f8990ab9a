package balancer

import (
	"log/slog"

	"holdfast/internal/clock"
	"holdfast/internal/paths"
	"holdfast/internal/timeline"
)

// events tells the host's timeline when a backend opens or closes: the last phase of a failover is seen here. Each is a log
// line too.
type events struct {
	timeline *timeline.Log // nil when it could not be opened
	log      *slog.Logger
}

func openEvents(root paths.Root, clk clock.Source, log *slog.Logger, node string) *events {
	t, err := timeline.Open(root, node, clk, log)
	if err != nil {
		log.Warn("the timeline cannot be written", "err", err)
	}
	return &events{timeline: t, log: log}
}

// backend records that a backend opened or closed.
func (e *events) backend(name, rule, node, addr, reason string, reset int) {
	attrs := map[string]any{"rule": rule, "backend": node, "addr": addr}
	args := []any{"event", name, "rule", rule, "backend", node, "addr", addr}
	if reason != "" {
		attrs["reason"], attrs["reset"] = reason, reset
		args = append(args, "reason", reason, "reset", reset)
	}
	e.log.Info("backend", args...)
	if e.timeline != nil {
		e.timeline.Event(name, attrs)
	}
}

func (e *events) close() {
	if e.timeline != nil {
		e.timeline.Close()
	}
}
