package tidy

import (
	"bytes"
	"go/ast"
	"go/format"
	"testing"
)

// The sizes to aim at. An exception is listed in ratchet_test.go.
const (
	functionLines = 70
	fileLines     = 500
)

func TestFunctionLength(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range source(t) {
		for _, decl := range f.ast.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || d.Body == nil {
				continue
			}
			lines, name := f.line(d.End())-f.line(d.Pos())+1, f.path+" "+d.Name.Name
			seen[name] = seen[name] || overLimit(t, name, lines, functionLines, longFunctions)
		}
	}
	unused(t, longFunctions, seen)
}

func TestFileLength(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range source(t) {
		lines := bytes.Count(f.text, []byte("\n"))
		seen[f.path] = overLimit(t, f.path, lines, fileLines, longFiles)
	}
	unused(t, longFiles, seen)
}

// overLimit reports what is longer than it may be, and tells whether its exception is needed.
func overLimit(t *testing.T, name string, lines, limit int, exceptions map[string]int) bool {
	t.Helper()
	allowed, listed := exceptions[name]
	switch {
	case lines <= limit:
		return false
	case !listed:
		t.Errorf("%s has %d lines, more than %d: is it about one thing?", name, lines, limit)
	case lines > allowed:
		t.Errorf("%s has grown to %d lines from the %d it is tolerated at: make it shorter", name, lines, allowed)
	case lines < allowed:
		t.Logf("%s is down to %d lines: its entry in ratchet_test.go can be lowered from %d", name, lines, allowed)
	}
	return true
}

func unused(t *testing.T, exceptions map[string]int, seen map[string]bool) {
	t.Helper()
	for name := range exceptions {
		if !seen[name] {
			t.Errorf("%s is within the limit or gone: remove it from ratchet_test.go", name)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, f := range source(t) {
		formatted, err := format.Source(f.text)
		if err != nil {
			t.Errorf("%s: %v", f.path, err)
		} else if !bytes.Equal(formatted, f.text) {
			t.Errorf("%s is not gofmt-ed", f.path)
		}
	}
}
