package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestObjections tries the import rules on pairs that must and must not pass, so that a rule that allows everything is seen.
func TestObjections(t *testing.T) {
	cases := []struct {
		from, to string
		allowed  bool
	}{
		{"cluster/scheduler", "slices", true},
		{"cluster/scheduler", "os", false},
		{"cluster/scheduler", "sync", false},
		{"cluster/scheduler", "math/rand/v2", false},
		{"cluster/scheduler", "log/slog", false},
		{"cluster/scheduler", "go.etcd.io/raft/v3", false},
		{"cluster/scheduler", "holdfast/internal/cluster/cib", true},
		{"cluster/scheduler", "holdfast/internal/cluster/raftlog", false},
		{"cluster/raftlog", "holdfast/internal/cluster/state", true},
		{"cluster/raftlog", "holdfast/internal/block/wire", false},
		{"cluster/executor", "holdfast/internal/agent/ocf", true},
		{"block/volume", "holdfast/internal/cluster", false},
		{"block/volume", "holdfast/internal/api", true},
		{"block/volume", "holdfast/internal/daemon", false},
		{"balancer/proxy", "holdfast/internal/agent/ocf", false},
		{"api", "holdfast/internal/block/wire", false},
		{"api", "net/http", true},
		{"fuse", "holdfast/internal/block", false},
		{"block/kernel/fuseloop", "holdfast/internal/fuse", true},
		{"guard/deadline", "os", false},
		{"daemon", "holdfast/internal/block/volume", true},
		{"lab/demo", "holdfast/internal/lab/rows", true},
		{"lab", "holdfast/internal/cluster/cib", false},
		{"lab", "holdfast/internal/sim", false},
	}
	for _, c := range cases {
		r, known := roomOf(c.from)
		if !known {
			t.Errorf("%s has no room", c.from)
			continue
		}
		if why := objection(r, c.to); (why == "") != c.allowed {
			t.Errorf("%s importing %s: objection %q, want allowed %v", c.from, c.to, why, c.allowed)
		}
	}
}

// TestPackageVariableAnalysis tries the search for changed package variables on a source with some of each.
func TestPackageVariableAnalysis(t *testing.T) {
	const text = `package p
var table = map[string]int{}
var count = 1
func f() { table["x"] = 1; count++; local := 1; local = 2; _ = local }
func g() { count := 2; count = 3; _ = count }
func h() *int { return &count }
`
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, "p.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := &sourceFile{path: "p.go", ast: parsed, fset: fset}
	vars := packageVars{}
	collectVars(t, f, vars)
	if len(vars) != 2 {
		t.Fatalf("%d package variables, want 2", len(vars))
	}
	var lines []int
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.IncDecStmt:
			if id := rootIdent(x.X); isPackageVar(id, vars) {
				lines = append(lines, f.line(x.Pos()))
			}
		case *ast.AssignStmt:
			if id := rootIdent(x.Lhs[0]); x.Tok.String() == "=" && isPackageVar(id, vars) {
				lines = append(lines, f.line(x.Pos()))
			}
		case *ast.UnaryExpr:
			if id := rootIdent(x.X); isPackageVar(id, vars) {
				lines = append(lines, f.line(x.Pos()))
			}
		}
		return true
	})
	if len(lines) != 3 || lines[0] != 4 || lines[1] != 4 || lines[2] != 6 {
		t.Errorf("changes found on lines %v, want 4, 4 and 6", lines)
	}
}

func TestMachinePathPattern(t *testing.T) {
	for line, want := range map[string]bool{
		"see " + "/wo" + "rk/main/x": true, "cd " + "/ro" + "ot/go/bin": true, "/ho" + "me/me/x": true,
		"rework/it": false, "/usr/work/": false, "/var/lib/holdfast": false, "homework": false,
	} {
		if got := machinePaths.MatchString(line); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}
