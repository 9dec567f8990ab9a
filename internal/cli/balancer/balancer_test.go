package balancer

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// Only commit a rewritten golden if you understand what changed it.
var rewrite = flag.Bool("rewrite", false, "write the golden file anew")

// daemon keeps rules as the cluster's log does, and has a status.
type daemon struct{ rules []api.BalancerRule }

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var rule api.BalancerRule
	method := strings.TrimPrefix(r.URL.Path, "/v1/")
	if method == "balancer.set" || method == "balancer.remove" {
		json.NewDecoder(r.Body).Decode(&rule)
	}
	i := slices.IndexFunc(d.rules, func(x api.BalancerRule) bool { return x.Name == rule.Name })
	var out any = api.Empty{}
	switch method {
	case "balancer.rules":
		out = api.BalancerRules{Rules: d.rules}
	case "balancer.status":
		out = api.BalancerStatus{Rules: []api.BalancerRuleStatus{{Name: "mysql", Frontend: "10.0.1.10:3306", Held: 2, Accepted: 70, Resets: 3, Refused: 1,
			Error: "listen on 10.0.1.10:3306: address already in use",
			Backends: []api.BalancerBackendStatus{{Node: "lqi1ecmy01", Addr: "10.0.1.4:3306", Open: true, Connections: 5},
				{Node: "lqi1ecmy02", Addr: "10.0.1.5:3306", Reason: "not Primary"}}}}}
	case "balancer.remove":
		d.rules = slices.Delete(d.rules, i, i+1)
	case "balancer.set":
		if slices.Contains(rule.Hosts, "stranger") {
			w.WriteHeader(http.StatusConflict)
			json.NewEncoder(w).Encode(api.Error{Code: 4, Message: "host stranger is no member of the cluster"})
			return
		}
		if i >= 0 {
			d.rules[i] = rule
		} else {
			d.rules = append(d.rules, rule)
		}
	}
	json.NewEncoder(w).Encode(out)
}

func serve(t *testing.T) paths.Root {
	t.Helper()
	dir, err := os.MkdirTemp("", "clibal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root := paths.Root(dir)
	if err := os.MkdirAll(root.Run(), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", root.DaemonSocket())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: &daemon{}}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return root
}

// TestGolden types the lines of testdata/lines.txt that begin with "$ ", the tutorial's two rules first, and compares what
// each prints (stderr behind "2> ") and its exit code.
func TestGolden(t *testing.T) {
	const file = "testdata/lines.txt"
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	root := serve(t)
	head, rest, _ := strings.Cut(string(script), "\n$ ")
	got := head
	for _, block := range strings.Split("\n$ "+rest, "\n$ ")[1:] {
		line, _, _ := strings.Cut(block, "\n")
		var stdout, stderr bytes.Buffer
		words := strings.Fields(strings.TrimPrefix(line, "holdfast balancer"))
		code := Run(words, Env{Root: root, Stdout: &stdout, Stderr: &stderr})
		got += "\n$ " + line + "\n" + stdout.String()
		for _, l := range strings.SplitAfter(stderr.String(), "\n") {
			if l != "" {
				got += "2> " + l
			}
		}
		if code != 0 {
			got += fmt.Sprintf("exit %d\n", code)
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(script), got); diff != "" {
		t.Errorf("output differs (-want +got):\n%s", diff)
	}
}

func TestWithoutADaemon(t *testing.T) {
	var stderr bytes.Buffer
	code := Run([]string{"status"}, Env{Root: paths.Root(t.TempDir()), Stdout: &stderr, Stderr: &stderr})
	if code != 1 || !strings.Contains(stderr.String(), "the holdfast daemon does not answer") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}
