package drbd

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var record = flag.Bool("record", false, "write what drbdadm-84 and drbdmeta print into testdata")

// oracle is the real tool, which needs no kernel module for a dry run.
const oracle = "/lib/drbd/drbdadm-84"

// planLines are command lines whose dry run is compared, for every configuration that has resource r0 on host n1.
var planLines = strings.Split(`-d up r0
-d adjust all
-d attach r0
-d connect r0
-d -- --discard-my-data connect r0
-d connect --discard-my-data r0
-d disconnect r0
-d down all
-d detach r0
-d detach --force r0
-d primary r0
-d primary --force r0
-d -- --force primary r0
-d secondary r0
-d invalidate r0
-d invalidate-remote r0
-d outdate r0
-d resize r0
-d -- --assume-clean resize r0
-d verify r0
-d pause-sync r0
-d resume-sync r0
-d wait-connect r0
-d role r0
-d cstate r0
-d dstate r0
-d create-md r0
-d -- --al-stripes=3 create-md r0
-d create-md --force r0
-d show-gi r0
-d get-gi r0
-d dump-md r0
-d wipe-md r0
-d apply-al r0
-d new-resource r0
-d sh-new-minor r0
-d new-minor r0
-d suspend-io r0
-d resume-io r0
-d -- 1:2:3:4 set-gi r0/0
-d set-gi r0
-d new-current-uuid r0
-d new-current-uuid --clear-bitmap r0/0
-d check-resize r0
-d disk-options --resync-rate=10M r0
-d net-options --timeout=30 r0
-d resource-options r0 --cpu-mask=1
-d status r0
-d dump r0
dump
dump r0
sh-resources
sh-resource r0
sh-mod-parms
sh-dev r0
sh-dev r0/0
sh-dev nosuch
sh-dev r0/9999
sh-udev r0/0
sh-udev r0
sh-minor r0
sh-ll-dev r0
sh-md-dev r0
sh-md-idx r0
sh-ip r0
sh-nop
nosuch r0`, "\n")

// realRun runs the oracle in dir and gives what it printed on stdout and its exit code.
func realRun(t *testing.T, dir, line string) string {
	t.Helper()
	cmd := exec.Command(oracle, strings.Fields(line)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "__DRBD_NODE__=n1")
	out, err := cmd.Output()
	code := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	text := strings.NewReplacer("/lib/drbd/drbdsetup", "drbdsetup", dir+"/", "").Replace(string(out))
	return fmt.Sprintf("%src=%d\n", text, code)
}

// TestDryRunLikeDrbdadm compares stdout and exit code of dry runs and of the sh- verbs with those recorded of the real
// tool; where the tool is installed, the recording is checked too.
func TestDryRunLikeDrbdadm(t *testing.T) {
	dir, err := filepath.Abs("../../block/resfile/testdata/dump")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rich", "sections", "old83", "volumes"} {
		var want strings.Builder
		golden := "testdata/plan-" + name + ".txt"
		lines := planLines
		if name == "volumes" { // a volume's own options: see resfile.Volume.Shared
			lines = append(lines[:len(lines):len(lines)], "-d attach r0/7", "-d primary minor-17")
		}
		if _, err := os.Stat(oracle); err == nil {
			for _, line := range lines {
				fmt.Fprintf(&want, "$ drbdadm %s\n%s", line, realRun(t, dir, "-c "+name+".conf "+line))
			}
			if *record {
				if err := os.WriteFile(golden, []byte(want.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := os.ReadFile(golden)
			if err != nil || string(kept) != want.String() {
				t.Errorf("%s: %v: the tool prints otherwise (- recorded)\n%s", golden, err, cmp.Diff(string(kept), want.String()))
			}
		}
		kept, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		var ours strings.Builder
		for _, line := range lines {
			fmt.Fprintf(&ours, "$ drbdadm %s\n%s", line, ourRun(dir, "-c "+filepath.Join(dir, name+".conf")+" "+line))
		}
		if d := cmp.Diff(string(kept), ours.String()); d != "" {
			t.Errorf("%s (- drbdadm, + ours)\n%s", name, d)
		}
	}
}

func ourRun(dir, line string) string {
	var out, errs bytes.Buffer
	code := Run(strings.Fields(line), Env{Root: "/nonexistent", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Hostname: "n1"})
	return fmt.Sprintf("%src=%d\n", strings.ReplaceAll(out.String(), dir+"/", ""), code)
}
