package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/balancer"
	clibalancer "holdfast/internal/cli/balancer"
	"holdfast/internal/cli/drbd"
	clilab "holdfast/internal/cli/lab"
	"holdfast/internal/cli/pcs"
	"holdfast/internal/cli/simulate"
	"holdfast/internal/clock"
	"holdfast/internal/daemon"
	"holdfast/internal/guard"
	"holdfast/internal/lab"
	"holdfast/internal/version"
)

// commands is the table of first words that are not the pcs grammar's.
func commands() map[string]command {
	return map[string]command{
		"pcs":           {run: runPCS, about: "the pcs grammar, as installed by that name"},
		"crm_mon":       {run: runMonitor, about: "the cluster's status with crm_mon's options"},
		"lab":           {run: runLab, about: "virtual hosts on this machine: up, down, exec, kill, start, freeze, cut, run, demo, bench"},
		"lab-init":      {run: func(args []string, _ environment) int { return lab.InitMain(args) }},
		"drbd":          {run: runDRBD, about: "the drbdadm grammar, as installed by that name; drbd proc is /proc/drbd"},
		"drbd-overview": {run: runOverview},
		"drbdmeta":      {run: runMeta},
		"balancer":      {run: runBalancer, about: "rules of the load balancer: rule create, rule show, status"},
		"simulate":      {run: runSimulate, about: "what the cluster would do: crm_simulate's options"},
		"verify":        {run: runVerify, about: "is anything wrong with a CIB: crm_verify's options"},
		"daemon":        {run: runDaemon, about: "the daemon of this host (started by systemd)"},
		"volume":        {run: runVolume, about: "the process of one replicated volume (started by the daemon)"},
		"guard":         {run: runGuard, about: "the process that holds descriptors and enforces the lease (started by the daemon)"},
		"install":       {run: runInstall, about: "make the links pcs, drbdadm, ... and the systemd units"},
		"version":       {run: runVersion, about: "print the version"},
		"help":          {run: func(_ []string, e environment) int { usage(e.stdout); return 0 }},
	}
}

func pcsEnv(e environment) pcs.Env {
	return pcs.Env{Root: e.root, Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr, Hostname: e.hostname, Terminal: e.terminal}
}

func runPCS(args []string, e environment) int { return pcs.Run(args, pcsEnv(e)) }

func runMonitor(args []string, e environment) int { return pcs.Monitor(args, pcsEnv(e)) }

func runLab(args []string, e environment) int { return clilab.Main(args, e.stdin, e.stdout, e.stderr) }

func runVersion(_ []string, e environment) int {
	fmt.Fprintln(e.stdout, version.String())
	return 0
}

func drbdEnv(e environment) drbd.Env {
	return drbd.Env{Root: e.root, Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr, Hostname: e.hostname, Terminal: e.terminal}
}

func runMeta(args []string, e environment) int { return drbd.RunMeta(args, drbdEnv(e)) }

func runDRBD(args []string, e environment) int { return drbd.Run(args, drbdEnv(e)) }

func runOverview(args []string, e environment) int { return drbd.RunOverview(args, drbdEnv(e)) }

func runDaemon(_ []string, e environment) int {
	return process("daemon", e, func(ctx context.Context, log *slog.Logger) error {
		return daemon.Run(ctx, daemon.Config{Root: e.root, Node: e.hostname, Clock: clock.System{}, Log: log})
	})
}

// runBalancer is the grammar for rules, or with the one word run the process that serves them.
func runBalancer(args []string, e environment) int {
	if len(args) == 1 && args[0] == "run" {
		return process("balancer", e, func(ctx context.Context, log *slog.Logger) error {
			return balancer.Run(ctx, balancer.Config{Root: e.root, Clock: clock.System{}, Log: log, Node: e.hostname})
		})
	}
	return clibalancer.Run(args, clibalancer.Env{Root: e.root, Stdout: e.stdout, Stderr: e.stderr})
}

// runSimulate takes memory for time, up to a limit: the process ends with its one decision.
func runSimulate(args []string, e environment) int {
	const garbage, limit = 400, 700 << 20
	debug.SetGCPercent(garbage)
	debug.SetMemoryLimit(limit)
	return simulate.Run(args, simulateEnv(e))
}

func runVerify(args []string, e environment) int { return simulate.Verify(args, simulateEnv(e)) }

func simulateEnv(e environment) simulate.Env {
	live := func() ([]byte, error) {
		var got api.CIB
		err := api.NewClient(e.root.DaemonSocket()).Call(context.Background(), "cib.get", api.CIBGetRequest{}, &got)
		return []byte(got.XML), err
	}
	return simulate.Env{Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr, Live: live, Now: time.Now}
}

func runGuard(_ []string, e environment) int {
	return process("guard", e, func(ctx context.Context, log *slog.Logger) error {
		return guard.Run(ctx, guard.Config{Root: e.root, Clock: clock.System{}, Log: log})
	})
}

// process runs one of the long-lived processes until SIGTERM, with its log as text on stderr.
func process(name string, e environment, run func(context.Context, *slog.Logger) error) int {
	ctx, cancel := untilSignal()
	defer cancel()
	log := slog.New(slog.NewTextHandler(e.stderr, nil))
	if err := run(ctx, log); err != nil && !errors.Is(err, context.Canceled) {
		log.Error(name+" ended", "err", err)
		fmt.Fprintf(e.stderr, "holdfast %s: %v\n", name, err)
		return 1
	}
	return 0
}
