// Package balancer is the command line of the balancer: `holdfast balancer rule create|update|show|remove`, `backend
// up|down|drain`, `status`. Rules are kept in the cluster's log, so that every member can change them; each serving host
// has its own status.
package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// Env is what a command line is run in.
type Env struct {
	Root           paths.Root
	Stdout, Stderr io.Writer
}

// callTimeout bounds a call to the daemon: a change waits for the log.
const callTimeout = 15 * time.Second

const usageText = `usage: holdfast balancer COMMAND
  rule create NAME frontend=ADDRESS:PORT hosts=HOST,... backends=[NODE=]ADDRESS:PORT,... [backups=[NODE=]ADDRESS:PORT,...]
              [add-address] [follow=VOLUME] [distribution=Default|SourceIP|SourceIPProtocol]
              [probe=tcp|http|mysql] [path=/PATH] [interval=1s] [timeout=1s] [fall=2] [rise=1]
              [hold=30s] [hold-max=512] [idle=240s]
  rule update NAME OPTION=VALUE...
  rule show [NAME] [--output-format text|json]
  rule remove NAME
  backend up|down RULE BACKEND
  backend drain RULE BACKEND [deadline=60s]
  status [--output-format text|json]
`

// Run executes `holdfast balancer ARGS...` and returns the exit code: 0, or 1 with the reason on stderr.
func Run(args []string, env Env) int {
	c := &call{env: env, client: api.NewClient(env.Root.DaemonSocket())}
	words, err := c.options(args)
	if err == nil {
		err = c.run(words)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(env.Stderr, "Error: %s\n", err)
	var refused *api.Error
	if errors.As(err, &refused) && refused.Code > 0 {
		return refused.Code
	}
	return 1
}

type call struct {
	env    Env
	client *api.Client
	json   bool
}

// options takes --output-format out of the words. The word add-address may be written as an option.
func (c *call) options(args []string) ([]string, error) {
	var words []string
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		switch {
		case name == "--output-format":
			if !given && i+1 < len(args) {
				i++
				value = args[i]
			}
			if value != "text" && value != "json" {
				return nil, fmt.Errorf("--output-format %q is not known: it is text or json", value)
			}
			c.json = value == "json"
		case args[i] == "--add-address":
			words = append(words, "add-address")
		case strings.HasPrefix(args[i], "-"), strings.HasPrefix(args[i], "\u2013"), strings.HasPrefix(args[i], "\u2014"):
			return nil, fmt.Errorf("option %s is not known", args[i])
		default:
			words = append(words, args[i])
		}
	}
	return words, nil
}

func (c *call) run(words []string) error {
	two := strings.Join(words[:min(2, len(words))], " ")
	switch {
	case two == "rule create":
		return c.create(words[2:])
	case two == "rule update":
		return c.update(words[2:])
	case two == "rule show" || two == "rule" || two == "rule list":
		return c.show(words[min(2, len(words)):])
	case two == "rule remove" || two == "rule delete":
		return c.remove(words[2:])
	case two == "backend up" || two == "backend down" || two == "backend drain":
		return c.backend(words[1], words[2:])
	case len(words) == 1 && words[0] == "status":
		return c.status()
	case len(words) == 1 && words[0] == "help":
		fmt.Fprint(c.env.Stdout, usageText)
		return nil
	}
	return fmt.Errorf("'balancer %s' is not known\n%s", strings.Join(words, " "), strings.TrimRight(usageText, "\n"))
}

func (c *call) ask(method string, in, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return c.client.Call(ctx, method, in, out)
}

// rules reads the rules from the log; find one of them.
func (c *call) rules() ([]api.BalancerRule, error) {
	var reply api.BalancerRules
	err := c.ask("balancer.rules", api.Empty{}, &reply)
	return reply.Rules, err
}

func (c *call) find(name string) (api.BalancerRule, error) {
	list, err := c.rules()
	if err != nil {
		return api.BalancerRule{}, err
	}
	var names []string
	for _, r := range list {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return api.BalancerRule{}, fmt.Errorf("there is no rule %q; there are: %s", name, orNone(strings.Join(names, ", ")))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (c *call) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	fmt.Fprintf(c.env.Stdout, "%s\n", b)
	return nil
}
