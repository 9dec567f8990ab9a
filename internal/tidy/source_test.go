package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module is the module's path, and so the prefix of every import of ours.
const module = "holdfast"

// sourceFile is one parsed Go file.
type sourceFile struct {
	path string // relative to the repository's root, with slashes
	pkg  string // the directory below the root, such as internal/lab
	test bool
	text []byte
	ast  *ast.File
	fset *token.FileSet
}

// at gives a position as path:line.
func (f *sourceFile) at(p token.Pos) string {
	pos := f.fset.Position(p)
	return f.path + ":" + strconv.Itoa(pos.Line)
}

func (f *sourceFile) line(p token.Pos) int { return f.fset.Position(p).Line }

// imports lists the file's import paths.
func (f *sourceFile) imports() []string {
	var all []string
	for _, i := range f.ast.Imports {
		all = append(all, strings.Trim(i.Path.Value, `"`))
	}
	return all
}

// repositoryRoot is found by walking up to go.mod.
func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// walkFiles calls visit for every file of the repository that is not ignored, with its slash-separated relative path.
func walkFiles(t *testing.T, visit func(rel, path string)) {
	t.Helper()
	root := repositoryRoot(t)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if e.IsDir() && (rel == ".git" || rel == "build" || rel == "bin") {
			return fs.SkipDir
		}
		if e.Type().IsRegular() && rel != ".git" { // a file in a second work tree
			visit(rel, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// source parses every Go file of the repository.
func source(t *testing.T) []*sourceFile {
	t.Helper()
	fset := token.NewFileSet()
	var files []*sourceFile
	walkFiles(t, func(rel, path string) {
		if !strings.HasSuffix(rel, ".go") || strings.Contains(rel, "/testdata/") {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(fset, rel, text, parser.ParseComments)
		if err != nil {
			t.Fatalf("%v", err)
		}
		files = append(files, &sourceFile{
			path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"),
			text: text, ast: parsed, fset: fset,
		})
	})
	if len(files) == 0 {
		t.Fatal("no Go file found")
	}
	return files
}
