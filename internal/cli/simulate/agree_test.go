package simulate_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// agreeEnv names the directory of CIBs that `make agree` is to compare.
const agreeEnv = "HOLDFAST_AGREE"

// TestAgreement asks the real crm_simulate what it decides for each CIB of a directory, and compares. What differs is counted
// and named; it fails for what one of the two has no answer for and the other has.
func TestAgreement(t *testing.T) {
	dir := os.Getenv(agreeEnv)
	if dir == "" {
		t.Skipf("set %s to a directory of CIBs, as make agree CIBS=DIR does", agreeEnv)
	}
	if out, err := exec.Command("crm_simulate", "--version").Output(); err != nil || !bytes.Contains(out, []byte("Pacemaker 2.1.5")) {
		t.Skip("crm_simulate of Pacemaker 2.1.5 is not installed: there is nobody to ask")
	}
	cibs, err := filepath.Glob(filepath.Join(dir, "*.xml"))
	if err != nil || len(cibs) == 0 {
		t.Fatalf("%s holds no CIBs named *.xml (%v)", dir, err)
	}
	answers := t.TempDir()
	var cases []conformanceCase
	dropped := 0
	for _, file := range cibs {
		name := strings.TrimSuffix(filepath.Base(file), ".xml")
		c := conformanceCase{name: name, file: func(ext string) string {
			if ext == "xml" {
				return file
			}
			return filepath.Join(answers, name+"."+ext)
		}}
		if err := askPacemaker(c); err != nil {
			// It dies of some CIBs, and calls some of its own transitions invalid.
			t.Logf("%s: %v", name, err)
			dropped++
			continue
		}
		cases = append(cases, c)
	}
	verdicts := runCases(t.TempDir(), cases)
	fmt.Print(table(verdicts))
	fmt.Printf("%d that crm_simulate has no answer for\n", dropped)
	for _, v := range verdicts {
		if v.err != nil {
			t.Errorf("%s: %v", v.name, v.err)
		}
	}
}

// askPacemaker writes what crm_simulate answers to where a case's expectations are.
func askPacemaker(c conformanceCase) error {
	in := []string{"--xml-file", c.file("xml"), "--simulate"}
	for ext, args := range map[string][]string{"summary": {"--save-graph", c.file("exp")}, "scores": {"--show-scores", "--quiet"}} {
		ctx, cancel := context.WithTimeout(context.Background(), caseLimit)
		defer cancel()
		cmd := exec.CommandContext(ctx, "crm_simulate", slices.Concat(in, args)...)
		cmd.Env = append(os.Environ(), "CIB_shadow_dir="+filepath.Dir(c.file("exp")), "LC_ALL=C", "TZ=UTC")
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("crm_simulate %s: %w", strings.Join(args, " "), err)
		}
		if err := os.WriteFile(c.file(ext), out, 0o600); err != nil {
			return fmt.Errorf("keep the answer: %w", err)
		}
	}
	return nil
}
