package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/nemesis"
)

// onHosts is a verb about one or several hosts of the open lab.
func onHosts(o *options, use, short string, args cobra.PositionalArgs, do func(context.Context, *lab.Lab, []*lab.Host) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, names []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			var hosts []*lab.Host
			for _, name := range names {
				h, err := l.Find(name)
				if err != nil {
					return err
				}
				hosts = append(hosts, h)
			}
			return do(cmd.Context(), l, hosts)
		},
	}
}

func killCommand(o *options) *cobra.Command {
	return onHosts(o, "kill HOST...", "Cut the power of hosts, all at the same instant", cobra.MinimumNArgs(1),
		func(ctx context.Context, l *lab.Lab, hosts []*lab.Host) error {
			names := make([]string, len(hosts))
			for i, h := range hosts {
				names[i] = h.Name()
			}
			return l.Kill(ctx, names...)
		})
}

// each applies do to the hosts, in order, until one fails.
func each(do func(context.Context, *lab.Host) error) func(context.Context, *lab.Lab, []*lab.Host) error {
	return func(ctx context.Context, _ *lab.Lab, hosts []*lab.Host) error {
		for _, h := range hosts {
			if err := do(ctx, h); err != nil {
				return err
			}
		}
		return nil
	}
}

func startCommand(o *options) *cobra.Command {
	return onHosts(o, "start HOST...", "Boot hosts that are down", cobra.MinimumNArgs(1),
		each(func(ctx context.Context, h *lab.Host) error { return h.Start(ctx) }))
}

func shutdownCommand(o *options) *cobra.Command {
	return onHosts(o, "shutdown HOST...", "Stop hosts in an orderly way, as a reboot does", cobra.MinimumNArgs(1),
		each(func(ctx context.Context, h *lab.Host) error { return h.Shutdown(ctx) }))
}

func freezeCommand(o *options) *cobra.Command {
	return onHosts(o, "freeze HOST...", "Stop every process of a host until thaw", cobra.MinimumNArgs(1),
		each(func(_ context.Context, h *lab.Host) error { return h.Freeze() }))
}

func thawCommand(o *options) *cobra.Command {
	return onHosts(o, "thaw HOST...", "Let frozen hosts go on", cobra.MinimumNArgs(1),
		each(func(_ context.Context, h *lab.Host) error { return h.Thaw() }))
}

func cutCommand(o *options) *cobra.Command {
	var oneWay bool
	cmd := &cobra.Command{
		Use: "cut A B", Short: "Drop all packets between two hosts; either may be all", Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.Cut(args[0], args[1], oneWay)
		},
	}
	cmd.Flags().BoolVar(&oneWay, "one-way", false, "only from A to B")
	return cmd
}

func healCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "heal", Short: "Remove every cut", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.Heal()
		},
	}
}

func runCommand(o *options) *cobra.Command {
	var n nemesis.Config
	cmd := &cobra.Command{
		Use: "run SCENARIO|nemesis", Short: "Perform a shipped scenario, a scenario file or the nemesis", Args: cobra.ExactArgs(1),
		Long: "Perform a shipped scenario or a scenario file in the running lab. Shipped: " + strings.Join(lab.Scenarios(), ", ") + ".\n" +
			"`run nemesis` makes a lab of its own, and breaks the tutorial's system in it, fault after fault in an order drawn from the seed, and judges what happens.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "nemesis" {
				return runNemesis(cmd, o, n)
			}
			scenario, err := lab.LoadScenario(args[0])
			if err != nil {
				return err
			}
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.Run(cmd.Context(), scenario, cmd.OutOrStdout())
		},
	}
	cmd.Flags().Uint64Var(&n.Seed, "seed", 1, "nemesis: what the schedule is drawn from")
	cmd.Flags().IntVar(&n.Minutes, "minutes", 5, "nemesis: how long faults are begun")
	cmd.Flags().BoolVar(&n.Keep, "keep", false, "nemesis: leave its lab running")
	return cmd
}

// runNemesis plays a seed and says what it came to.
func runNemesis(cmd *cobra.Command, o *options, c nemesis.Config) error {
	if cmd.Flags().Changed("name") {
		c.Name = o.name
	}
	c.Out = cmd.OutOrStdout()
	r, err := nemesis.Run(cmd.Context(), c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "seed %d: %d steps, %d rows acknowledged and 0 lost, %d operations on rows and %d on blocks linearizable, replicas identical; "+
		"longest time without a row %.1f s, cleanups %d\n", c.Seed, r.Steps, r.Rows, r.RegisterOps, r.BlockOps, r.Longest.Seconds(), r.Cleanups)
	return err
}

func diskCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "disk HOST fail [read|write|flush]...|slow MILLISECONDS|full|hang|heal|stats", Args: cobra.MinimumNArgs(2),
		Short: "Break a host's data disk, heal it, or show what it has done",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := lab.ParseDiskCommand(args[1:])
			if err != nil {
				return err
			}
			l, err := o.open()
			if err != nil {
				return err
			}
			h, err := l.Find(args[0])
			if err != nil {
				return err
			}
			result, err := h.Disk(cmd.Context(), c)
			if err != nil || c.Do != "stats" {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
		},
	}
}

func demoCommand(o *options) *cobra.Command {
	var config demo.Config
	cmd := &cobra.Command{
		Use: "demo", Short: "The tutorial's system and its failover tests, in a lab of its own", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("name") {
				config.Name = o.name
			}
			config.Out = cmd.OutOrStdout()
			return demo.Run(cmd.Context(), config)
		},
	}
	cmd.Flags().StringVar(&config.Report, "report", "", "write the result table as JSON to this file too")
	cmd.Flags().BoolVar(&config.Keep, "keep", false, "leave the lab running at the end")
	return cmd
}

func logsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "logs DIRECTORY", Short: "Copy the logs of every host into a directory", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return l.CollectLogs(cmd.Context(), args[0])
		},
	}
}

// writeStatus prints a lab's status in the given format.
func writeStatus(w io.Writer, s lab.Status, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(s)
	case "text":
		return writeText(w, s)
	}
	return fmt.Errorf("unknown output format %q: use text or json", format)
}

func writeText(w io.Writer, s lab.Status) error {
	fmt.Fprintf(w, "Lab %s in %s\n", s.Name, s.Dir)
	if !s.Keeper {
		fmt.Fprintln(w, "Its keeper has died: network and data disks are gone; take the lab down.")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tADDRESS\tROLE\tSTATE\tPID")
	for _, h := range s.Hosts {
		pid := "-"
		if h.PID != 0 {
			pid = fmt.Sprint(h.PID)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.Address, h.Role, h.State, pid)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range s.Cuts {
		fmt.Fprintf(w, "cut: %s\n", c)
	}
	return nil
}
