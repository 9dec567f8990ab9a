package tidy

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// emptyNames say nothing about what a package is for.
var emptyNames = []string{"base", "common", "helper", "helpers", "lib", "misc", "shared", "util", "utils"}

func TestPackageNames(t *testing.T) {
	for _, f := range source(t) {
		if slices.Contains(emptyNames, f.ast.Name.Name) {
			t.Errorf("%s: %q says nothing: name the package after what it is about", f.path, f.ast.Name.Name)
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments, seen := map[string]string{}, map[string]string{}
	for _, f := range source(t) {
		if f.test {
			continue
		}
		seen[f.pkg] = f.ast.Name.Name
		if f.ast.Doc != nil {
			if other, twice := comments[f.pkg]; twice {
				t.Errorf("%s: package %s has a second package comment (the other is in %s)", f.path, f.pkg, other)
			}
			comments[f.pkg] = f.path
			checkPackageComment(t, f)
		}
	}
	for pkg, name := range seen {
		if comments[pkg] == "" {
			t.Errorf("%s: no file of package %s has a package comment", pkg, name)
		}
	}
}

func checkPackageComment(t *testing.T, f *sourceFile) {
	t.Helper()
	want := "Package " + f.ast.Name.Name + " "
	if f.ast.Name.Name == "main" {
		want = "Command "
	}
	if !strings.HasPrefix(f.ast.Doc.Text(), want) {
		t.Errorf("%s: the package comment must begin with %q", f.path, want)
	}
}

func TestExportsAreDocumented(t *testing.T) {
	for _, f := range source(t) {
		if f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil {
					t.Errorf("%s: %s is exported and has no comment", f.at(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				checkSpecs(t, f, d)
			}
		}
	}
}

// exportedReceiver tells whether a method's type is exported; true for a function.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// checkSpecs wants a comment on each exported type, constant and variable, or on the group it is in.
func checkSpecs(t *testing.T, f *sourceFile, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
				t.Errorf("%s: type %s is exported and has no comment", f.at(s.Pos()), s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					t.Errorf("%s: %s is exported and has no comment", f.at(name.Pos()), name.Name)
				}
			}
		}
	}
}
