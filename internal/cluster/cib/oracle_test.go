package cib

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tests here compare with Pacemaker 2.1.5's own tools (Debian 12's pacemaker-cli-utils), and skip where they are missing.
func needTool(t *testing.T, name string) {
	t.Helper()
	out, err := exec.Command(name, "--version").Output()
	if err != nil || !bytes.Contains(out, []byte("Pacemaker 2.1.5")) {
		t.Skipf("%s of Pacemaker 2.1.5 is not installed: apt-get install pacemaker-cli-utils", name)
	}
}

func writeTemp(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tool runs a program and gives what it prints on standard output; its exit code must be among those allowed.
func tool(t *testing.T, allowed int, name string, args ...string) []byte {
	t.Helper()
	var complaint bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != allowed {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, complaint.Bytes())
	}
	return out
}

// Patches made by crm_diff are carried out here as crm_diff does, and ours by crm_diff and cibadmin.
func TestPatchesOfPacemaker(t *testing.T) {
	needTool(t, "crm_diff")
	needTool(t, "cibadmin")
	for seed := range uint64(60) {
		old, next := randomPair(rand.New(rand.NewPCG(seed, 2)))
		oldFile, nextFile := writeTemp(t, "old.xml", old.Bytes()), writeTemp(t, "next.xml", next.Bytes())
		theirs := tool(t, 1, "crm_diff", "--cib", "--original", oldFile, "--new", nextFile)
		got, err := Patch(old, mustElement(t, string(theirs)))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, theirs)
		}
		same(t, seed, "their patch, carried out here", next, got)
		ours, err := Diff(old, next)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		patchFile := writeTemp(t, "patch.xml", ours.Bytes())
		same(t, seed, "our patch, carried out by crm_diff", next, mustParse(t, string(tool(t, 0, "crm_diff", "--cib", "--original", oldFile, "--patch", patchFile))))
		if seed%4 == 0 {
			same(t, seed, "our patch, carried out by cibadmin", next, patchedByCibadmin(t, old, next, patchFile))
		}
	}
}

func same(t *testing.T, seed uint64, what string, want, got *Document) {
	t.Helper()
	if d := cmp.Diff(string(want.Bytes()), string(got.Bytes())); d != "" {
		t.Fatalf("seed %d: %s (-want +got):\n%s", seed, what, d)
	}
}

// patchedByCibadmin has cibadmin patch a file in place of a cluster. It counts versions by itself.
func patchedByCibadmin(t *testing.T, old, next *Document, patch string) *Document {
	t.Helper()
	live := writeTemp(t, "live.xml", old.Bytes())
	t.Setenv("CIB_file", live)
	tool(t, 0, "cibadmin", "--patch", "--xml-file", patch)
	data, err := os.ReadFile(live)
	if err != nil {
		t.Fatal(err)
	}
	doc := mustParse(t, string(data))
	doc.SetVersion(next.Version())
	return doc
}

func TestDigestsOfPacemaker(t *testing.T) {
	needTool(t, "cibadmin")
	doc := mustParse(t, versioned(3, `<nodes><node id="1" uname="n1" crm-debug-origin="x" odd="'&quot;&lt;&gt;&amp;&#10;&#9;&#13;&#127;é\"/></nodes><x>text</x>`))
	doc.Root.Set("update-origin", "n1")
	doc.Root.Set("cib-last-written", "now")
	file := writeTemp(t, "cib.xml", doc.Bytes())
	if got, want := DiskDigest(doc.Root)+"\n", string(tool(t, 0, "cibadmin", "--md5-sum", "--xml-file", file)); got != want {
		t.Errorf("on disk: %q, cibadmin says %q", got, want)
	}
	if got, want := doc.Digest()+"\n", string(tool(t, 0, "cibadmin", "--md5-sum-versioned", "--xml-file", file)); got != want {
		t.Errorf("versioned: %q, cibadmin says %q", got, want)
	}
	const params = "b617e3d56707d184a5f778260493e744" // by crm_simulate --save-output, of a parameter x
	if got := OpDigest(map[string]string{"x": "a'b\nc\td<>&\""}); got != params {
		t.Errorf("of parameters: %s, want %s", got, params)
	}
}
