package simulate_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/cli/simulate"
)

// dataEnv names the directory of cases that `make conformance DATA=DIR` is to run.
const dataEnv = "HOLDFAST_CONFORMANCE"

// caseLimit is how long both runs of one case may take together.
const caseLimit = 20 * time.Second

// conformanceCase is a CIB, the arguments it is to be simulated with, and what Pacemaker answered.
type conformanceCase struct {
	name string
	file func(ext string) string
	args []string
}

// verdict tells for each level whether a case agrees; a level the case has no expectation for is absent. err tells why there
// is no answer to compare.
type verdict struct {
	name   string
	agrees map[string]bool
	err    error
}

// TestConformance runs a directory of Pacemaker's regression cases: NAME.xml, .exp, .scores and .summary, together or in
// directories named for what they hold. It fails for a case that cannot be read or crashes; what differs is only counted.
func TestConformance(t *testing.T) {
	dir := os.Getenv(dataEnv)
	if dir == "" {
		t.Skipf("set %s to a directory of cases, as make conformance DATA=DIR does", dataEnv)
	}
	cases, err := findCases(dir)
	if err != nil {
		t.Fatal(err)
	}
	verdicts := runCases(t.TempDir(), cases)
	fmt.Print(table(verdicts))
	for _, v := range verdicts {
		if v.err != nil {
			t.Errorf("%s: %v", v.name, v.err)
		}
	}
}

// findCases lists the cases of a directory, sorted by name.
func findCases(dir string) ([]conformanceCase, error) {
	nested := false
	inputs, err := filepath.Glob(filepath.Join(dir, "*.xml"))
	if err == nil && len(inputs) == 0 {
		nested = true
		inputs, err = filepath.Glob(filepath.Join(dir, "xml", "*.xml"))
	}
	if err != nil || len(inputs) == 0 {
		return nil, fmt.Errorf("no case in %s: it needs files NAME.xml, there or below xml/ (%v)", dir, err)
	}
	args, err := extraArguments(dir)
	if err != nil {
		return nil, err
	}
	var out []conformanceCase
	for _, in := range inputs {
		name := strings.TrimSuffix(filepath.Base(in), ".xml")
		out = append(out, conformanceCase{name: name, args: args[name], file: func(ext string) string {
			if nested {
				return filepath.Join(dir, ext, name+"."+ext)
			}
			return filepath.Join(dir, name+"."+ext)
		}})
	}
	return out, nil
}

// extraArguments reads tests.tsv (name, description, arguments) in the directory or beside it; it may be absent.
func extraArguments(dir string) (map[string][]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "tests.tsv"))
	if os.IsNotExist(err) {
		data, err = os.ReadFile(filepath.Join(dir, "..", "tests.tsv"))
	}
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cases' arguments: %w", err)
	}
	out := map[string][]string{}
	for _, l := range strings.Split(string(data), "\n") {
		f := strings.Split(l, "\t")
		if len(f) >= 3 && !strings.HasPrefix(l, "#") {
			out[f[0]] = strings.Fields(strings.NewReplacer(`"`, "", "'", "").Replace(f[2]))
		}
	}
	return out, nil
}

// runCases answers every case, as many at once as there are processors.
func runCases(tmp string, cases []conformanceCase) []verdict {
	out := make([]verdict, len(cases))
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := range next {
				out[i] = runLimited(tmp, cases[i])
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// runLimited runs a case, and gives up on it after the limit: one endless case must not hide the others.
func runLimited(tmp string, c conformanceCase) verdict {
	done := make(chan verdict, 1)
	go func() { done <- runCase(tmp, c) }()
	select {
	case v := <-done:
		return v
	case <-time.After(caseLimit):
		return verdict{name: c.name, err: fmt.Errorf("no answer within %v", caseLimit)}
	}
}

// runCase simulates a case twice, as its files were made: for the text and the graph, and for the scores.
func runCase(tmp string, c conformanceCase) (v verdict) {
	v.name = c.name
	defer func() {
		if p := recover(); p != nil {
			v.err = fmt.Errorf("crashed: %v", p)
		}
	}()
	graph := filepath.Join(tmp, c.name+".exp")
	got := map[string][]byte{}
	in := []string{"--xml-file", c.file("xml"), "--simulate"}
	if got["summary"], v.err = run(slices.Concat(in, []string{"--save-graph", graph}, c.args)); v.err != nil {
		return v
	}
	if got["scores"], v.err = run(slices.Concat(in, []string{"--show-scores", "--quiet"}, c.args)); v.err != nil {
		return v
	}
	if got["exp"], v.err = os.ReadFile(graph); v.err != nil {
		return v
	}
	want := map[string][]byte{}
	for _, ext := range []string{"summary", "scores", "exp"} {
		data, err := os.ReadFile(c.file(ext))
		if err != nil && !os.IsNotExist(err) {
			v.err = fmt.Errorf("read what is expected: %w", err)
			return v
		}
		if err == nil {
			want[ext] = data
		}
	}
	v.agrees, v.err = compareCase(want, got)
	return v
}

// run is `holdfast simulate` with these arguments.
func run(args []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	env := simulate.Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Now: time.Now}
	if code := simulate.Run(args, env); code != 0 {
		return nil, fmt.Errorf("simulate %s ends with %d: %s", strings.Join(args, " "), code, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// table counts the agreeing cases of each level, and names the differing ones.
func table(verdicts []verdict) string {
	var b strings.Builder
	differ := map[string][]string{}
	whole, crashed := 0, 0
	fmt.Fprintf(&b, "%-12s %7s %7s\n", "level", "agree", "of")
	for _, level := range levels {
		agree, of := 0, 0
		for _, v := range verdicts {
			yes, known := v.agrees[level]
			if !known {
				continue
			}
			of++
			if yes {
				agree++
			} else {
				differ[v.name] = append(differ[v.name], level)
			}
		}
		fmt.Fprintf(&b, "%-12s %7d %7d\n", level, agree, of)
	}
	for _, v := range verdicts {
		if v.err != nil {
			crashed++
		} else if len(differ[v.name]) == 0 {
			whole++
		}
	}
	fmt.Fprintf(&b, "%-12s %7d %7d\n", "all levels", whole, len(verdicts))
	for _, v := range verdicts {
		if d := differ[v.name]; len(d) > 0 {
			fmt.Fprintf(&b, "differs: %s (%s)\n", v.name, strings.Join(d, ", "))
		}
	}
	fmt.Fprintf(&b, "%d without an answer\n", crashed)
	return b.String()
}
