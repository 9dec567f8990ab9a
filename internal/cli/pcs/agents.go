package pcs

import (
	"fmt"
	"strings"

	"holdfast/internal/agent/ocf"
)

// agentList prints the installed agents: `resource list [FILTER]`, `resource agents [ocf[:PROVIDER]]`.
func (c *call) agentList() error {
	all, err := ocf.List(c.env.Root)
	if err != nil {
		return err
	}
	filter := strings.ToLower(strings.Join(c.words, " "))
	names := strings.HasSuffix(c.verb.name, "agents")
	n := 0
	for _, s := range all {
		if names && filter != "" && !strings.HasPrefix(strings.ToLower(s.String())+":", filter+":") ||
			!names && !strings.Contains(strings.ToLower(s.String()), filter) {
			continue
		}
		n++
		text := s.String()
		if names {
			text = s.Type
		}
		c.out("%s", text)
	}
	if n == 0 {
		return errNoAgents(filter, c.env.Root.OCF())
	}
	return nil
}

// agentDescribe prints what an agent takes and does.
func (c *call) agentDescribe() error {
	if err := c.needWords(1, "an agent"); err != nil {
		return err
	}
	found, err := c.findAgent(c.words[0])
	if err != nil {
		return err
	}
	spec, m := found.spec, found.meta
	c.lines(found.notes)
	if m == nil {
		c.out("%s", spec)
		return nil
	}
	c.out("%s - %s\n\n%s\n\nResource options:", spec, m.ShortDesc, m.LongDesc)
	for _, p := range m.Params {
		mark := ""
		if p.Required {
			mark = " (required)"
		}
		c.out("  %s%s: %s", p.Name, mark, strings.Join(strings.Fields(p.LongDesc), " "))
	}
	c.out("\nDefault operations:")
	for _, a := range m.Actions {
		if a.Name == "meta-data" || a.Name == "validate-all" {
			continue
		}
		line := "  " + a.Name + ":"
		for _, kv := range [][2]string{{"interval", a.Interval}, {"role", a.Role}, {"timeout", a.Timeout}} {
			if kv[1] != "" {
				line += " " + kv[0] + "=" + kv[1]
			}
		}
		c.out("%s", line)
	}
	return nil
}

func errNoAgents(filter, root string) error {
	if filter == "" {
		return fmt.Errorf("no resource agents are installed below %s/resource.d", root)
	}
	return fmt.Errorf("no resource agents matching '%s' below %s/resource.d", filter, root)
}
