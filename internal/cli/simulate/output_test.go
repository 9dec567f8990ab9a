package simulate

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/cluster/cib"
)

// shown is a CIB with one of each: a group, a promotable and a plain clone, utilization, attributes, a ticket, a failure.
const shown = `<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="5" num_updates="2" admin_epoch="0" have-quorum="1" dc-uuid="1">
<configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/><nvpair id="o2" name="placement-strategy" value="balanced"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"><utilization id="u1"><nvpair id="u11" name="memory" value="2048"/></utilization></node>
<node id="2" uname="n2"><utilization id="u2"><nvpair id="u21" name="memory" value="1024"/></utilization></node><node id="3" uname="n3"/></nodes>
<resources><primitive id="web" class="ocf" provider="pacemaker" type="Dummy"><utilization id="wu"><nvpair id="wu1" name="memory" value="512"/></utilization><operations><op id="wm" name="monitor" interval="10s"/></operations></primitive>
<primitive id="off" class="systemd" type="idle"><meta_attributes id="fm"><nvpair id="fm1" name="target-role" value="Stopped"/></meta_attributes></primitive>
<group id="grp"><primitive id="a-longer-name" class="ocf" provider="pacemaker" type="Dummy"/><primitive id="g2" class="ocf" provider="pacemaker" type="Dummy"/></group>
<clone id="every"><primitive id="ping" class="ocf" provider="pacemaker" type="Dummy"/></clone>
<clone id="vol"><meta_attributes id="vm"><nvpair id="vm1" name="promotable" value="true"/></meta_attributes><primitive id="drbd" class="ocf" provider="pacemaker" type="Stateful"/></clone></resources>
<constraints><rsc_ticket id="t" rsc="grp" ticket="T" loss-policy="stop"/></constraints></configuration>
<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><transient_attributes id="1"><instance_attributes id="s1"><nvpair id="s11" name="master-drbd" value="10"/><nvpair id="s12" name="region" value="east"/></instance_attributes></transient_attributes>
<lrm id="1"><lrm_resources><lrm_resource id="web" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="web_last_0" operation_key="web_start_0" operation="start" transition-key="1:1:0:x" transition-magic="0:0;1:1:0:x" on_node="n1" call-id="3" rc-code="0" op-status="0" interval="0" op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8"/></lrm_resource></lrm_resources></lrm></node_state>
<node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"/>
<node_state id="3" uname="n3" in_ccm="false" crmd="offline" join="down" expected="down"/></status></cib>`

// run carries out crm_simulate and gives what it printed.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, complaint bytes.Buffer
	code = Run(args, Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &complaint, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	return code, out.String(), complaint.String()
}

func shownFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cib.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// modes are the options whose output is compared with crm_simulate's, as text and as XML.
// (crm_simulate heeds --quorum only together with another event; ours always.)
var modes = [][]string{{}, {"-R"}, {"-S"}, {"-s"}, {"-U"}, {"-R", "-s", "-U"}, {"-S", "-s", "-U"}, {"-Q"}, {"-Q", "-s"}, {"-Q", "-U"}, {"-S", "-Q"}, {"-S", "-A"},
	{"-S", "-u", "n3"}, {"-S", "-d", "n1"}, {"-S", "-f", "n1"}, {"-S", "-q", "0", "-w", "true"}, {"-S", "-w", "true"}, {"-S", "-g", "T"}, {"-S", "-g", "T", "-b", "T"},
	{"-S", "-r", "T"}, {"-S", "-b", "T", "-e", "T"}, {"-S", "-i", "web_monitor_10000@n1=7"}, {"-S", "-i", "web_monitor_10000@n1=0"}, {"-S", "-t", "2030-01-01"}}

// TestPrintsAsPacemaker compares every mode with the crm_simulate of Pacemaker 2.1.5, but for the order of what is carried out
// (either's is one of many) and the time.
func TestPrintsAsPacemaker(t *testing.T) {
	version, err := exec.Command("crm_simulate", "--version").Output()
	if err != nil || !bytes.Contains(version, []byte("Pacemaker 2.1.5")) {
		t.Skip("crm_simulate of Pacemaker 2.1.5 is not installed: apt-get install pacemaker-cli-utils")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("TZ", "UTC")
	file := shownFile(t, shown)
	for _, mode := range modes {
		for _, format := range []string{"text", "xml"} {
			args := append([]string{"-x", file, "--output-as", format}, mode...)
			want, err := exec.Command("crm_simulate", args...).Output()
			if err != nil {
				t.Fatalf("crm_simulate %q: %v", args, err)
			}
			code, got, complaint := run(t, args...)
			if code != 0 {
				t.Errorf("%q: exit code %d, %s", args, code, complaint)
			}
			a, b := comparable(t, format, string(want)), comparable(t, format, got)
			if d := cmp.Diff(a, b); d != "" {
				t.Errorf("%q as %s (-crm_simulate +ours):\n%s", mode, format, d)
			}
		}
	}
}

// comparable gives the lines of an output, those that tell what was carried out sorted, and no times.
func comparable(t *testing.T, format, text string) []string {
	t.Helper()
	if format == "xml" {
		root, err := cib.ParseElement([]byte(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		sortAttributes(root)
		text = root.String()
	}
	var out, done []string
	for _, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		word := strings.TrimLeft(l, " *<")
		carriedOut := strings.HasPrefix(word, "Resource action") || strings.HasPrefix(word, "Pseudo action") || strings.HasPrefix(word, "Cluster action") ||
			strings.HasPrefix(word, "rsc_action") || strings.HasPrefix(word, "pseudo_action") || strings.HasPrefix(word, "cluster_action")
		if carriedOut {
			done = append(done, l)
			continue
		}
		slices.Sort(done)
		out, done = append(out, done...), nil
		if !strings.Contains(l, "last-failure-") {
			out = append(out, l)
		}
	}
	return out
}

func sortAttributes(e *cib.Element) {
	slices.SortFunc(e.Attrs, func(a, b cib.Attr) int { return strings.Compare(a.Name, b.Name) })
	e.Del("request")
	for _, c := range e.Children {
		sortAttributes(c)
	}
}

func TestJSONHoldsTheSame(t *testing.T) {
	code, out, complaint := run(t, "-x", shownFile(t, shown), "-S", "-s", "-U", "-i", "web_monitor_10000@n1=7", "--output-as=json")
	var root struct {
		Element  string
		Children []struct {
			Element  string
			Children []map[string]any
		}
	}
	if err := json.Unmarshal([]byte(out), &root); err != nil || code != 0 {
		t.Fatalf("%v, exit code %d, %s", err, code, complaint)
	}
	var parts []string
	for _, c := range root.Children {
		parts = append(parts, c.Element)
	}
	want := []string{"cluster_status", "modifications", "allocations_utilizations", "actions", "transition", "revised_cluster_status", "status"}
	if root.Element != "pacemaker-result" || !slices.Equal(parts, want) {
		t.Errorf("%s with %q", root.Element, parts)
	}
}

// What can be saved is saved, and can be read again.
func TestSaves(t *testing.T) {
	dir := t.TempDir()
	file := shownFile(t, shown)
	at := func(name string) string { return filepath.Join(dir, name) }
	if code, _, complaint := run(t, "-x", file, "-S", "-I", at("in.xml"), "-O", at("out.xml"), "-G", at("graph.xml"), "-D", at("graph.dot"), "-u", "n3"); code != 0 {
		t.Fatalf("exit code %d: %s", code, complaint)
	}
	read := func(name string) string {
		data, err := os.ReadFile(at(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if in := read("in.xml"); !strings.Contains(in, `uname="n3" in_ccm="true"`) {
		t.Errorf("the input lacks the event:\n%s", in)
	}
	if g := read("graph.xml"); !strings.Contains(g, "<transition_graph") || !strings.Contains(g, `operation="start"`) {
		t.Errorf("graph: %s", g)
	}
	if d := read("graph.dot"); !strings.Contains(d, "digraph") || !strings.Contains(d, `"drbd:0_start_0 n1"`) && !strings.Contains(d, `"drbd_start_0 n1"`) {
		t.Errorf("dot: %s", d)
	}
	code, out, complaint := run(t, "-x", at("out.xml"), "-R")
	if code != 0 || strings.Contains(out, "Start ") {
		t.Errorf("after the transition there is still something to start (%d, %s):\n%s", code, complaint, out)
	}
}

func TestProfile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.xml", "b.xml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(shown), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, complaint := run(t, "-P", dir, "-N", "2")
	if code != 0 || strings.Count(out, "  * Testing ") != 2 || !strings.Contains(out, filepath.Join(dir, "b.xml")+" ... 0.00 secs") {
		t.Errorf("exit code %d, %s:\n%s", code, complaint, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "c.xml"), []byte("<cib"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, complaint := run(t, "-P", dir); code != exitConfig || !strings.Contains(complaint, "c.xml") {
		t.Errorf("exit code %d: %s", code, complaint)
	}
}

func TestRefusesOptions(t *testing.T) {
	file := shownFile(t, shown)
	for _, x := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--frob"}, exitUsage, "unknown option --frob"},
		{[]string{"-x"}, exitUsage, "needs a value"},
		{[]string{"-q", "maybe"}, exitUsage, "--quorum is true or false"},
		{[]string{"-t", "someday"}, exitUsage, "is no date"},
		{[]string{"-i", "web"}, exitUsage, "there is no @NODE"},
		{[]string{"-F", "web_stop_0@n1=x"}, exitUsage, "does not end in =RC"},
		{[]string{"-N", "0"}, exitUsage, "--repeat is a number"},
		{[]string{"--output-as", "html"}, exitUsage, "--output-as is text, xml or json"},
		{[]string{"-x", file, "-i", "nosuch_monitor_0@n1=1"}, exitFailed, `there is no primitive "nosuch"`},
		{[]string{"-x", file, "-i", "web_monitor_0@n9=1"}, exitFailed, `there is no node "n9"`},
		{[]string{"-x", file + "x"}, exitNoInput, "read the CIB"},
		{[]string{"-L"}, exitNoInput, "this host runs no cluster"},
		{[]string{"-P", file + "x"}, exitNoInput, "--profile"},
	} {
		if code, _, complaint := run(t, x.args...); code != x.code || !strings.Contains(complaint, x.says) {
			t.Errorf("%q: exit code %d, want %d; %s", x.args, code, x.code, complaint)
		}
	}
}

func TestShortOptionsInOneWord(t *testing.T) {
	for arg, want := range map[string]string{"-Ss": "-S -s", "-SsQ": "-S -s -Q", "-Sxfile": "-S -x file", "-t2020-01-01": "-t 2020-01-01", "-S": "-S", "-SZ": "-SZ", "--simulate": "--simulate", "-": "-", "file": "file"} {
		if got := strings.Join(unbundled(arg), " "); got != want {
			t.Errorf("%s: %s, want %s", arg, got, want)
		}
	}
}
