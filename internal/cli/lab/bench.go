package lab

import (
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/lab/bench"
)

func benchCommand() *cobra.Command {
	var config bench.Config
	cmd := &cobra.Command{
		Use: "bench", Short: "Speed of a replicated volume, and of a database on it, beside a plain loop device on the same disk", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Out = cmd.OutOrStdout()
			return bench.Run(cmd.Context(), config)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Dir, "on", "", "directory on the file system to measure (default /var/tmp)")
	flags.IntVar(&config.SizeMiB, "size-mib", bench.DefaultSizeMiB, "size of each disk")
	flags.IntVar(&config.Seconds, "seconds", bench.DefaultSeconds, "length of one measurement")
	flags.IntVar(&config.Rounds, "rounds", bench.DefaultRounds, "measurements of each kind, on either device in turn")
	flags.StringSliceVar(&config.Only, "only", nil, "what to measure, of "+strings.Join(bench.Works(), ","))
	flags.StringVar(&config.Before, "before", "", "an earlier holdfast program, measured in the same rounds")
	flags.StringVar(&config.Report, "report", "", "write the results as JSON to this file too")
	return cmd
}
