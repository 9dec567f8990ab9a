package watch

import (
	"testing"
	"time"
)

// span is a tenure from and to so many seconds.
func span(host string, from, to int64) tenure {
	return tenure{host: host, what: "it", from: time.Unix(from, 0), to: time.Unix(to, 0)}
}

func TestOverlaps(t *testing.T) {
	for name, c := range map[string]struct {
		tenures []tenure
		bad     int
	}{
		"one after the other":       {[]tenure{span("a", 1, 5), span("b", 6, 9), span("a", 10, 12)}, 0},
		"at the same time":          {[]tenure{span("a", 1, 5), span("b", 4, 9)}, 1},
		"one within the other":      {[]tenure{span("a", 1, 50), span("b", 4, 9)}, 1},
		"the same host":             {[]tenure{span("a", 1, 5), span("a", 2, 4)}, 0},
		"seen once, it has no span": {[]tenure{span("a", 1, 50), span("b", 9, 4)}, 1},
		"two within one":            {[]tenure{span("a", 1, 50), span("b", 4, 9), span("b", 20, 30)}, 2},
	} {
		if got := overlaps(c.tenures); len(got) != c.bad {
			t.Errorf("%s: %v", name, got)
		}
	}
}
