// Package drbd speaks the grammar of drbdadm (8.4), drbd-overview and /proc/drbd over holdfast's volumes. Texts and exit
// codes follow recordings of drbd-utils 9.22 with the 8.4.11 module.
package drbd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/resload"
	"holdfast/internal/paths"
)

// Env is what a command line is run in.
type Env struct {
	Root           paths.Root
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Hostname is this host's name, as the `on` sections have it.
	Hostname string
	// Terminal says that Stdin is a terminal: questions are asked on it. Without one they count as answered no.
	Terminal bool
	// Now gives the wall clock; nil means time.Now.
	Now func() time.Time
}

// drbdadm's exit codes.
const (
	exitOK     = 0
	exitUsage  = 1
	exitFailed = 10 // bad configuration, or refused by the volume
	exitSystem = 20 // no daemon (the original: no module), no such disk
)

// failure ends the command with a text and an exit code.
type failure struct {
	code int
	text string
}

func (f *failure) Error() string { return f.text }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Sprintf(format, args...)}
}

// call is one run of the command.
type call struct {
	Env
	verb    verb
	force   bool
	discard bool
	accept  bool   // --accept-loss
	node    string // --node
	json    bool
	config  string
	dryRun  bool
	timeout time.Duration
	// identifiersWord is what set-gi is to write: it stands before the verb, after --.
	identifiersWord string
	values          map[string]string // of options that only some verbs have, by name
	passed          []string          // options for drbdsetup or drbdmeta, as typed: a dry run shows them
	resources       []string
	client          *api.Client
	conf            *resfile.Config
}

// now is the wall clock.
func (c *call) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// Run executes one drbdadm command line (without the word drbdadm itself) and returns the exit code; the word meta leads to
// drbdmeta's grammar.
func Run(args []string, env Env) int {
	if len(args) > 0 && args[0] == "meta" {
		return RunMeta(args[1:], env)
	}
	c := &call{Env: env, client: api.NewClient(env.Root.DaemonSocket()), values: map[string]string{}}
	return c.finish(c.run(args))
}

// RunOverview executes drbd-overview.
func RunOverview(args []string, env Env) int { return Run(append([]string{"overview"}, args...), env) }

func (c *call) finish(err error) int {
	var f *failure
	switch {
	case err == nil:
		return exitOK
	case !errors.As(err, &f):
		f = &failure{exitSystem, err.Error()}
	}
	if f.text != "" {
		fmt.Fprintln(c.Stderr, f.text)
	}
	return f.code
}

func (c *call) run(args []string) error {
	if err := c.parse(args); err != nil {
		return err
	}
	if c.dryRun {
		if c.verb.name == "adjust" {
			return c.planAdjust()
		}
		if steps := c.plans(c.verb.name); steps != nil {
			return c.showPlan(steps)
		}
	}
	if c.verb.run == nil {
		return fail(exitUsage, "drbdadm: '%s' is a step of 'up', which holdfast does as a whole; with --dry-run it is shown", c.verb.name)
	}
	return c.verb.run(c)
}

// parse takes options and words in any order, as drbdadm does: `primary mysqlr0 --force`, `-- --force primary mysqlr0`.
func (c *call) parse(args []string) error {
	var words []string
	if slices.Contains(args, "net-options") {
		c.verb.name = "net-options" // whose --timeout is the peer's, not ours
	}
	for i := 0; i < len(args); i++ {
		name, value, attached := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "-") {
			words = append(words, args[i])
			continue
		}
		if takesValue(name) && !attached {
			if i++; i == len(args) {
				return fail(exitUsage, "drbdadm: option '%s' requires an argument", name)
			}
			value = args[i]
		}
		if err := c.option(name, value, args[i]); err != nil {
			return err
		}
	}
	return c.words(words)
}

// takesValue tells whether an option's value may be the next word.
func takesValue(name string) bool {
	return slices.Contains([]string{"-c", "--config-file", "--output-format", "--timeout", "-t", "--config-to-test", "-W", "--setup-option",
		"--node", "--keep", "--save", "--undo", "--show", "--extract", "--onto"}, name)
}

// passedOn tells whether an option is drbdsetup's or drbdmeta's; value tells whether it has one.
func passedOn(name string) (value, ok bool) {
	switch name {
	case "--clear-bitmap", "--assume-clean", "--assume-peer-has-space", "--tentative":
		return false, true
	case "--al-stripes", "--al-stripe-size-kB", "--peer-max-bio-size", "--size", "--rate", "--start", "--stop":
		return true, true
	}
	for _, section := range [...]string{"net", "disk", "options"} {
		if resfile.Known(section, strings.TrimPrefix(name, "--")) {
			return true, true
		}
	}
	return false, false
}

func (c *call) option(name, value, typed string) error {
	if _, ok := passedOn(name); ok && name != "--discard-my-data" && (name != "--timeout" || c.verb.name == "net-options") {
		c.passed = append(c.passed, typed)
		c.values[name] = value
		return nil
	}
	switch name {
	case "--", "-v", "--verbose", "-S", "--stacked":
	case "-d", "--dry-run":
		c.dryRun = true
	case "-c", "--config-file", "-t", "--config-to-test":
		c.config = value
	case "-W", "--setup-option":
		return c.parseSetupOption(value)
	case "--force", "-f", "--overwrite-data-of-peer":
		c.force = value != "no"
		c.passed = append(c.passed, typed)
	case "--discard-my-data":
		c.discard = value != "no"
		c.passed = append(c.passed, typed)
	case "--accept-loss":
		c.accept = value != "no"
	case "--node":
		c.node = value
	case "--keep", "--save", "--undo", "--show", "--extract", "--onto":
		c.values[name] = value
	case "--whole", "--now", "--statistics", "--timestamps", "--diff", "--full":
		c.values[name] = "yes"
	case "-h", "--help":
		c.usage(c.Stdout)
		return &failure{code: exitOK}
	case "-V", "--version":
		fmt.Fprintf(c.Stdout, "DRBDADM_API_VERSION=1\nDRBD_KERNEL_VERSION_CODE=0x08040b\nDRBDADM_VERSION_CODE=0x091600\nDRBDADM_VERSION=9.22.0\n")
		return &failure{code: exitOK}
	case "--timeout":
		return c.setTimeout(value)
	case "--output-format":
		if value != "text" && value != "json" {
			return fail(exitUsage, "drbdadm: --output-format '%s': text or json is expected", value)
		}
		c.json = value == "json"
	default:
		return fail(exitUsage, "drbdadm: unrecognized option '%s'", name)
	}
	return nil
}

// parseSetupOption takes -W--force: an option for drbdsetup.
func (c *call) parseSetupOption(option string) error {
	name, value, _ := strings.Cut(option, "=")
	if !strings.HasPrefix(name, "--") {
		return fail(exitUsage, "drbdadm: --setup-option '%s': an option that begins with -- is expected", option)
	}
	return c.option(name, value, option)
}

func (c *call) setTimeout(value string) error {
	d, err := time.ParseDuration(value + "s")
	if err != nil || d < 0 {
		return fail(exitUsage, "drbdadm: --timeout '%s': a number of seconds is expected", value)
	}
	c.timeout = d
	return nil
}

// words takes the verb and the resources.
func (c *call) words(words []string) error {
	if len(words) > 0 && strings.Contains(words[0], ":") { // drbdadm -- UUID:UUID:... set-gi r0/0
		c.identifiersWord, c.passed = words[0], append(c.passed, words[0])
		words = words[1:]
	}
	if len(words) == 0 {
		c.usage(c.Stderr)
		return fail(exitUsage, "\nNo command specified")
	}
	v, ok := findVerb(words[0])
	if !ok && c.dryRun && c.plans(words[0]) != nil { // it can be shown all the same
		v, ok = verb{name: words[0], needs: true}, true
	}
	if !ok {
		return fail(exitUsage, "drbdadm: Unknown command '%s'", words[0])
	}
	c.verb, c.resources = v, words[1:]
	if len(c.resources) == 0 && v.needs {
		fmt.Fprintf(c.Stderr, "USAGE: drbdadm %s [OPTION...] {all|RESOURCE...}\n", v.name)
		return fail(exitUsage, "\nNo resource names specified")
	}
	return nil
}

func (c *call) usage(w io.Writer) {
	fmt.Fprint(w, "USAGE: drbdadm COMMAND [OPTION...] {all|RESOURCE...}\n\n")
	fmt.Fprint(w, "OPTIONS:\n  --config-file=..., -c ...\n  --force\n  --discard-my-data\n  --timeout SECONDS\n  --dry-run, -d\n")
	fmt.Fprint(w, "  --output-format text|json\n  --version, -V\n  --help, -h\n\nCOMMANDS:\n")
	for _, v := range verbs() {
		if !v.hidden {
			fmt.Fprintf(w, " %-16s %s\n", v.name, v.about)
		}
	}
}

// load reads the configuration once.
func (c *call) load() (*resfile.Config, error) {
	if c.conf != nil {
		return c.conf, nil
	}
	conf, err := resload.Load(c.Root)
	if c.config != "" {
		conf, err = resload.LoadFile(c.config)
	}
	if err == nil {
		err = resload.Locate(conf, c.Hostname)
	}
	if err != nil {
		return nil, fail(exitFailed, "%v", err)
	}
	c.conf = conf
	return conf, nil
}

// target is a resource with this host's part of it.
type target struct {
	*resfile.Resource
	self, peer *resfile.Host
	volumes    []*resfile.Volume
}

// named tells whether one of several volumes was named.
func (t target) named() bool { return len(t.volumes) < len(t.self.Volumes) }

// one is the target with one of its volumes.
func (t target) one(v *resfile.Volume) target {
	t.volumes = []*resfile.Volume{v}
	return t
}

// targets finds the resources the command names; `all`, or no name at all, means those of this host.
func (c *call) targets() ([]target, error) {
	conf, err := c.load()
	if err != nil {
		return nil, err
	}
	names := c.resources
	if len(names) == 0 || slices.Contains(names, "all") {
		names = nil
		for _, r := range conf.On(c.Hostname) {
			names = append(names, r.Name)
		}
	}
	var all []target
	for _, name := range names {
		t, err := c.target(conf, name)
		if err == nil {
			err = c.needOneVolume(t)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// byMinor finds the resource and volume that minor-NUMBER means on this host; other names are returned as they are.
func (c *call) byMinor(conf *resfile.Config, name string) string {
	number, ok := strings.CutPrefix(name, "minor-")
	if !ok {
		return name
	}
	for _, r := range conf.On(c.Hostname) {
		if self, _, err := r.For(c.Hostname); err == nil {
			for _, v := range self.Volumes {
				if fmt.Sprint(v.Minor) == number {
					return fmt.Sprintf("%s/%d", r.Name, v.Number)
				}
			}
		}
	}
	return name
}

// target finds RESOURCE, RESOURCE/VOLUME or minor-NUMBER.
func (c *call) target(conf *resfile.Config, name string) (target, error) {
	name = c.byMinor(conf, name)
	base, number, one := strings.Cut(name, "/")
	r, ok := conf.Resource(base)
	if !ok {
		return target{}, fail(exitUsage, "'%s' not defined in your config (for this host).", base)
	}
	self, peer, err := r.For(c.Hostname)
	if err != nil {
		return target{}, fail(exitUsage, "%v", err)
	}
	t := target{r, self, peer, self.Volumes}
	if !one {
		return t, nil
	}
	for _, v := range self.Volumes {
		if fmt.Sprint(v.Number) == number {
			t.volumes = []*resfile.Volume{v}
			return t, nil
		}
	}
	return target{}, fail(exitUsage, "'%s' not defined in your config (for this host).", name)
}

// each runs f for every target; it goes on after a failure and ends with the first one's code.
func (c *call) each(f func(target) error) error {
	all, err := c.targets()
	if err != nil {
		return err
	}
	code := exitOK
	for _, t := range all {
		if err := f(t); err != nil {
			if n := c.finish(err); code == exitOK {
				code = n
			}
		}
	}
	if code != exitOK {
		return &failure{code: code}
	}
	return nil
}

// printJSON is the answer of --output-format json.
func (c *call) printJSON(v any) error {
	e := json.NewEncoder(c.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// ask calls the daemon.
func (c *call) ask(method string, in, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	err := c.client.Call(ctx, method, in, out)
	var known *api.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return fail(max(known.Code, 1), "%s", known.Message)
	case errors.Is(err, context.DeadlineExceeded):
		return fail(exitSystem, "the holdfast daemon did not finish '%s' within %v; see its log in %s", method, askTimeout, c.Root.Log())
	}
	return &noDaemonError{fail(exitSystem, "the holdfast daemon does not answer on %s: start it with 'systemctl start holdfast' (%v)",
		c.Root.DaemonSocket(), cause(err))}
}

// noDaemonError says that there is no daemon; some verbs then read the metadata themselves.
type noDaemonError struct{ error }

func (e *noDaemonError) Unwrap() error { return e.error }

// cause is the innermost error: the system's own words.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// isNoDaemon tells whether the daemon could not be asked.
func isNoDaemon(err error) bool {
	var none *noDaemonError
	return errors.As(err, &none)
}

// exists tells whether a device named in the configuration is there.
func (c *call) exists(path, what string, t target, at resfile.Pos) error {
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	return fail(exitSystem, "open(%s) failed: %v\n%s of resource %s, defined at %v: attach the disk, or correct the file", path, cause(err), what, t.Name, at)
}
