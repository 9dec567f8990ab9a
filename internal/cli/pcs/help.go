package pcs

import (
	"fmt"
	"strings"

	"holdfast/internal/version"
)

func (c *call) printVersion() error {
	c.out("holdfast %s", version.String())
	return nil
}

// help prints the usage of the verbs the words begin with.
func (c *call) help() error {
	prefix := strings.Join(c.args.words, " ")
	var lines []string
	for _, v := range verbs() {
		if v.name == prefix || strings.HasPrefix(v.name, prefix+" ") || prefix == "" {
			lines = append(lines, strings.TrimRight("    "+v.name+" "+v.usage, " "))
		}
	}
	if len(lines) == 0 {
		return unknownCommand(verbs(), c.args.words)
	}
	text := fmt.Sprintf("Usage: pcs [-f FILE] %s...\n%s\n", strings.TrimLeft(prefix+" ", " "), strings.Join(lines, "\n"))
	if c.args.has("help") || prefix != "" {
		fmt.Fprint(c.env.Stdout, text)
		return nil
	}
	fmt.Fprint(c.env.Stderr, text)
	return &silentError{code: 1}
}
