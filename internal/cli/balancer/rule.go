package balancer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/balancer"
)

// create makes a rule.
func (c *call) create(words []string) error {
	if len(words) == 0 || strings.Contains(words[0], "=") {
		return errors.New("name the rule first: holdfast balancer rule create NAME frontend=...")
	}
	list, err := c.rules()
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Name == words[0] {
			return fmt.Errorf("there is a rule %q already; change it with: holdfast balancer rule update %s OPTION=VALUE", r.Name, r.Name)
		}
	}
	rule := api.BalancerRule{Name: words[0]}
	if err := setAll(&rule, words[1:]); err != nil {
		return err
	}
	return c.set(rule)
}

// update changes options of a rule.
func (c *call) update(words []string) error {
	if len(words) < 2 {
		return errors.New("name the rule and what to change: holdfast balancer rule update NAME OPTION=VALUE")
	}
	rule, err := c.find(words[0])
	if err != nil {
		return err
	}
	if err := setAll(&rule, words[1:]); err != nil {
		return err
	}
	return c.set(rule)
}

// set checks a rule and puts it into the log.
func (c *call) set(rule api.BalancerRule) error {
	if len(rule.Hosts) == 0 {
		return errors.New("name the hosts that serve the rule: hosts=HOST,HOST")
	}
	if _, err := balancer.Check(rule); err != nil {
		return err
	}
	return c.ask("balancer.set", rule, nil)
}

// setAll reads OPTION=VALUE words into a rule.
func setAll(rule *api.BalancerRule, words []string) error {
	for _, w := range words {
		name, value, given := strings.Cut(w, "=")
		if !given && name == "add-address" {
			value = "yes"
		} else if !given {
			return fmt.Errorf("'%s' has no value; write %s=VALUE", w, w)
		}
		if err := setOne(rule, name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func setOne(rule *api.BalancerRule, name, value string) (err error) {
	switch name {
	case "frontend":
		rule.Frontend = value
	case "add-address":
		rule.AddAddress, err = yesNo(value)
	case "hosts":
		rule.Hosts = strings.Split(value, ",")
	case "backends":
		rule.Backends, err = backends(rule.Backends, value, false)
	case "backups":
		rule.Backends, err = backends(rule.Backends, value, true)
	case "distribution":
		rule.Distribution = value
	case "follow":
		rule.Follow = value
	case "hold":
		rule.HoldSeconds, err = seconds(value)
	case "hold-max":
		rule.HoldMax, err = number(value)
	case "idle":
		rule.IdleSeconds, err = seconds(value)
	default:
		return setProbe(&rule.Probe, name, value)
	}
	return err
}

func setProbe(p *api.BalancerProbe, name, value string) (err error) {
	switch name {
	case "probe":
		p.Kind = value
	case "path":
		p.Path = value
	case "interval":
		p.IntervalMS, err = milliseconds(value)
	case "timeout":
		p.TimeoutMS, err = milliseconds(value)
	case "fall":
		p.Fall, err = number(value)
	case "rise":
		p.Rise, err = number(value)
	default:
		return errors.New("this option is not known; see: holdfast balancer help")
	}
	return err
}

// backends reads [NODE=]ADDRESS:PORT,... and puts them in the place of those of the same kind.
func backends(old []api.BalancerBackend, value string, backup bool) ([]api.BalancerBackend, error) {
	var out []api.BalancerBackend
	for _, b := range old {
		if b.Backup != backup {
			out = append(out, b)
		}
	}
	for _, part := range strings.Split(value, ",") {
		node, addr, named := strings.Cut(part, "=")
		if !named {
			node, addr = "", part
		}
		if addr == "" {
			return nil, fmt.Errorf("'%s' is not [NODE=]ADDRESS:PORT", part)
		}
		out = append(out, api.BalancerBackend{Node: node, Addr: addr, Backup: backup})
	}
	return out, nil
}

func yesNo(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes", "true", "1", "on":
		return true, nil
	case "no", "false", "0", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}

// duration reads a time span: 500ms, 2s, or a plain number of seconds.
func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil {
		return 0, fmt.Errorf("%q is no time span, such as 500ms or 30s", s)
	}
	if d <= 0 {
		return 0, fmt.Errorf("%s is not longer than nothing", s)
	}
	return d, nil
}

func seconds(s string) (int, error) {
	d, err := duration(s)
	if err == nil && d%time.Second != 0 {
		err = fmt.Errorf("%s is not a whole number of seconds", s)
	}
	return int(d / time.Second), err
}

func milliseconds(s string) (int, error) {
	d, err := duration(s)
	if err == nil && d%time.Millisecond != 0 {
		err = fmt.Errorf("%s is not a whole number of milliseconds", s)
	}
	return int(d / time.Millisecond), err
}

func number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number from 0 on", s)
	}
	return n, nil
}

// remove removes rules.
func (c *call) remove(words []string) error {
	if len(words) == 0 {
		return errors.New("name the rule to remove")
	}
	for _, name := range words {
		rule, err := c.find(name)
		if err != nil {
			return err
		}
		if err := c.ask("balancer.remove", rule, nil); err != nil {
			return err
		}
	}
	return nil
}

// backend sets the operator's word for a backend, named by its address or its node.
func (c *call) backend(admin string, words []string) error {
	if len(words) < 2 || len(words) > 3 || len(words) == 3 && admin != "drain" {
		return fmt.Errorf("write: holdfast balancer backend %s RULE BACKEND", admin)
	}
	rule, err := c.find(words[0])
	if err != nil {
		return err
	}
	drain := 0
	if len(words) == 3 {
		value, ok := strings.CutPrefix(words[2], "deadline=")
		if !ok {
			return fmt.Errorf("'%s' is not known; write deadline=60s", words[2])
		}
		if drain, err = seconds(value); err != nil {
			return err
		}
	}
	for i := range rule.Backends {
		b := &rule.Backends[i]
		if b.Addr == words[1] || b.Node == words[1] {
			b.Admin, b.DrainSeconds = admin, drain
			return c.set(rule)
		}
	}
	return fmt.Errorf("the rule %s has no backend %s", rule.Name, words[1])
}
