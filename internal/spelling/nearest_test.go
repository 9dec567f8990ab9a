package spelling

import "testing"

func TestNearest(t *testing.T) {
	words := []string{"on", "protocol", "timeout", "ping-timeout", "rate", "resync-rate"}
	for word, want := range map[string]string{
		"protocoll":  "protocol",
		"protcol":    "protocol",
		"porotcol":   "protocol",
		"timeuot":    "timeout",
		"resyncrate": "resync-rate",
		"xyz":        "", // three edits from everything short
		"ab":         "", // two edits from a word of two letters are another word
		"":           "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := Distance(c.a, c.b); got != c.want || Distance(c.b, c.a) != got {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
