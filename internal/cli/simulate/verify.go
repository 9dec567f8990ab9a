package simulate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/version"
)

const verifyUsage = `usage: holdfast verify [options]
  -x, --xml-file FILE    check FILE
  -p, --xml-pipe         check standard input
  -X, --xml-text XML     check this
  -L, --live-check       check the running cluster's CIB
  -S, --save-xml FILE    write what was checked to FILE
  -V, --verbose          say more
      --output-as FORMAT text, xml or json
      --output-to FILE   write there instead of to standard output
  -$, --version          print the version
`

// verifyOptions are the arguments of crm_verify.
type verifyOptions struct {
	source                     string // the option that names what to check
	value                      string // its value
	save, output               string
	format, request            string
	verbose, help, showVersion bool
}

func parseVerify(args []string) (verifyOptions, error) {
	o := verifyOptions{format: "text", request: strings.Join(append([]string{"crm_verify"}, args...), " ")}
	for i := 0; i < len(args); i++ {
		name, value, has := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "--") {
			name, value, has = args[i], "", false
		}
		if o.flag(name) {
			continue
		}
		to := o.valueOption(name)
		if to == nil {
			return o, fmt.Errorf("unknown option %s", args[i])
		}
		if !has {
			if i++; i >= len(args) {
				return o, fmt.Errorf("option %s needs a value", name)
			}
			value = args[i]
		}
		*to = value
	}
	if o.format != "text" && o.format != "xml" && o.format != "json" {
		return o, fmt.Errorf("--output-as is text, xml or json, not %q", o.format)
	}
	return o, nil
}

func (o *verifyOptions) flag(name string) bool {
	switch name {
	case "-L", "--live-check":
		o.source = "live"
	case "-p", "--xml-pipe":
		o.source, o.value = "file", "-"
	case "-h", "--help", "--help-all", "-?":
		o.help = true
	case "-$", "--version":
		o.showVersion = true
	case "--verbose":
		o.verbose = true
	default:
		if strings.Trim(name, "V") != "-" { // -V, -VV, ...
			return false
		}
		o.verbose = true
	}
	return true
}

func (o *verifyOptions) valueOption(name string) *string {
	switch name {
	case "-x", "--xml-file":
		o.source = "file"
		return &o.value
	case "-X", "--xml-text":
		o.source = "text"
		return &o.value
	case "-S", "--save-xml":
		return &o.save
	case "--output-as":
		return &o.format
	case "--output-to":
		return &o.output
	}
	return nil
}

// Verify carries out crm_verify: 0 when the CIB can be used, 78 when not, 1 when there is none to be checked. Errors are always
// told, warnings with --verbose.
func Verify(args []string, env Env) int {
	o, err := parseVerify(args)
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "crm_verify: %v\n%s", err, verifyUsage)
		return exitUsage
	case o.help:
		fmt.Fprint(env.Stdout, verifyUsage)
		return exitOK
	case o.showVersion:
		fmt.Fprintf(env.Stdout, "holdfast %s\n", version.String())
		return exitOK
	}
	code, err := o.check(env)
	if err != nil {
		fmt.Fprintf(env.Stderr, "crm_verify: %v\n", err)
	}
	if o.format == "text" {
		return code
	}
	if err := o.print(env.Stdout, code); err != nil {
		fmt.Fprintf(env.Stderr, "crm_verify: %v\n", err)
		return exitFailed
	}
	return code
}

// print writes how the check ended, in a structured format.
func (o verifyOptions) print(out io.Writer, code int) error {
	if o.output == "" || o.output == "-" {
		return printResult(out, o.format, o.request, code)
	}
	f, err := os.Create(o.output)
	if err != nil {
		return fmt.Errorf("--output-to: %w", err)
	}
	return errors.Join(printResult(f, o.format, o.request, code), f.Close())
}

func (o verifyOptions) check(env Env) (int, error) {
	file := o.value
	switch o.source {
	case "":
		return exitFailed, errors.New("No configuration source specified: give one of --xml-file, --xml-pipe, --xml-text, --live-check")
	case "text":
		file, env.Stdin = "-", strings.NewReader(o.value)
	}
	doc, notes, code, err := load(file, o.source == "live", env)
	if err != nil {
		if code == exitNoInput && o.source == "file" {
			code = exitFailed // as crm_verify has it
		}
		return code, err
	}
	if err := save(o.save, doc.Bytes()); err != nil {
		return exitFailed, err
	}
	if o.verbose {
		for _, n := range notes {
			fmt.Fprintln(env.Stderr, "upgraded: "+n)
		}
	}
	return verify(doc, o.verbose, env)
}

// verify checks a document, and tells what it finds.
func verify(doc *cib.Document, verbose bool, env Env) (int, error) {
	bad := false
	for _, p := range cib.Validate(doc) {
		bad = bad || p.Severity == cib.Error
		if verbose || p.Severity == cib.Error {
			fmt.Fprintln(env.Stderr, p)
		}
	}
	if !bad {
		out := scheduler.Schedule(input(doc, env.Now()))
		for _, w := range out.Warnings {
			if verbose {
				fmt.Fprintln(env.Stderr, "warning: "+w)
			}
		}
		if out.Status.StonithEnabled && !out.Status.FenceDevices {
			bad = true
			fmt.Fprintln(env.Stderr, "error: Resource start-up disabled since no STONITH resources have been defined: "+
				"configure some (pcs stonith create), or set stonith-enabled=false and rely on the lease")
		}
	}
	if !bad {
		return exitOK, nil
	}
	if !verbose {
		return exitConfig, errors.New("Errors found during check: config not valid\n-V may provide more details")
	}
	return exitConfig, errors.New("Errors found during check: config not valid")
}
