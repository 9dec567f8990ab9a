package resfile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/spelling"
)

// Option is one parameter of a section.
type Option struct {
	Name   string
	Values []string // usually one; none never: a flag has yes
	Pos    Pos
}

// Value is the option's text.
func (o Option) Value() string { return strings.Join(o.Values, " ") }

// Options is a section's parameters in the order of the file; a later one replaces an earlier one of its name.
type Options []Option

// Get finds an option.
func (os Options) Get(name string) (Option, bool) {
	for i := len(os) - 1; i >= 0; i-- {
		if os[i].Name == name {
			return os[i], true
		}
	}
	return Option{}, false
}

// over puts os above what it inherits.
func (os Options) over(inherited Options) Options {
	return append(append(Options{}, inherited...), os...)
}

// Text gives an option's value, or def.
func (os Options) Text(name, def string) string {
	if o, ok := os.Get(name); ok {
		return o.Value()
	}
	return def
}

// Bool tells whether an option is yes, or def.
func (os Options) Bool(name string, def bool) bool {
	if o, ok := os.Get(name); ok {
		return isYes(o.Value())
	}
	return def
}

// Number gives a number in the option's own unit as drbd.conf(5) has it (timeout in tenths of a second, ping-int in
// seconds, resync-rate in KiB/s, size in sectors), or def.
func (os Options) Number(name string, def int64) int64 {
	o, ok := os.Get(name)
	if !ok {
		return def
	}
	n, err := parseNumber(o.Value(), unitOf(name))
	if err != nil {
		return def // cannot be: Parse refuses it
	}
	return n
}

// Bytes gives an option that is an amount of data (or a rate, then per second) in bytes, or def.
func (os Options) Bytes(name string, def int64) int64 {
	if _, ok := os.Get(name); !ok {
		return def
	}
	return os.Number(name, 0) * unitBytes(unitOf(name))
}

func isYes(s string) bool { return s == "yes" || s == "true" || s == "on" }

// unit is what a number without a suffix counts: '1', 's' sectors, 'k' KiB.
type unit byte

func unitBytes(u unit) int64 {
	switch u {
	case 's':
		return 512
	case 'k':
		return 1024
	}
	return 1
}

// parseNumber reads digits and an optional suffix (s, K, M, G, T in either case) and gives the number in units of u.
func parseNumber(text string, u unit) (int64, error) {
	digits, factor := text, unitBytes(u)
	if i := strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' }); i > 0 || i == 0 && text[0] != '-' {
		digits = text[:i]
		switch strings.ToLower(text[i:]) {
		case "s":
			factor = 512
		case "k":
			factor = 1 << 10
		case "m":
			factor = 1 << 20
		case "g":
			factor = 1 << 30
		case "t":
			factor = 1 << 40
		default:
			return 0, fmt.Errorf("%s is not a valid number", text)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%s is not a valid number", text)
	}
	return n * factor / unitBytes(u), nil
}

// ParseSize reads a number of bytes as drbdadm's options have it: digits and s (sectors), K, M, G or T in either case.
func ParseSize(text string) (int64, error) { return parseNumber(text, '1') }

// ParseRate reads a rate as the disk options have it, in KiB per second: without a suffix digits count KiB.
func ParseRate(text string) (int64, error) { return parseNumber(text, 'k') }

// kind is the type of an option's value.
type kind int

const (
	number kind = iota + 1
	flag
	choice
	text
)

// rule says what an option may be.
type rule struct {
	kind     kind
	unit     unit
	min, max int64
	words    string // of a choice, separated by spaces
	// idle: holdfast accepts it and does nothing with it.
	idle bool
}

func unitOf(name string) unit {
	for _, section := range [...]string{"net", "disk", "options", "startup", "handlers"} {
		if r, ok := ruleFor(section, name); ok && r.unit != 0 {
			return r.unit
		}
	}
	return '1'
}

// ruleFor finds the rule of an option in a section. The ranges are those `drbdsetup xml-help` prints.
func ruleFor(section, name string) (rule, bool) {
	switch section {
	case "net":
		return netRule(name)
	case "disk":
		return diskRule(name)
	case "options":
		return optionsRule(name)
	case "startup":
		return startupRule(name)
	case "handlers":
		return handlerRule(name)
	case "global":
		return globalRule(name)
	}
	return rule{}, false
}

// Known tells whether a section (net, disk, options, startup, handlers, global) has an option of this name.
func Known(section, name string) bool {
	_, ok := ruleFor(section, name)
	return ok
}

const globalWords = "dialog-refresh | minor-count | disable-ip-verification | usage-count | udev-always-use-vnr | " +
	"cmd-timeout-short | cmd-timeout-medium | cmd-timeout-long"

// globalRule: nothing here means anything to holdfast, and all of it is so common that it is not worth a warning.
func globalRule(name string) (rule, bool) {
	switch name {
	case "minor-count":
		return found(count(1, 255))
	case "dialog-refresh":
		return found(count(0, 600))
	case "cmd-timeout-short", "cmd-timeout-medium", "cmd-timeout-long":
		return found(count(0, 1<<31))
	case "usage-count":
		return foundWords("yes no ask")
	case "disable-ip-verification", "udev-always-use-vnr":
		return foundFlag()
	}
	return rule{}, false
}

// isLater tells whether an option came with DRBD 9: a file shared with such a host is read, without them.
func isLater(name string) bool {
	return slices.Contains([]string{"quorum", "quorum-minimum-redundancy", "on-no-quorum", "on-suspended-primary-outdated",
		"auto-promote", "auto-promote-timeout", "peer-ack-window", "peer-ack-delay", "twopc-timeout", "twopc-retry-timeout",
		"max-io-depth", "transport", "tls", "tls-keyring", "tls-privkey", "tls-certificate", "allow-remote-read", "_name",
		"load-balance-paths", "block-size", "d_bitmap", "bitmap", "rdma-ctrl-rcvbuf-size", "rdma-ctrl-sndbuf-size",
		"auto-demote", "drbd8-compat-mode", "svc-autostart", "quorum-lost", "disconnected"}, name)
}

// nearest suggests what a misspelt option may have been meant to be; empty if nothing is near.
func nearest(section, name string) string {
	known := slices.DeleteFunc(optionNames(), func(option string) bool {
		_, ok := ruleFor(section, option)
		return !ok
	})
	if word := spelling.Nearest(name, known); word != "" {
		return fmt.Sprintf(" (did you mean '%s'?)", word)
	}
	return ""
}

// optionNames are the options of all sections, for suggestions.
func optionNames() []string {
	return strings.Fields(`protocol timeout connect-int ping-int ping-timeout ko-count max-epoch-size sndbuf-size rcvbuf-size
		allow-two-primaries always-asbp csums-after-crash-only cram-hmac-alg shared-secret data-integrity-alg csums-alg
		verify-alg after-sb-0pri after-sb-1pri after-sb-2pri rr-conflict tcp-cork use-rle max-buffers unplug-watermark
		on-congestion congestion-fill congestion-extents socket-check-timeout size on-io-error fencing resync-rate
		c-max-rate c-min-rate al-extents c-plan-ahead c-delay-target c-fill-target disk-flushes md-flushes al-updates
		max-bio-bvecs disk-barrier disk-drain discard-zeroes-if-aligned disable-write-same resync-after read-balancing
		disk-timeout rs-discard-granularity cpu-mask on-no-data-accessible wfc-timeout degr-wfc-timeout
		outdated-wfc-timeout wait-after-sb stacked-timeouts become-primary-on pri-on-incon-degr pri-lost-after-sb pri-lost
		fence-peer outdate-peer local-io-error initial-split-brain split-brain before-resync-target after-resync-target
		out-of-sync unfence-peer`)
}

func count(low, high int64) rule       { return rule{kind: number, unit: '1', min: low, max: high} }
func amount(u unit, high int64) rule   { return rule{kind: number, unit: u, max: high} }
func words(list string) rule           { return rule{kind: choice, words: list} }
func found(r rule) (rule, bool)        { return r, true }
func foundIdle(r rule) (rule, bool)    { r.idle = true; return r, true }
func foundFlag() (rule, bool)          { return rule{kind: flag}, true }
func foundIdleFlag() (rule, bool)      { return rule{kind: flag, idle: true}, true }
func foundText() (rule, bool)          { return rule{kind: text}, true }
func foundIdleText() (rule, bool)      { return rule{kind: text, idle: true}, true }
func foundWords(l string) (rule, bool) { return found(words(l)) }

func netRule(name string) (rule, bool) {
	switch name {
	case "protocol":
		return foundWords("A B C")
	case "timeout":
		return found(count(1, 600))
	case "connect-int", "ping-int":
		return found(count(1, 120))
	case "ping-timeout":
		return found(count(1, 300))
	case "ko-count":
		return found(count(0, 200))
	case "max-epoch-size":
		return found(count(1, 20000))
	case "sndbuf-size", "rcvbuf-size":
		return found(amount('1', 10<<20))
	case "allow-two-primaries", "always-asbp", "csums-after-crash-only", "discard-my-data":
		return foundFlag()
	case "cram-hmac-alg", "shared-secret", "data-integrity-alg", "csums-alg", "verify-alg":
		return foundText()
	case "after-sb-0pri", "after-sb-1pri", "after-sb-2pri", "rr-conflict":
		return foundText()
	}
	return netIdleRule(name)
}

// netIdleRule: what the kernel module tunes and a process in user space has no use for.
func netIdleRule(name string) (rule, bool) {
	switch name {
	case "tcp-cork", "use-rle":
		return foundIdleFlag()
	case "max-buffers":
		return foundIdle(count(32, 131072))
	case "unplug-watermark":
		return foundIdle(count(1, 131072))
	case "on-congestion":
		return foundIdle(words("block pull-ahead disconnect"))
	case "congestion-fill":
		return foundIdle(amount('s', 20971520))
	case "congestion-extents":
		return foundIdle(count(67, 65534))
	case "socket-check-timeout":
		return foundIdle(count(0, 300))
	}
	return rule{}, false
}

func diskRule(name string) (rule, bool) {
	switch name {
	case "size":
		return found(amount('s', 2199023255552))
	case "on-io-error":
		return foundWords("pass_on call-local-io-error detach")
	case "fencing":
		return foundWords("dont-care resource-only resource-and-stonith")
	case "resync-rate":
		return found(rule{kind: number, unit: 'k', min: 1, max: 4194304})
	case "c-max-rate":
		return found(rule{kind: number, unit: 'k', min: 250, max: 4194304})
	case "c-min-rate":
		return found(amount('k', 4194304))
	case "al-extents":
		return found(count(67, 65534))
	case "c-plan-ahead":
		return found(count(0, 300))
	case "c-delay-target":
		return found(count(1, 100))
	case "c-fill-target":
		return found(amount('s', 1048576))
	case "disk-flushes", "md-flushes", "al-updates":
		return foundFlag()
	}
	return diskIdleRule(name)
}

func diskIdleRule(name string) (rule, bool) {
	switch name {
	case "max-bio-bvecs":
		return foundIdle(count(0, 128))
	case "disk-barrier", "disk-drain", "discard-zeroes-if-aligned", "disable-write-same":
		return foundIdleFlag()
	case "resync-after", "read-balancing":
		return foundIdleText()
	case "disk-timeout":
		return foundIdle(count(0, 6000))
	case "rs-discard-granularity":
		return foundIdle(amount('1', 1048576))
	}
	return rule{}, false
}

func optionsRule(name string) (rule, bool) {
	switch name {
	case "cpu-mask":
		return foundIdleText()
	case "on-no-data-accessible":
		return foundWords("io-error suspend-io")
	}
	return rule{}, false
}

func startupRule(name string) (rule, bool) {
	switch name {
	case "wfc-timeout", "degr-wfc-timeout", "outdated-wfc-timeout":
		return found(amount('1', 1<<31))
	case "wait-after-sb", "stacked-timeouts":
		return foundIdleFlag()
	case "become-primary-on":
		return foundIdleText()
	}
	return rule{}, false
}

// handlerRule: the handlers for what happens to data are run; what the others are for, the cluster does.
func handlerRule(name string) (rule, bool) {
	switch name {
	case "initial-split-brain", "split-brain", "pri-lost-after-sb", "out-of-sync", "before-resync-target", "after-resync-target",
		"local-io-error":
		return foundText()
	case "pri-on-incon-degr", "pri-lost", "fence-peer", "outdate-peer", "unfence-peer":
		return foundIdleText()
	}
	return rule{}, false
}

// check tells whether values fit, and what they become: a flag without a value is yes.
func (r rule) check(name string, values []string) ([]string, error) {
	if r.kind == flag {
		return checkFlag(name, values)
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("Parse error: 'a value of %s' expected,\n\tbut got ';'", name)
	}
	joined := strings.Join(values, " ")
	switch r.kind {
	case number:
		n, err := parseNumber(joined, r.unit)
		if err != nil {
			return nil, err
		}
		if n < r.min || n > r.max {
			return nil, fmt.Errorf("%s %s => %d out of range [%d..%d].", name, joined, n, r.min, r.max)
		}
	case choice:
		list := strings.Fields(r.words)
		for _, w := range list {
			if strings.EqualFold(w, joined) {
				return []string{w}, nil
			}
		}
		return nil, fmt.Errorf("unknown %s '%s', should be one of %s", name, joined, strings.Join(list, ","))
	}
	return values, nil
}

func checkFlag(name string, values []string) ([]string, error) {
	if len(values) == 0 {
		return []string{"yes"}, nil
	}
	switch v := strings.ToLower(values[0]); {
	case len(values) > 1:
	case v == "yes", v == "true", v == "on":
		return []string{"yes"}, nil
	case v == "no", v == "false", v == "off":
		return []string{"no"}, nil
	}
	return nil, fmt.Errorf("Parse error: 'yes | no' expected after %s,\n\tbut got '%s'", name, strings.Join(values, " "))
}
