package drbd

import "holdfast/internal/api"

// survivor has the cluster count this host's disk as the volume's only up-to-date replica.
func (c *call) survivor() error {
	return c.each(func(t target) error {
		return c.ask("volume.survivor", api.SurvivorRequest{Resource: t.Name, AcceptLoss: c.accept, By: "root"}, nil)
	})
}

// forget strikes a replica, or the volume, from the cluster's record. The disks are not touched.
func (c *call) forget() error {
	return c.each(func(t target) error {
		return c.ask("volume.forget", api.ForgetRequest{Resource: t.Name, Node: c.node, By: "root"}, nil)
	})
}
