package cli

import (
	"flag"
	"fmt"

	"holdfast/internal/lab/demo"
)

// runDemo is `holdfast lab demo`: the tutorial's system and its failover tests.
func runDemo(args []string, e environment) int {
	flags := flag.NewFlagSet("holdfast lab demo", flag.ContinueOnError)
	flags.SetOutput(e.stderr)
	cfg := demo.Config{Out: e.stdout}
	flags.StringVar(&cfg.Name, "name", "demo", "name of the lab")
	flags.StringVar(&cfg.Report, "report", "", "file for the table as JSON")
	flags.BoolVar(&cfg.Keep, "keep", false, "leave the lab running")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		fmt.Fprintln(e.stderr, "usage: holdfast lab demo [-name NAME] [-report FILE] [-keep]")
		return 1
	}
	ctx, cancel := untilSignal()
	defer cancel()
	if err := demo.Run(ctx, cfg); err != nil {
		fmt.Fprintf(e.stderr, "holdfast lab demo: %v\n", err)
		return 1
	}
	return 0
}
