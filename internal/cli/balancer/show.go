package balancer

import (
	"fmt"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/balancer"
)

// show prints rules with all defaults filled in.
func (c *call) show(words []string) error {
	list, err := c.rules()
	if err != nil {
		return err
	}
	if len(words) > 0 {
		one, err := c.find(words[0])
		if err != nil {
			return err
		}
		list = []api.BalancerRule{one}
	}
	if c.json {
		return c.printJSON(api.BalancerRules{Rules: list})
	}
	if len(list) == 0 {
		fmt.Fprintln(c.env.Stdout, "No rules")
	}
	for _, r := range list {
		for _, l := range ruleLines(r) {
			fmt.Fprintln(c.env.Stdout, l)
		}
	}
	return nil
}

func ruleLines(r api.BalancerRule) []string {
	set, err := balancer.Check(r)
	out := []string{"Rule: " + r.Name, "  Frontend: " + r.Frontend + mark(r.AddAddress, " (a local address of each host)"),
		"  Hosts: " + strings.Join(r.Hosts, " ")}
	if r.Follow != "" {
		out = append(out, "  Follows: volume "+r.Follow)
	}
	if err != nil {
		return append(out, "  Error: "+err.Error())
	}
	out = append(out, "  Distribution: "+orElse(r.Distribution, "Default"),
		fmt.Sprintf("  Probe: %s%s every %s, timeout %s, fall %d, rise %d", orElse(r.Probe.Kind, "tcp"), mark(r.Probe.Path != "", " "+r.Probe.Path),
			set.Interval, set.Timeout, set.Fall, set.Rise),
		fmt.Sprintf("  Hold: %s, at most %d connections; idle: %s", set.Hold, set.HoldMax, set.Idle),
		"  Backends:")
	for _, b := range r.Backends {
		out = append(out, "    "+strings.TrimSpace(b.Node+" "+b.Addr)+mark(b.Backup, " (backup)")+mark(b.Admin != "" && b.Admin != "up", " ("+b.Admin+")"))
	}
	return out
}

func mark(on bool, text string) string {
	if on {
		return text
	}
	return ""
}

func orElse(s, dflt string) string {
	if s == "" {
		return dflt
	}
	return s
}

// status prints the state of this host's rules.
func (c *call) status() error {
	var st api.BalancerStatus
	if err := c.ask("balancer.status", api.Empty{}, &st); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(st)
	}
	if len(st.Rules) == 0 {
		fmt.Fprintln(c.env.Stdout, "No rules are served by this host")
	}
	for _, r := range st.Rules {
		fmt.Fprintf(c.env.Stdout, "%s %s: %d accepted, %d held now, %d reset, %d refused\n", r.Name, r.Frontend, r.Accepted, r.Held, r.Resets, r.Refused)
		if r.Error != "" {
			fmt.Fprintf(c.env.Stdout, "  not served: %s\n", r.Error)
		}
		for _, b := range r.Backends {
			fmt.Fprintf(c.env.Stdout, "  %-7s %s, %d connections%s\n", state(b), strings.TrimSpace(b.Node+" "+b.Addr), b.Connections, mark(b.Reason != "", ": "+b.Reason))
		}
	}
	return nil
}

func state(b api.BalancerBackendStatus) string {
	if b.Open {
		return "open"
	}
	return "closed"
}
