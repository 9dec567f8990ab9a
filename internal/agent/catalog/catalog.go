// Package catalog says who carries out the operations of a resource: the built-in agent, an external OCF script, a
// systemd unit, an init script.
package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/lsb"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/systemd"
	"holdfast/internal/agent/volume"
	"holdfast/internal/paths"
)

// lookupTimeout bounds asking systemd whether it has a unit.
const lookupTimeout = 5 * time.Second

// Catalog holds the agents of a host.
type Catalog struct {
	volume  *volume.Agent
	ocf     *ocf.Agent
	lsb     *lsb.Agent
	systemd *systemd.Agent
}

// New makes the catalog of a host. volumes and score are for the built-in ocf:linbit:drbd; without volumes that agent
// is unknown.
func New(root paths.Root, volumes volume.Volumes, score volume.Scorer) *Catalog {
	c := &Catalog{ocf: ocf.New(root, true), lsb: lsb.New(root, ""), systemd: systemd.New(root)}
	if volumes != nil {
		c.volume = volume.New(volumes, score)
	}
	return c
}

// Agent gives the agent for a spec. The error says which classes there are.
func (c *Catalog) Agent(spec agent.Spec) (agent.Agent, error) {
	switch spec.Class {
	case "ocf":
		if spec != volume.Spec() {
			return c.ocf, nil
		}
		if c.volume != nil {
			return c.volume, nil
		}
	case "systemd":
		return c.systemd, nil
	case "lsb":
		return c.lsb, nil
	case "service":
		return c.service(spec), nil
	}
	return nil, fmt.Errorf("no agent for %s: this host knows the classes ocf, systemd, lsb and service", spec)
}

// service is whatever this host has under the name: a unit before an init script.
func (c *Catalog) service(spec agent.Spec) agent.Agent {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	if c.systemd.Known(ctx, spec.Type) {
		return c.systemd
	}
	return c.lsb
}
