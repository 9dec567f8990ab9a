package tidy

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// machinePaths matches absolute paths that exist only where somebody worked. It is written so that it does not match itself.
var machinePaths = regexp.MustCompile(`(^|[^A-Za-z0-9_.-])(/wor[k]/|/roo[t]/go/|/hom[e]/[a-z])`)

func TestNoMachinePaths(t *testing.T) {
	walkFiles(t, func(rel, path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if isBinary(text) || rel == "go.sum" {
			return
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if machinePaths.Match(line) {
				t.Errorf("%s:%d names a path of one machine: %.120s", rel, i+1, line)
			}
		}
	})
}

func isBinary(text []byte) bool { return bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 }

// modulePattern finds a module path in go.mod's require block, documentedPattern one in the first column of the table in
// docs/DEPENDENCIES.md.
var (
	modulePattern     = regexp.MustCompile(`(?m)^\s*(?:require )?([a-z0-9.-]+\.[a-z]+/\S+) v\S+`)
	documentedPattern = regexp.MustCompile("(?m)^\\| `([a-z0-9.-]+\\.[a-z]+/[^`]+)`")
)

func readText(t *testing.T, rel string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repositoryRoot(t), rel))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func submatches(r *regexp.Regexp, text string) []string {
	var all []string
	for _, m := range r.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestDependenciesAreExplained wants every module that the source imports in docs/DEPENDENCIES.md, and no other.
func TestDependenciesAreExplained(t *testing.T) {
	modules := submatches(modulePattern, readText(t, "go.mod"))
	documented := submatches(documentedPattern, readText(t, "docs/DEPENDENCIES.md"))
	used := map[string]string{}
	for _, f := range source(t) {
		for _, path := range f.imports() {
			if m := moduleOf(path, modules); m != "" {
				used[m] = f.path
			}
		}
	}
	for m, path := range used {
		if !slices.Contains(documented, m) {
			t.Errorf("%s imports %s: a direct dependency needs its reason in docs/DEPENDENCIES.md", path, m)
		}
	}
	for _, m := range documented {
		if used[m] == "" {
			t.Errorf("docs/DEPENDENCIES.md explains %s, which nothing imports", m)
		}
	}
}

// moduleOf is the module a package path belongs to: the longest that is its prefix.
func moduleOf(path string, modules []string) string {
	best := ""
	for _, m := range modules {
		if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}
