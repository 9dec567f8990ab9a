package simulate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/cluster/scheduler"
)

// profile times the decision for each CIB in a directory. Every file is tried; the exit code tells whether one failed.
func profile(o options, env Env) (int, error) {
	entries, err := os.ReadDir(o.profile)
	if err != nil {
		return exitNoInput, fmt.Errorf("--profile: %w", err)
	}
	fmt.Fprintln(env.Stdout, "Timings:")
	code := exitOK
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".xml") {
			continue
		}
		path := filepath.Join(o.profile, e.Name())
		doc, _, failed, err := load(path, false, env)
		if err != nil {
			fmt.Fprintf(env.Stderr, "crm_simulate: %v\n", err)
			code = failed
			continue
		}
		in := input(doc, effectiveTime(o, doc, env))
		begin := env.Now()
		for range o.repeat {
			scheduler.Schedule(in)
		}
		fmt.Fprintf(env.Stdout, "  * Testing %s ... %.2f secs\n", path, env.Now().Sub(begin).Seconds())
	}
	return code, nil
}
