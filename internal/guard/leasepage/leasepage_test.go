package leasepage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/clock"
)

func TestReadersSeeWhatTheGuardStores(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease")
	if _, err := Open(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("before any guard: %v", err)
	}
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Deadline(); got != 0 {
		t.Errorf("new page says %d", got)
	}
	w.Store(clock.Boottime(1<<62+5), 7)
	if r.Deadline() != 1<<62+5 || r.Session() != 7 {
		t.Errorf("read %d of session %d", r.Deadline(), r.Session())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second close: %v", err)
	}

	again, err := Create(path) // a guard that starts again finds the last one's word, in the page readers have mapped
	if err != nil {
		t.Fatal(err)
	}
	if again.Deadline() != 1<<62+5 || again.Session() != 7 {
		t.Errorf("the next guard reads %d of session %d", again.Deadline(), again.Session())
	}
	again.Store(9, 8)
	if r.Deadline() != 9 {
		t.Errorf("the old reader sees %d", r.Deadline())
	}
}

func TestOpenRefusesAnUnfinishedPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("got %v", err)
	}
}
