package simulate

import (
	"strings"
	"testing"
	"time"
)

// FuzzOptions reads any command line: without a panic, and what is taken is in its bounds.
func FuzzOptions(f *testing.F) {
	for _, mode := range modes {
		f.Add(strings.Join(mode, "\x00"))
	}
	for _, s := range []string{"--op-inject=web_monitor_0@n=7", "-F\x00a_b_0@c=300", "-t\x00P1D", "-t=2020-W01-1", "--repeat=99999999999999999999", "-q\x00yes", "--set-datetime=2020-366"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parse(strings.Split(line, "\x00"))
		if err != nil {
			if err.Error() == "" {
				t.Error("an error says nothing")
			}
			return
		}
		if o.repeat < 1 || o.repeat > maxRepeat {
			t.Errorf("repeat %d", o.repeat)
		}
		for _, op := range append(o.events.Inject, o.failing...) {
			if op.Resource == "" || op.Task == "" || op.Node == "" || op.RC < 0 || op.RC > 255 || op.Interval < 0 || op.Interval > 20*366*24*time.Hour {
				t.Errorf("%+v", op)
			}
		}
		_, _ = parseVerify(strings.Split(line, "\x00"))
	})
}
