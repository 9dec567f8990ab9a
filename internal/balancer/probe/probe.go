// Package probe turns single probe results into a backend's health, with separate thresholds for falling and rising. It is
// a core.
package probe

import "holdfast/internal/balancer/pool"

// Counter is the health of one backend.
type Counter struct {
	// Fall is how many failures in a row take a backend down, Rise how many successes bring it up; both at least 1.
	Fall, Rise int

	health    pool.Health
	good, bad int
	fault     string
}

// Health is the present health, and what the last failure was when it is Down.
func (c *Counter) Health() (pool.Health, string) {
	if c.health != pool.Down {
		return c.health, ""
	}
	return c.health, c.fault
}

// Note enters a result, with the fault when it failed, and tells whether the health changed. A backend of unknown health
// goes down with its first failure: it has not been trusted yet.
func (c *Counter) Note(ok bool, fault string) bool {
	before := c.health
	if ok {
		c.good, c.bad = c.good+1, 0
		if c.good >= max(c.Rise, 1) {
			c.health = pool.Up
		}
		return c.health != before
	}
	c.good, c.bad = 0, c.bad+1
	c.fault = fault
	if c.bad >= max(c.Fall, 1) || c.health == pool.Unknown {
		c.health = pool.Down
	}
	return c.health != before
}

// Distrust takes a backend down at once: a connection to it was refused, or the cluster says that what ran there has
// ended. Rise successes bring it back.
func (c *Counter) Distrust(fault string) bool {
	before := c.health
	c.good, c.bad, c.fault, c.health = 0, max(c.Fall, 1), fault, pool.Down
	return before != pool.Down
}
