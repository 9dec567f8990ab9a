package pcs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/paths"
)

// Whatever is typed, a command on a file ends with 0 or 1, says why when it fails, leaves a CIB without errors, and leaves
// it untouched when it fails.
func FuzzCommandOnAFile(f *testing.F) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range scripts {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, l := range strings.Split(string(data), "\n") {
			if line, ok := strings.CutPrefix(l, "$ pcs "); ok && !strings.Contains(line, "move") {
				f.Add(strings.TrimPrefix(strings.TrimPrefix(line, "-f drbd_cfg "), "-f cfg "))
			}
		}
	}
	start, err := os.ReadFile("testdata/pcs-0.11.5/kinds.xml")
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir() // holds no agents and no daemon: nothing is run
	f.Fuzz(func(t *testing.T, line string) {
		path := filepath.Join(t.TempDir(), "cib.xml")
		if err := os.WriteFile(path, start, 0o600); err != nil {
			t.Fatal(err)
		}
		words := split(line)
		for _, w := range words { // other files, and long waits, are not what this is about
			if strings.HasPrefix(w, "-f") || strings.Contains(w, "wait") || strings.Contains(w, "cib") {
				t.Skip()
			}
		}
		var stdout, stderr bytes.Buffer
		code := Run(append([]string{"-f", path}, words...), Env{Root: paths.Root(dir), Stdin: strings.NewReader("x\ny\n"), Stdout: &stdout,
			Stderr: &stderr, Hostname: "lqi1ecmy01", Now: func() time.Time { return noon }})
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if code != 0 && (code != 1 || stderr.Len() == 0 || !bytes.Equal(after, start)) {
			t.Fatalf("exit %d, stderr %q, changed %v", code, &stderr, !bytes.Equal(after, start))
		}
		doc, err := cib.Parse(after)
		if err != nil {
			t.Fatalf("the file is broken: %v", err)
		}
		for _, p := range cib.Validate(doc) {
			if p.Severity == cib.Error {
				t.Fatalf("the CIB is invalid now: %s", p)
			}
		}
	})
}

// A number of typographic dashes never turn a line into another one that is accepted, and the suggestion is free of them.
func FuzzTypography(f *testing.F) {
	f.Add("–all")
	f.Add("−−wait=5")
	f.Add("–")
	f.Add("—f")
	f.Add("-50")
	f.Fuzz(func(t *testing.T, word string) {
		p := plain(word)
		if plain(p) != p {
			t.Errorf("%q becomes %q, and then %q", word, p, plain(p))
		}
		if (typography([]string{word}) != nil) != (p != word) {
			t.Errorf("%q: refused, or not, against its plain form %q", word, p)
		}
	})
}

func TestQuoteWordsReadsBack(t *testing.T) {
	words := []string{"a", "two words", "#uname", `say "x"`, "", "a=b c"}
	got := split(quoteWords(words))
	if strings.Join(got, "|") != strings.Join(words, "|") {
		t.Errorf("%q came back as %q", words, got)
	}
}

// Every verb of the table is found by its own words, and no two have the same.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range verbs() {
		if seen[v.name] {
			t.Errorf("'%s' is in the table twice", v.name)
		}
		seen[v.name] = true
		c := &call{args: arguments{words: strings.Fields(v.name), options: map[string]string{}}}
		if err := c.find(); err != nil || c.verb.name != v.name || len(c.words) != 0 {
			t.Errorf("'%s' finds %v, %v", v.name, c.verb, err)
		}
		if n := len(strings.Fields(v.name)); n > maxVerbWords {
			t.Errorf("'%s' has %d words, the limit is %d", v.name, n, maxVerbWords)
		}
		for _, o := range v.options {
			if !flagOption(o) && !valueOption(o) && o != "node" {
				t.Errorf("'%s' takes the unknown option %s", v.name, o)
			}
		}
	}
}
