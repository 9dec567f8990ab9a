package simulate

import (
	"fmt"
	"strings"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
)

const verifyUsage = `usage: crm_verify [options]
  -x, --xml-file FILE  check FILE ("-" or -p, --xml-pipe: standard input)
  -X, --xml-text XML   check this
  -L, --live-check     check the running cluster's CIB
  -V, --verbose        say what is wrong
`

// Verify carries out crm_verify: 0 when the CIB can be used, 78 when not. Without --verbose it says only that.
func Verify(args []string, env Env) int {
	file, text, live, verbose := "", "", false, false
	for i := 0; i < len(args); i++ {
		name, value, has := strings.Cut(args[i], "=")
		switch name {
		case "-L", "--live-check":
			live = true
		case "-V", "--verbose", "-VV", "-VVV":
			verbose = true
		case "-p", "--xml-pipe":
			file = "-"
		case "-h", "--help", "-?":
			fmt.Fprint(env.Stdout, verifyUsage)
			return exitOK
		case "-x", "--xml-file", "-X", "--xml-text":
			if !has {
				if i++; i >= len(args) {
					fmt.Fprintf(env.Stderr, "crm_verify: option %s needs a value\n%s", name, verifyUsage)
					return exitUsage
				}
				value = args[i]
			}
			if name == "-X" || name == "--xml-text" {
				text = value
			} else {
				file = value
			}
		default:
			fmt.Fprintf(env.Stderr, "crm_verify: unknown option %s\n%s", args[i], verifyUsage)
			return exitUsage
		}
	}
	if text != "" {
		file, env.Stdin = "-", strings.NewReader(text)
	}
	doc, code, err := load(file, live, env)
	if err != nil {
		fmt.Fprintf(env.Stderr, "crm_verify: %v\n", err)
		return code
	}
	return verify(doc, verbose, env)
}

func verify(doc *cib.Document, verbose bool, env Env) int {
	errors, warnings := 0, 0
	say := func(line string) {
		if verbose {
			fmt.Fprintln(env.Stderr, line)
		}
	}
	for _, p := range cib.Validate(doc) {
		if p.Severity == cib.Error {
			errors++
		} else {
			warnings++
		}
		say(p.String())
	}
	if errors == 0 {
		for _, w := range scheduler.Schedule(input(doc, env.Now())).Warnings {
			warnings++
			say("warning: " + w)
		}
	}
	switch {
	case errors > 0:
		fmt.Fprintln(env.Stderr, "crm_verify: Errors found during check: config not valid")
		if !verbose {
			fmt.Fprintln(env.Stderr, "  -V may provide more details")
		}
		return exitConfig
	case warnings > 0 && verbose:
		fmt.Fprintln(env.Stderr, "Warnings found during check: config may not be valid")
	}
	return exitOK
}
