package scheduler_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestWriteRandomClusters writes random clusters, as the tests draw them, to where `make agree` compares what is decided for
// them with what Pacemaker decides: those of the seeds FIRST to FIRST+COUNT-1.
func TestWriteRandomClusters(t *testing.T) {
	dir := os.Getenv("HOLDFAST_WRITE_CIBS")
	if dir == "" {
		t.Skip("set HOLDFAST_WRITE_CIBS to a directory, as make agree does")
	}
	first, count := seedSetting(t, "FIRST", 0), seedSetting(t, "COUNT", 500)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for seed := first; seed < first+count; seed++ {
		doc := randomCIB(t, seed)
		doc.Root.Set("execution-date", strconv.FormatInt(randomNow.Unix(), 10))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("random-%06d.xml", seed)), doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// seedSetting reads a number from the environment.
func seedSetting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		t.Fatalf("%s=%s: want a number of a seed", name, v)
	}
	return n
}
