package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/cli/balancer"
	"holdfast/internal/cli/drbd"
	"holdfast/internal/cli/lab"
	"holdfast/internal/cli/pcs"
	"holdfast/internal/paths"
)

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	// ours is a command of ours at the beginning of a line or after `;`, `--` or a shell variable for `holdfast lab`.
	ours = regexp.MustCompile(`(?:^|; +|-- )((?:pcs|holdfast|drbdadm|\$H) [^;|#]*)`)
)

// commandsIn finds the commands of ours that a document tells people to type: in code blocks, and between backquotes.
func commandsIn(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		var candidates []string
		if strings.HasPrefix(line, "    ") {
			candidates = append(candidates, strings.TrimSpace(line))
		}
		for _, m := range quoted.FindAllStringSubmatch(line, -1) {
			candidates = append(candidates, m[1])
		}
		for _, c := range candidates {
			for _, m := range ours.FindAllStringSubmatch(c, -1) {
				found = append(found, strings.TrimSpace(m[1]))
			}
		}
	}
	return found
}

// known tells whether a command is in one of the grammars.
func known(t *testing.T, words []string) bool {
	switch words[0] {
	case "$H":
		return knownToLab(words[1:])
	case "drbdadm":
		if verb := slices.IndexFunc(words[1:], func(w string) bool { return !strings.HasPrefix(w, "-") }); verb >= 0 {
			return contains(t, words[1+verb], func(e drbd.Env) { drbd.Run([]string{"--help"}, e) })
		}
		return true
	case "pcs":
		return knownToPCS(words[1:])
	}
	switch {
	case words[1] == "drbd" && len(words) > 7 && words[2] == "meta":
		return contains(t, words[7], func(e drbd.Env) { drbd.RunMeta(nil, drbd.Env{Stdout: e.Stderr, Stderr: e.Stdout}) })
	case words[1] == "drbd":
		return len(words) == 2 || known(t, append([]string{"drbdadm"}, words[2:]...))
	case words[1] == "lab":
		return len(words) == 2 || knownToLab(words[2:])
	case words[1] == "balancer" && len(words) > 2 && words[2] != "run":
		return contains(t, strings.Join(words[2:min(4, len(words))], " "), func(e drbd.Env) {
			balancer.Run([]string{"help"}, balancer.Env{Stdout: e.Stdout, Stderr: e.Stderr})
		})
	}
	_, ok := commands()[words[1]]
	return ok || knownToPCS(words[1:])
}

// knownToPCS looks for the longest beginning of the words, options aside, that pcs has help for.
func knownToPCS(words []string) bool {
	if words[0] == "-f" {
		words = words[2:]
	}
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.HasPrefix(w, "-") || w == "..." })
	if len(words) == 0 {
		return true
	}
	for n := min(3, len(words)); n > 0; n-- {
		var out bytes.Buffer
		args := append(slices.Clone(words[:n]), "--help")
		if pcs.Run(args, pcs.Env{Root: paths.Root("/nowhere"), Stdout: &out, Stderr: &out}) == 0 {
			// One word alone is only a group of verbs, unless nothing follows.
			return n > 1 || len(words) == 1 || strings.Contains(out.String(), "    "+words[0]+" [") || strings.Contains(out.String(), "    "+words[0]+" --")
		}
	}
	return false
}

func knownToLab(words []string) bool {
	for _, c := range lab.Command().Commands() {
		if c.Name() == words[0] || words[0] == "--name" {
			return true
		}
	}
	return false
}

// contains tells whether a command's help has a line that begins with the words.
func contains(t *testing.T, words string, help func(drbd.Env)) bool {
	t.Helper()
	var out bytes.Buffer
	help(drbd.Env{Root: paths.Root(t.TempDir()), Stdout: &out, Stderr: &out})
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		if line == words || strings.HasPrefix(line, words+" ") || alternatives(line, words) {
			return true
		}
	}
	return false
}

// alternatives tells whether a line of help like `backend up|down RULE` begins with the words `backend down`.
func alternatives(line, words string) bool {
	have, want := strings.Fields(line), strings.Fields(words)
	return len(want) == 2 && len(have) > 1 && have[0] == want[0] && slices.Contains(strings.Split(have[1], "|"), want[1])
}

func TestDocumentsNameCommandsThatExist(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	must(t, err)
	seen := 0
	for _, path := range append(files, "../../README.md") {
		text, err := os.ReadFile(path)
		must(t, err)
		for _, c := range commandsIn(string(text)) {
			seen++
			if words := strings.Fields(c); len(words) > 1 && !known(t, words) {
				t.Errorf("%s: there is no `%s`", filepath.Base(path), c)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d commands found in the documents: are they still looked for in the right way?", seen)
	}
	for _, c := range []string{"pcs cluster explode", "holdfast frobnicate", "drbdadm explode r", "holdfast balancer rule explode", "holdfast lab explode"} {
		if known(t, strings.Fields(c)) {
			t.Errorf("`%s` counts as known", c)
		}
	}
}
