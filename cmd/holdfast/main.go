// Command holdfast is the whole product: daemon, volume process, guard, balancer and command line in one binary. The name
// it is called by (pcs, drbdadm, crm_mon, ...) or its first argument chooses the grammar; see internal/cli.
package main

import (
	"os"

	"holdfast/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
