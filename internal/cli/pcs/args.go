package pcs

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// arguments is a command line taken apart: words in order, options by name. Options may stand anywhere, as with pcs.
type arguments struct {
	words   []string
	options map[string]string
}

// valueOptions take a value: the next argument, or after '='.
func valueOption(name string) bool {
	switch name {
	case "f", "name", "u", "p", "group", "before", "after", "output-format", "request-timeout", "token", "corosync_conf",
		"addr0", "addr1", "transport", "survivor":
		return true
	}
	return false
}

// flagOption takes no value, or one after '=' only (--wait=30).
func flagOption(name string) bool {
	switch name {
	case "all", "force", "yes", "full", "wait", "enable", "start", "config", "disabled", "no-default-ops", "promoted",
		"master", "debug", "help", "h", "version", "hide-inactive", "strict", "local", "monitor", "autodelete",
		"skip-offline", "defaults", "expired", "agent-validation", "nodesc", "no-stop", "future", "quiet", "off",
		"simulate", "safe", "accept-loss", "brief", "no-strict", "no-expire-check", "show-secrets":
		return true
	}
	return false
}

// globalOption is one every verb takes.
func globalOption(name string) bool {
	switch name {
	case "f", "debug", "request-timeout", "force", "help", "version", "skip-offline":
		return true
	}
	return false
}

// dashed writes an option as typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// parseArguments separates words and options. An argument that begins with a hyphen and looks like a score (-50,
// -INFINITY) is a word.
func parseArguments(args []string) (arguments, error) {
	p := arguments{options: map[string]string{}}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") || a == "-" || isScore(a) {
			p.words = append(p.words, a)
			continue
		}
		name, value, hasValue := splitOption(a)
		switch {
		case valueOption(name) && hasValue:
			p.options[name] = value
		case valueOption(name) && i+1 < len(args):
			i++
			p.options[name] = args[i]
		case valueOption(name):
			return p, fmt.Errorf("option %s needs a value", dashed(name))
		case flagOption(name):
			p.options[canonical(name)] = value
		default:
			return p, fmt.Errorf("option %s is not known%s", a, nearOption(name))
		}
	}
	return p, nil
}

// splitOption takes an option apart: --name=VALUE, --name, -x, -xVALUE.
func splitOption(a string) (name, value string, hasValue bool) {
	if long, ok := strings.CutPrefix(a, "--"); ok {
		return strings.Cut(long, "=")
	}
	short := strings.TrimPrefix(a, "-")
	if len(short) > 1 && valueOption(short[:1]) {
		return short[:1], strings.TrimPrefix(short[1:], "="), true
	}
	if len(short) > 1 {
		return a, "", false // -all is not --all
	}
	return short, "", false
}

// canonical gives an option's present name.
func canonical(name string) string {
	switch name {
	case "master":
		return "promoted"
	case "yes":
		return "force"
	case "h":
		return "help"
	}
	return name
}

// isScore tells a negative score from an option.
func isScore(s string) bool {
	rest := strings.TrimPrefix(s, "-")
	if strings.EqualFold(rest, "INFINITY") {
		return true
	}
	return rest != "" && strings.Trim(rest, "0123456789") == ""
}

func (a arguments) has(name string) bool { _, ok := a.options[name]; return ok }

func (a arguments) get(name string) string { return a.options[name] }

// file is the file of -f, empty when there is none.
func (a arguments) file() string { return a.options["f"] }

func (a arguments) names() []string {
	out := make([]string, 0, len(a.options))
	for n := range a.options {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// wait gives the time of --wait[=SECONDS]; ok is false when it was not given.
func (a arguments) wait() (d time.Duration, ok bool, err error) {
	s, ok := a.options["wait"]
	if !ok || s == "" {
		return waitDefault, ok, nil
	}
	d, err = time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil || d < 0 {
		return 0, ok, fmt.Errorf("%q is not a valid number of seconds to wait", s)
	}
	return d, ok, nil
}

// json tells whether --output-format json was asked for.
func (c *call) json() (bool, error) {
	switch f := c.args.get("output-format"); f {
	case "", "text":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, fmt.Errorf("unknown value '%s' for '--output-format' option, supported values are: text, json", f)
	}
}

// pair is NAME=VALUE.
type pair struct{ name, value string }

// parsePairs reads NAME=VALUE words, sorted by name; a name given twice with two values is an error.
func parsePairs(words []string) ([]pair, error) {
	var out []pair
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("missing value of '%s' option", w)
		}
		if name == "" {
			return nil, fmt.Errorf("missing key in '%s' option", w)
		}
		i := slices.IndexFunc(out, func(p pair) bool { return p.name == name })
		if i >= 0 && out[i].value != value {
			return nil, fmt.Errorf("duplicate option '%s' with different values '%s' and '%s'", name, out[i].value, value)
		}
		if i < 0 {
			out = append(out, pair{name, value})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out, nil
}

// groups splits words at keywords: what stands before the first is under "".
func groups(words []string, keywords ...string) map[string][]string {
	out := map[string][]string{}
	key := ""
	for _, w := range words {
		if slices.Contains(keywords, w) {
			key = w
			if out[key] == nil {
				out[key] = []string{}
			}
			continue
		}
		out[key] = append(out[key], w)
	}
	return out
}
