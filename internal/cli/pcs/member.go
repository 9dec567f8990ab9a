package pcs

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/cli/pcs/show"
)

func (c *call) oneNode() (string, error) {
	if len(c.words) != 1 {
		return "", c.usage("name one host")
	}
	return c.words[0], nil
}

// witnessAdd adds a voter without data.
func (c *call) witnessAdd() error {
	node, err := c.oneNode()
	if err != nil {
		return err
	}
	if err := c.act("member.add", api.MemberRequest{Node: node, Witness: true}, nil); err != nil {
		return fmt.Errorf("add the witness %s: %w", node, err)
	}
	c.out("%s: Added as a witness: it votes and holds no data", node)
	return nil
}

// memberAdd adds a follower: a host that knows the cluster's state (for its balancer) and has no vote.
func (c *call) memberAdd() error {
	node, err := c.oneNode()
	if err != nil {
		return err
	}
	if err := c.act("member.add", api.MemberRequest{Node: node}, nil); err != nil {
		return fmt.Errorf("add the member %s: %w", node, err)
	}
	c.out("%s: Added as a follower: it has no vote and holds no data", node)
	return nil
}

func (c *call) memberRemove() error {
	node, err := c.oneNode()
	if err != nil {
		return err
	}
	if err := c.act("member.remove", api.MemberRequest{Node: node}, nil); err != nil {
		return fmt.Errorf("remove the member %s: %w", node, err)
	}
	c.out("%s: Removed from the cluster", node)
	return nil
}

// memberLead says which voter shall lead when it can.
func (c *call) memberLead() error {
	node, err := c.oneNode()
	if err != nil {
		return err
	}
	who := node
	if node == "witness" {
		node, who = "", "a witness"
	}
	if err := c.act("member.lead", api.MemberRequest{Node: node}, nil); err != nil {
		return fmt.Errorf("choose who leads: %w", err)
	}
	c.out("Leadership goes to %s when it is healthy", who)
	return nil
}

// memberRejoin gives the branch of the log that this host goes on with up for that of another member.
func (c *call) memberRejoin() error {
	node, err := c.oneNode()
	if err != nil {
		return err
	}
	if err := c.act("cluster.rejoin", api.RejoinRequest{Keep: node, By: "root"}, nil); err != nil {
		return fmt.Errorf("rejoin %s: %w", node, err)
	}
	c.out("This host gives its branch of the log up, stops what it runs, and is taken in by %s again; a disk that was written to here waits for holdfast drbd heal", node)
	return nil
}

func (c *call) memberList() error {
	st, err := c.clusterStatus()
	if err != nil {
		return err
	}
	c.lines(show.Members(st))
	return nil
}
