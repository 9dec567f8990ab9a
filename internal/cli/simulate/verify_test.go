package simulate

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// checked are CIBs crm_verify has an opinion on: the exit code, and what is told.
var checked = []struct {
	name, old, new string // shown with old replaced by new
	code           int
	says           string
}{
	{"nothing wrong", "", "", exitOK, ""},
	{"an id twice", `<primitive id="off"`, `<primitive id="web"`, exitConfig, `the id "web" is already that of`},
	{"a reference to nothing", `rsc="grp"`, `rsc="nosuch"`, exitConfig, `there is no resource "nosuch"`},
	{"no fence device", `name="stonith-enabled" value="false"`, `name="stonith-enabled" value="true"`, exitConfig, "no STONITH resources have been defined"},
	{"no XML", "</cib>", "", exitConfig, "is not closed"},
	{"an old schema", `validate-with="pacemaker-3.9"`, `validate-with="pacemaker-2.10"`, exitOK, ""},
}

func verifyRun(args ...string) (code int, stdout, stderr string) {
	var out, complaint bytes.Buffer
	code = Verify(args, Env{Stdin: strings.NewReader(shown), Stdout: &out, Stderr: &complaint, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	return code, out.String(), complaint.String()
}

func TestVerify(t *testing.T) {
	_, missing := exec.LookPath("crm_verify")
	for _, c := range checked {
		file := shownFile(t, strings.Replace(shown, c.old, c.new, 1))
		for _, args := range [][]string{{"-x", file}, {"-x", file, "-V"}, {"--xml-file=" + file, "-VV"}} {
			code, out, complaint := verifyRun(args...)
			if code != c.code || out != "" || !strings.Contains(complaint, c.says) {
				t.Errorf("%s, %q: exit code %d, want %d\n%s%s", c.name, args, code, c.code, out, complaint)
			}
			if bad := strings.Contains(complaint, "Errors found during check"); bad != (code == exitConfig && c.name != "no XML") {
				t.Errorf("%s, %q: exit code %d with\n%s", c.name, args, code, complaint)
			}
		}
		if missing == nil && c.name != "no XML" { // it goes on with what it could read
			theirs := exec.Command("crm_verify", "-x", file)
			_ = theirs.Run()
			if got := theirs.ProcessState.ExitCode(); got != c.code {
				t.Errorf("%s: crm_verify's exit code is %d, ours %d", c.name, got, c.code)
			}
		}
	}
}

func TestVerifyOptions(t *testing.T) {
	file := shownFile(t, shown)
	saved := filepath.Join(t.TempDir(), "saved.xml")
	for _, x := range []struct {
		args []string
		code int
		out  string
		says string
	}{
		{nil, exitFailed, "", "No configuration source specified"},
		{[]string{"-p"}, exitOK, "", ""},
		{[]string{"-X", shown}, exitOK, "", ""},
		{[]string{"-X", "<cib/>"}, exitConfig, "", "no STONITH"},
		{[]string{"-x", file + "x"}, exitFailed, "", "read the CIB"},
		{[]string{"-L"}, exitNoInput, "", "this host runs no cluster"},
		{[]string{"-x"}, exitUsage, "", "needs a value"},
		{[]string{"-q"}, exitUsage, "", "unknown option -q"},
		{[]string{"-x", file, "--output-as", "yaml"}, exitUsage, "", "text, xml or json"},
		{[]string{"-x", file, "--output-as=xml"}, exitOK, `<status code="0" message="OK"/>`, ""},
		{[]string{"-X", "<cib/>", "--output-as=xml"}, exitConfig, `<status code="78" message="Invalid configuration"/>`, "no STONITH"},
		{[]string{"-x", file, "--output-as=json"}, exitOK, `"message": "OK"`, ""},
		{[]string{"-x", file, "-S", saved}, exitOK, "", ""},
		{[]string{"--help"}, exitOK, "--save-xml", ""},
		{[]string{"--version"}, exitOK, "holdfast", ""},
	} {
		code, out, complaint := verifyRun(x.args...)
		if code != x.code || !strings.Contains(out, x.out) || !strings.Contains(complaint, x.says) || x.says == "" && complaint != "" {
			t.Errorf("%q: exit code %d, want %d\n%s%s", x.args, code, x.code, out, complaint)
		}
	}
	if data, err := os.ReadFile(saved); err != nil || !bytes.Contains(data, []byte(`id="web"`)) {
		t.Errorf("saved: %v, %s", err, data)
	}
}
