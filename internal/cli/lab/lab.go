// Package lab is the grammar of `holdfast lab`: virtual hosts on this machine, and what can be done to them.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"holdfast/internal/lab"
)

// Main runs `holdfast lab ARGS...` and returns the exit code: the command's own for exec, else 0 or 1.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := Command()
	cmd.SetArgs(args)
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	var exit exitCode
	if errors.As(err, &exit) {
		return int(exit)
	}
	if err != nil {
		fmt.Fprintf(stderr, "holdfast lab: %v\n", err)
		return 1
	}
	return 0
}

// exitCode is the exit code of a command that ran in a host.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// options are the flags all verbs share.
type options struct {
	name   string
	dir    string
	format string
}

func (o *options) open() (*lab.Lab, error) { return lab.OpenAt(o.dir, o.name) }

// Command is the tree of verbs.
func Command() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Virtual hosts on this machine, for the demo and the tests",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.name, "name", lab.DefaultName, "the lab's name, for two at once")
	flags.StringVar(&o.dir, "dir", lab.DefaultDir, "the directory that holds the labs")
	flags.StringVar(&o.format, "output-format", "text", "text or json")
	root.AddCommand(upCommand(o), downCommand(o), statusCommand(o), execCommand(o), killCommand(o), startCommand(o),
		shutdownCommand(o), freezeCommand(o), thawCommand(o), cutCommand(o), healCommand(o), runCommand(o), diskCommand(o), logsCommand(o), demoCommand(o), benchCommand())
	return root
}

func upCommand(o *options) *cobra.Command {
	var topology string
	var config lab.Config
	var noDaemon bool
	cmd := &cobra.Command{
		Use: "up", Short: "Bring a lab up: the tutorial's hosts, or those of a topology file", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Name, config.Dir = o.name, o.dir
			if noDaemon {
				config.Daemon = []string{}
			}
			if topology != "" {
				t, err := lab.LoadTopology(topology)
				if err != nil {
					return err
				}
				config.Topology = t
			}
			l, err := lab.Up(cmd.Context(), config)
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), l, o.format)
		},
	}
	cmd.Flags().StringVar(&topology, "topology", "", "a topology file in place of the tutorial's")
	cmd.Flags().IntVar(&config.DiskMiB, "disk-mib", 0, "size of a database host's /dev/sdc (default 256)")
	cmd.Flags().BoolVar(&noDaemon, "no-daemon", false, "do not run holdfast daemon on the hosts")
	return cmd
}

func downCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Take a lab down, whatever state it is in", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return lab.DownAt(o.dir, o.name) },
	}
}

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the hosts and the cuts between them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), l, o.format)
		},
	}
}

func execCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "exec HOST -- CMD...", Short: "Run a command in a host, with this terminal", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.open()
			if err != nil {
				return err
			}
			h, err := l.Find(args[0])
			if err != nil {
				return err
			}
			return passThrough(cmd, h, args[1:])
		},
	}
}

// passThrough runs the command with our own standard streams and ends with its exit code.
func passThrough(cmd *cobra.Command, h *lab.Host, args []string) error {
	c := h.Command(cmd.Context(), args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if term := os.Getenv("TERM"); term != "" {
		c.Env = append(c.Env, "TERM="+term)
	}
	if err := c.Start(); err != nil {
		return err
	}
	err := c.Wait()
	if c.ProcessState == nil {
		return err
	}
	if code := lab.ExitCode(c.ProcessState); code != 0 {
		return exitCode(code)
	}
	return nil
}

// printStatus shows the lab on w.
func printStatus(w io.Writer, l *lab.Lab, format string) error {
	s, err := l.Status()
	if err != nil {
		return err
	}
	return writeStatus(w, s, format)
}
