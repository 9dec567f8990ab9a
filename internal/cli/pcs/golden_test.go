package pcs

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/api"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/paths"
)

// Only commit rewritten goldens if you understand what changed them.
var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestGolden runs the scripts in testdata: command lines beginning with "$ ", each followed by what it printed on stdout,
// what it printed on stderr (behind "2> ") and its exit code if that is not 0. Lines before the first command are comments
// and settings:
//
//	cluster none|two|tutorial    what runs at the daemon's socket: nothing, two empty nodes, the tutorial's resources
//	stdin TEXT                   what every command reads, \n for line ends
//	outside                      the host belongs to no cluster
//	stopped                      the host's cluster is stopped
//	meddle N                     someone else changes the CIB before each of the next N pushes
//
// Beside pcs and crm_mon there are: cat FILE, live (the cluster's configuration), calls (what the daemon was asked to do), fail RESOURCE
// NODE (a monitor fails).
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(script))
			if *rewrite {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(script), got); diff != "" {
				t.Errorf("output differs (-want +got):\n%s", diff)
			}
		})
	}
}

// stage is what a script runs on.
type stage struct {
	root   paths.Root
	daemon *fakeDaemon
	stdin  string
}

func runScript(t *testing.T, script string) string {
	head, rest, _ := strings.Cut(script, "\n$ ")
	s := setStage(t, head)
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	defer os.Chdir(home)
	out := head
	for _, block := range strings.Split("\n$ "+rest, "\n$ ")[1:] {
		line, _, _ := strings.Cut(block, "\n")
		out += "\n$ " + line + "\n" + s.run(t, line)
	}
	return out
}

func setStage(t *testing.T, head string) *stage {
	s := &stage{}
	for _, l := range strings.Split(head, "\n") {
		word, value, _ := strings.Cut(l, " ")
		switch {
		case l == "cluster two":
			s.daemon = twoNodes()
		case l == "cluster tutorial":
			s.daemon = tutorial(t)
		case word == "stdin":
			s.stdin = strings.ReplaceAll(value, `\n`, "\n")
		case l == "outside":
			s.daemon.status.Configured, s.daemon.status.Running = false, false
		case l == "stopped":
			s.daemon.status.Running = false
		case word == "meddle":
			fmt.Sscan(value, &s.daemon.meddle)
		}
	}
	s.root = serve(t, s.daemon)
	return s
}

// run runs one line of a script and words what came of it.
func (s *stage) run(t *testing.T, line string) string {
	t.Helper()
	words := split(line)
	switch words[0] {
	case "cat":
		data, err := os.ReadFile(words[1])
		if err != nil {
			return err.Error() + "\n"
		}
		return string(data)
	case "live":
		return string(s.daemon.doc.Configuration().Bytes())
	case "calls":
		text := strings.Join(append(s.daemon.calls, ""), "\n")
		s.daemon.calls = nil
		return text
	case "fail":
		cib.RecordOp(s.daemon.doc, cib.OpRecord{Node: words[2], Resource: words[1], Class: "ocf", Provider: "heartbeat", Type: "mysql",
			Task: "monitor", Interval: 20 * time.Second, RC: 7, TargetRC: 0, CallID: 99, ExitReason: "MySQL not running",
			LastChange: noon.Add(-time.Minute), Exec: 33 * time.Millisecond})
		s.daemon.doc.RecordFailure(words[2], words[1], "monitor", 20*time.Second, false, noon)
		return ""
	}
	if words[0] == "pcs" {
		words = words[1:]
	}
	var stdout, stderr bytes.Buffer
	code := Run(words, Env{Root: s.root, Stdin: strings.NewReader(s.stdin), Stdout: &stdout, Stderr: &stderr,
		Hostname: "lqi1ecmy01", Now: func() time.Time { return noon }})
	text := stdout.String()
	for _, l := range strings.SplitAfter(stderr.String(), "\n") {
		if l != "" {
			text += "2> " + l
		}
	}
	if code != 0 {
		text += fmt.Sprintf("exit %d\n", code)
	}
	return strings.ReplaceAll(text, string(s.root), "$ROOT")
}

// split takes a command line apart as a shell does with words, '...' and "...".
func split(line string) []string {
	var out []string
	word, quote, in := "", rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, in = r, true
		case quote == 0 && r == ' ':
			if in {
				out = append(out, word)
			}
			word, in = "", false
		default:
			word, in = word+string(r), true
		}
	}
	if in {
		out = append(out, word)
	}
	return out
}

// tutorialLines are the tutorial's lines that make its resources, without its two slips.
var tutorialLines = []string{
	`pcs -f drbd_cfg resource create drbd_ha ocf:linbit:drbd drbd_resource=mysqlr0 op monitor interval=60s`,
	`pcs -f drbd_cfg resource master  ms_drbd_ha drbd_ha master-max=1 master-node-max=1 clone-max=2 clone-node-max=1 notify=true`,
	`pcs -f drbd_cfg resource create drbd_fs Filesystem device="/dev/drbd1" directory="/var/lib/mysql" fstype="ext3"`,
	`pcs -f drbd_cfg constraint colocation add drbd_fs with ms_drbd_ha INFINITY with-rsc-role=Master`,
	`pcs -f drbd_cfg constraint order promote ms_drbd_ha then start drbd_fs`,
	`pcs -f drbd_cfg resource create mysql_svc ocf:heartbeat:mysql binary="/usr/bin/mysqld_safe" config="/etc/my.cnf" datadir="/var/lib/mysql" pid="/var/run/mariadb/mariadb.pid" socket="/var/lib/mysql/mysql.sock"  additional_parameters="--bind-address=0.0.0.0" op start timeout=60s op stop timeout=60s op monitor interval=20s timeout=30s`,
	`pcs -f drbd_cfg constraint colocation add mysql_svc with drbd_fs INFINITY`,
	`pcs -f drbd_cfg constraint order drbd_fs then mysql_svc`,
	`pcs cluster cib-push drbd_cfg`,
}

// tutorial is a cluster on which the tutorial's lines have been typed.
func tutorial(t *testing.T) *fakeDaemon {
	t.Helper()
	d := twoNodes()
	s := &stage{root: serve(t, d), daemon: d}
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	lines := append([]string{"pcs property set stonith-enabled=false"}, tutorialLines...)
	for _, l := range lines {
		if out := s.run(t, l); strings.Contains(out, "exit ") {
			t.Fatalf("%s:\n%s", l, out)
		}
	}
	if err := os.Chdir(home); err != nil {
		t.Fatal(err)
	}
	d.status.Volumes = []api.VolumeRecord{{Resource: "mysqlr0", Epoch: 3, Version: 2, Primary: "lqi1ecmy01",
		U: []api.Replica{{Node: "lqi1ecmy02"}, {Node: "lqi1ecmy01"}}}}
	d.volumes = []api.VolumeStatus{{Resource: "mysqlr0", Conn: "Connected", Role: "Primary", PeerRole: "Secondary", Disk: "UpToDate",
		PeerDisk: "UpToDate", Epoch: 3, Bound: true}}
	return d
}
