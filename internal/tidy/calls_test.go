package tidy

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// bannedInCore are functions of package time that read a clock or wait, each with what to do instead.
var bannedInCore = map[string]string{
	"Now": "take `now` as an argument", "Since": "subtract from `now`", "Until": "subtract `now`",
	"Sleep": "return a deadline", "After": "return a deadline", "AfterFunc": "return a deadline", "Tick": "return a deadline",
	"NewTimer": "return a deadline", "NewTicker": "return a deadline",
}

func TestCoresArePure(t *testing.T) {
	for _, f := range source(t) {
		pkg, inside := belowInternal(f.pkg)
		r, known := roomOf(pkg)
		if !inside || f.test || !known || r.kind != core {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a core starts no goroutine; the shell does", f.at(x.Pos()))
			case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%s: a core knows no channel; return the effect", f.at(n.Pos()))
			case *ast.SelectorExpr:
				if instead, banned := bannedInCore[x.Sel.Name]; banned && isPackage(x.X, "time") {
					t.Errorf("%s: time.%s in a core: %s", f.at(x.Pos()), x.Sel.Name, instead)
				}
			}
			return true
		})
	}
}

// isPackage tells whether an expression is the name of an imported package.
func isPackage(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name && id.Obj == nil
}

func TestNoFatalOutsideCommands(t *testing.T) {
	for _, f := range source(t) {
		if strings.HasPrefix(f.pkg, "cmd/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			x, ok := n.(*ast.SelectorExpr)
			if ok && isPackage(x.X, "log") && (strings.HasPrefix(x.Sel.Name, "Fatal") || strings.HasPrefix(x.Sel.Name, "Panic")) {
				t.Errorf("%s: log.%s: return the error", f.at(x.Pos()), x.Sel.Name)
			}
			if ok && !f.test && isPackage(x.X, "os") && x.Sel.Name == "Exit" {
				t.Errorf("%s: os.Exit: return an exit code to main", f.at(x.Pos()))
			}
			return true
		})
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range source(t) {
		for _, decl := range f.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
				t.Errorf("%s: func init: what it does belongs where it is needed", f.at(d.Pos()))
			}
		}
	}
}

// packageVars are the variables of one package, by name.
type packageVars map[string]*ast.ValueSpec

func TestNoMutablePackageVariables(t *testing.T) {
	vars := map[string]packageVars{}
	for _, f := range source(t) {
		if f.test {
			continue
		}
		if vars[f.pkg] == nil {
			vars[f.pkg] = packageVars{}
		}
		collectVars(t, f, vars[f.pkg])
	}
	for _, f := range source(t) {
		if !f.test {
			reportChanges(t, f, vars[f.pkg])
		}
	}
}

// collectVars notes the file's package variables, and objects to those that can only be meant to change.
func collectVars(t *testing.T, f *sourceFile, into packageVars) {
	t.Helper()
	for _, decl := range f.ast.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range d.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok || d.Tok.String() != "var" {
				continue
			}
			if len(v.Values) == 0 && !isEmbedded(d, v) {
				t.Errorf("%s: package variable %s has no value, so it is meant to change: make it a field", f.at(v.Pos()), v.Names[0].Name)
			}
			for _, name := range v.Names {
				if name.Name != "_" {
					into[name.Name] = v
				}
			}
		}
	}
}

// isEmbedded tells whether a go:embed directive gives the variable its value.
func isEmbedded(d *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{d.Doc, v.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// reportChanges finds assignments to package variables, to what is in them, and their addresses.
func reportChanges(t *testing.T, f *sourceFile, vars packageVars) {
	t.Helper()
	report := func(e ast.Expr, how string) {
		if id := rootIdent(e); id != nil && isPackageVar(id, vars) {
			t.Errorf("%s: package variable %s is %s: make it a field", f.at(e.Pos()), id.Name, how)
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.AssignStmt:
			if x.Tok.String() != ":=" {
				for _, left := range x.Lhs {
					report(left, "assigned to")
				}
			}
		case *ast.IncDecStmt:
			report(x.X, "changed")
		case *ast.UnaryExpr:
			if x.Op.String() == "&" {
				report(x.X, "passed by address")
			}
		case *ast.CallExpr:
			if id, ok := x.Fun.(*ast.Ident); ok && id.Name == "delete" && len(x.Args) > 0 {
				report(x.Args[0], "deleted from")
			}
		}
		return true
	})
}

// rootIdent is the variable an expression begins with: v in v.a[i].b.
func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// isPackageVar tells whether an identifier is the package's variable of that name and not a local one: the parser resolves
// a name within its file, and leaves one of another file unresolved.
func isPackageVar(id *ast.Ident, vars packageVars) bool {
	spec, ok := vars[id.Name]
	return ok && (id.Obj == nil || id.Obj.Decl == spec)
}
