package pcs

import (
	"bufio"
	"errors"
	"fmt"

	"holdfast/internal/api"
)

// recover has this host go on alone after a majority was lost for good: it shows what may be lost, and asks.
func (c *call) recover() error {
	node := c.args.get("survivor")
	if node == "" || len(c.words) > 0 {
		return c.usage("name the host that goes on")
	}
	request := api.RecoverRequest{Survivor: node, By: "root"}
	var reply api.RecoverReply
	if err := c.act("cluster.recover", request, &reply); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	c.out("If %s goes on alone, this may be lost:", node)
	for _, line := range reply.AtRisk {
		c.out("  * %s", line)
	}
	if !c.args.has("accept-loss") {
		if err := c.confirm(node); err != nil {
			return err
		}
	}
	request.AcceptLoss = true
	if err := c.act("cluster.recover", request, &reply); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	c.out("%s goes on alone. The others rejoin with empty logs when they are back; their disks are resynced.", node)
	return nil
}

// confirm asks whether to go on.
func (c *call) confirm(node string) error {
	if !c.env.Terminal {
		return errors.New("nothing was done: say --accept-loss, or answer on a terminal")
	}
	fmt.Fprintf(c.env.Stdout, "Is the majority gone for good, and shall %s go on alone? Type yes: ", node)
	answer, err := readLine(bufio.NewReader(c.env.Stdin))
	if err != nil {
		return fmt.Errorf("nothing was done: %w", err)
	}
	if answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
