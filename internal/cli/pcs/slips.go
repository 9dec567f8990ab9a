package pcs

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"holdfast/internal/spelling"
)

// typography refuses what a word processor made of hyphens and quotation marks: the tutorial's own text has an en dash in
// `pcs cluster start –all`.
func typography(args []string) error {
	meant := make([]string, len(args))
	found := ""
	for i, a := range args {
		meant[i] = plain(a)
		if found == "" && meant[i] != a {
			found = a
		}
	}
	if found == "" {
		return nil
	}
	r, _ := utf8.DecodeRuneInString(found)
	return fmt.Errorf("%q begins with %s, not with two hyphens; nothing was done\nDid you mean: pcs %s", found, runeName(r), quoteWords(meant))
}

// plain gives the option that was meant by a word that begins with a typographic dash.
func plain(a string) string {
	r, n := utf8.DecodeRuneInString(a)
	if n == 1 || runeName(r) == "" {
		return a
	}
	rest := strings.TrimLeftFunc(a[n:], func(r rune) bool { return r == '-' || (r > utf8.RuneSelf && runeName(r) != "") })
	if utf8.RuneCountInString(rest) == 1 || isScore("-"+rest) {
		return "-" + rest
	}
	return "--" + rest
}

// runeName names the dashes that are not hyphens; empty for any other character.
func runeName(r rune) string {
	switch r {
	case '\u2010':
		return "a typographic hyphen (U+2010)"
	case '\u2011':
		return "a non-breaking hyphen (U+2011)"
	case '\u2012':
		return "a figure dash (U+2012)"
	case '\u2013':
		return "an en dash (U+2013)"
	case '\u2014':
		return "an em dash (U+2014)"
	case '\u2015':
		return "a horizontal bar (U+2015)"
	case '\u2212':
		return "a minus sign (U+2212)"
	case '\uff0d':
		return "a full-width hyphen (U+FF0D)"
	}
	return ""
}

// strayWord finds a verb hidden behind one word too many, as in the tutorial's `resource constraint colocation add`.
func strayWord(table []verb, words []string, file string) error {
	for i := range min(len(words), maxVerbWords) {
		rest := append(append([]string{}, words[:i]...), words[i+1:]...)
		if !beginsVerb(table, rest, i+1) {
			continue
		}
		line := rest
		if file != "" {
			line = append([]string{"-f", file}, rest...)
		}
		return fmt.Errorf("'%s' is no pcs command: the word '%s' is one too many; nothing was changed\nDid you mean: pcs %s",
			strings.Join(words[:min(len(words), i+3)], " "), words[i], quoteWords(line))
	}
	return nil
}

// beginsVerb tells whether words begin with a verb of the table that is longer than least words, so that a word taken
// out of the front of it cannot make any line match.
func beginsVerb(table []verb, words []string, least int) bool {
	for n := min(len(words), maxVerbWords); n > least; n-- {
		if lookup(table, strings.Join(words[:n], " ")) != nil {
			return true
		}
	}
	return false
}

// unknownCommand says which words the failing one could have been.
func unknownCommand(table []verb, words []string) error {
	known, next := 0, []string(nil)
	for n := len(words); n >= 0; n-- {
		if next = followers(table, words[:n]); len(next) > 0 {
			known = n
			break
		}
	}
	if known >= len(words) {
		return fmt.Errorf("'pcs %s' is not complete; the next word is one of: %s", strings.Join(words, " "), strings.Join(next, ", "))
	}
	hint := ""
	if near := spelling.Nearest(words[known], next); near != "" {
		meant := append(append([]string{}, words...), []string(nil)...)
		meant[known] = near
		hint = "\nDid you mean: pcs " + quoteWords(meant)
	}
	line := strings.Join(append([]string{"pcs"}, words[:known]...), " ")
	return fmt.Errorf("'%s' is not known after '%s'; it is one of: %s%s", words[known], line, strings.Join(next, ", "), hint)
}

// followers lists the words that may follow the given ones.
func followers(table []verb, words []string) []string {
	prefix := strings.Join(words, " ")
	if prefix != "" {
		prefix += " "
	}
	seen := map[string]bool{}
	for _, v := range table {
		if rest, ok := strings.CutPrefix(v.name, prefix); ok && rest != "" {
			word, _, _ := strings.Cut(rest, " ")
			seen[word] = true
		}
	}
	out := make([]string, 0, len(seen))
	for w := range seen {
		out = append(out, w)
	}
	sort.Strings(out)
	return out
}

func nearOption(name string) string {
	all := []string{"all", "force", "full", "wait", "enable", "start", "config", "disabled", "promoted", "name", "group",
		"before", "after", "output-format", "help", "version", "no-default-ops", "token"}
	if near := spelling.Nearest(strings.TrimLeft(name, "-"), all); near != "" {
		return "; did you mean " + dashed(near) + "?"
	}
	return ""
}

// quoteWords joins words so that a shell reads them back.
func quoteWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n'\"$`\\*?[]#~&|;<>(){}!") {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
