package nemesis

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// testSeed is the seed whose schedule the tests play, testMinutes for how long, testLimit the bound of all of it.
	testSeed    = 2
	testMinutes = 5
	testLimit   = 25 * time.Minute
)

// program is the binary under test: HOLDFAST_PROGRAM, or one built here.
func program(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("HOLDFAST_PROGRAM"); p != "" {
		return p
	}
	path := filepath.Join(t.TempDir(), "holdfast")
	build := exec.Command("go", "build", "-o", path, "holdfast/cmd/holdfast")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return path
}

// TestNemesis plays one seed.
func TestNemesis(t *testing.T) {
	if os.Getenv("HOLDFAST_LAB") == "" {
		t.Skip("set HOLDFAST_LAB=1 to run the tests that make hosts (root, namespaces, loop devices)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	r, err := Run(ctx, Config{Seed: testSeed, Minutes: testMinutes, Name: "nemesis-test", Program: program(t), Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
}
