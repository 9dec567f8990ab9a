package timeline

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/paths"
)

// linesOf reads a root's events.jsonl.
func linesOf(t *testing.T, root paths.Root) []map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join(root.Log(), "events.jsonl"))
	must(t, err)
	defer f.Close()
	var lines []map[string]any
	for s := bufio.NewScanner(f); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("line %d is no JSON object: %v: %s", len(lines)+1, err, s.Text())
		}
		lines = append(lines, line)
	}
	return lines
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fixedClock is a clock that stands still.
type fixedClock struct{}

const fixedAt = 5e9

func (fixedClock) Boottime() clock.Boottime { return fixedAt }
func (fixedClock) Wall() time.Time          { return time.Unix(0, fixedAt) }

func TestTimeline(t *testing.T) {
	root := paths.Root(t.TempDir())
	log := slog.New(slog.DiscardHandler)
	tl, err := Open(root, "a", fixedClock{}, log)
	must(t, err)
	tl.Event("volume.promoted", map[string]any{"volume": "r", "epoch": 2, "node": "forged", "at": "forged"})
	tl.Event("bad", map[string]any{"f": func() {}}) // cannot be written; it must not break the file
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { tl.Event("many", nil) })
	}
	wg.Wait()
	must(t, tl.Close())
	again, err := Open(root, "a", fixedClock{}, log)
	must(t, err)
	again.Event("daemon.start", nil)
	must(t, again.Close())
	lines := linesOf(t, root)
	if len(lines) != 10 {
		t.Fatalf("%d lines", len(lines))
	}
	first := lines[0]
	if first["event"] != "volume.promoted" || first["node"] != "a" || first["at"] != 5e9 || first["boot"] != 5e9 || first["volume"] != "r" || first["epoch"] != 2.0 {
		t.Errorf("first line: %v", first)
	}
	if lines[9]["event"] != "daemon.start" {
		t.Errorf("the next daemon's line is not the last: %v", lines[9])
	}
}
