package scheduler

import (
	"maps"
	"slices"
	"strings"
)

// healthScores are what the colours of a node's #health attributes are worth.
func healthScores(p map[string]string) map[string]int {
	switch p["node-health-strategy"] {
	case "migrate-on-red":
		return map[string]int{"red": -infinity, "yellow": 0, "green": 0}
	case "only-green":
		return map[string]int{"red": -infinity, "yellow": -infinity, "green": 0}
	case "progressive":
		return map[string]int{"red": scoreOr(p["node-health-red"], -infinity), "yellow": scoreOr(p["node-health-yellow"], 0),
			"green": scoreOr(p["node-health-green"], 0)}
	case "custom":
		return map[string]int{}
	}
	return nil
}

// applyHealth gives every resource the sum of a node's health scores there.
func (c *cluster) applyHealth() {
	if c.conf.health == nil {
		return
	}
	for _, n := range c.nodes {
		score := c.conf.healthBase
		for _, name := range slices.Sorted(maps.Keys(n.attrs)) {
			if strings.HasPrefix(name, "#health") {
				score = addScores(score, c.healthScore(n.attrs[name]))
			}
		}
		if score == 0 {
			continue
		}
		for _, r := range c.resources {
			if !boolOr(r.meta["allow-unhealthy-nodes"], false) {
				c.addLocation(&location{id: "node-health", rsc: r, likes: []like{{n, score, discoverAlways}}})
			}
		}
	}
}

func (c *cluster) healthScore(value string) int {
	if s, ok := c.conf.health[strings.ToLower(value)]; ok {
		return s
	}
	return scoreOr(value, 0)
}

// healthColour is the worst colour among a node's health attributes, "" for green or without a strategy.
func (c *cluster) healthColour(n *node) string {
	colour := ""
	for _, name := range slices.Sorted(maps.Keys(n.attrs)) {
		if c.conf.health == nil || !strings.HasPrefix(name, "#health") {
			continue
		}
		switch value := strings.ToLower(n.attrs[name]); {
		case value == "red", value != "yellow" && c.healthScore(value) < 0:
			return "RED"
		case value == "yellow":
			colour = "YELLOW"
		}
	}
	return colour
}
