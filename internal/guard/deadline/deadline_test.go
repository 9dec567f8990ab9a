package deadline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/internal/clock"
)

// A script's line is a command and, after "=>", what comes of it. Times are milliseconds.
func playAll(t *testing.T, scripts map[string]string) {
	t.Helper()
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) { play(t, New(0, 0, 0), script) })
	}
}

func TestLeases(t *testing.T) {
	playAll(t, map[string]string{
		"arm, extend, never back": `
			@1000 lease 3 2800 => armed 2800/3
			@1100 lease 3 2900 => armed 2900/3
			@1200 lease 3 2000 => armed 2900/3
			@2899 tick => armed 2900/3 wake 2900
			@2900 tick => enforcing 2900/3 wake 2900`,
		"a lease of an older session is refused": `
			@1000 lease 3 2800 => armed 2800/3
			@1100 lease 2 2900 => error "session 2 is over; 3 is the oldest", armed 2800/3`,
		"a newer session takes over without enforcement": `
			@1000 lease 3 2800 => armed 2800/3
			@1100 lease 4 2900 => armed 2900/4
			@1200 lease 3 3000 => error "session 3 is over", armed 2900/4`,
		"a late lease does not save the old deadline": `
			@1000 lease 3 2800 => armed 2800/3
			@2801 lease 3 9000 => error "session 3 has ended (enforcing)", enforcing 2800/3`,
		"a lease that is over on arrival arms nothing": `
			@1000 lease 3 1000 => error "had ended 0s before", disarmed 0/0`,
		"clear before any enforcement only raises the floor": `
			@1000 clear 5 => disarmed 0/0
			@1001 lease 4 9000 => error "session 4 is over; 5 is the oldest", disarmed 0/0
			@1002 lease 5 9000 => armed 9000/5
			@1003 clear 5 => armed 9000/5`,
		"leaving the cluster": `
			@1000 lease 3 2800 => armed 2800/3
			@1001 disarm => disarmed 0/0
			@9999 tick => disarmed 0/0
			@9999 lease 1 12000 => armed 12000/1`,
	})
}

func TestEnforcement(t *testing.T) {
	playAll(t, map[string]string{
		"nothing left at once": `
			@1000 lease 3 2800 => armed 2800/3
			@2805 tick => enforcing 2800/3 wake 2805
			@2806 swept => done, enforced 2800/3
			@2807 lease 3 9000 => error "session 3 has ended (enforced)", enforced 2800/3
			@2808 lease 4 9000 => error "a newer session is needed", enforced 2800/3
			@2809 clear 3 => error "session 3 is not newer", enforced 2800/3
			@2810 clear 4 => disarmed 2800/3
			@2811 lease 3 9000 => error "session 3 is over; 4 is the oldest", disarmed 2800/3
			@2812 lease 4 9000 => armed 9000/4`,
		"processes remain, then end": `
			@1000 lease 3 2800 => armed 2800/3
			@2800 tick => enforcing 2800/3 wake 2800
			@2801 swept 7 9 => again, enforcing 2800/3 wake 2806
			@2806 swept unknown => again, enforcing 2800/3 wake 2811
			@2811 swept => done, enforced 2800/3`,
		"processes remain for good: one reset, and sweeping goes on": `
			@1000 lease 3 2800 => armed 2800/3
			@2800 tick => enforcing 2800/3 wake 2800
			@3799 swept 7 => again, enforcing 2800/3 wake 3804
			@3804 swept 7 => reset, failed 2800/3 wake 4804
			@4804 swept 7 => again, failed 2800/3 wake 5804
			@4805 disarm => error "processes remain (failed)", failed 2800/3
			@4806 clear 4 => error "processes remain (failed)", failed 2800/3
			@4807 lease 4 9000 => error "session 3 has ended", failed 2800/3
			@5804 swept => done, enforced 2800/3`,
		"an unknown count is never nothing": `
			@1000 lease 3 2800 => armed 2800/3
			@2800 tick => enforcing 2800/3 wake 2800
			@9000 swept unknown => reset, failed 2800/3 wake 10000`,
		"leaving too late": `
			@1000 lease 3 2800 => armed 2800/3
			@2800 disarm => error "processes remain (enforcing)", enforcing 2800/3`,
		"leaving after enforcement forgets the cluster's sessions": `
			@1000 lease 3 2800 => armed 2800/3
			@2800 tick => enforcing 2800/3 wake 2800
			@2801 swept => done, enforced 2800/3
			@2802 disarm => disarmed 0/0
			@2803 lease 1 9000 => armed 9000/1`,
	})
}

func TestRestartedGuard(t *testing.T) {
	play(t, New(at(2800), 3, 0), `
		@1000 lease 2 5000 => error "session 2 is over", armed 2800/3
		@1000 lease 3 5000 => armed 5000/3`)
	play(t, New(at(2800), 3, 0), `@2800 tick => enforcing 2800/3 wake 2800`)
	play(t, New(at(2800), 3, 50*time.Millisecond), `
		@2800 tick => enforcing 2800/3 wake 2800
		@2851 swept 7 => reset, failed 2800/3 wake 3851`)
}

func at(ms int64) clock.Boottime { return clock.Boottime(ms * int64(time.Millisecond)) }

func play(t *testing.T, m *Machine, script string) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(script)) {
		command, want, _ := strings.Cut(strings.TrimSpace(line), " => ")
		fields := strings.Fields(command)
		var now int64
		fmt.Sscanf(fields[0], "@%d", &now)
		got := step(m, at(now), fields[1], fields[2:])
		if err, rest, ok := strings.Cut(want, ", "); ok && strings.HasPrefix(err, "error ") {
			text := strings.Trim(strings.TrimPrefix(err, "error "), `"`)
			if !strings.Contains(got, text) {
				t.Errorf("%s: got %s, want an error with %q", command, got, text)
			}
			want = rest
		} else if strings.HasPrefix(got, "error") {
			t.Errorf("%s: unexpected %s", command, got)
		}
		state := describe(m)
		if next, rest, ok := strings.Cut(want, ", "); ok {
			if got != next {
				t.Errorf("%s: %s, want %s", command, got, next)
			}
			want = rest
		}
		if !strings.HasPrefix(state, want) {
			t.Errorf("%s: %s, want %s", command, state, want)
		}
	}
}

func step(m *Machine, now clock.Boottime, what string, args []string) string {
	var n [4]int64
	for i, a := range args {
		fmt.Sscan(a, &n[i])
	}
	var err error
	switch what {
	case "tick":
		m.Tick(now)
	case "lease":
		err = m.Lease(now, uint64(n[0]), at(n[1]))
	case "disarm":
		err = m.Disarm(now)
	case "clear":
		err = m.Clear(now, uint64(n[0]))
	case "swept":
		known := len(args) == 0 || args[0] != "unknown"
		var left []int
		for i := range args {
			if known {
				left = append(left, int(n[i]))
			}
		}
		return map[Next]string{Again: "again", Done: "done", Reset: "reset"}[m.Swept(now, left, known)]
	default:
		panic(what)
	}
	if err != nil {
		return "error " + err.Error()
	}
	return "ok"
}

func describe(m *Machine) string {
	d, s := m.Page()
	text := fmt.Sprintf("%s %d/%d", m.State(), int64(d)/int64(time.Millisecond), s)
	if w := m.Wake(); w != 0 {
		text += fmt.Sprintf(" wake %d", int64(w)/int64(time.Millisecond))
	}
	return text
}

// Whatever is asked in whatever order: the deadline of a session never moves back, no lease is granted for a session that
// was enforced, and Enforced is reached only through an empty sweep.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(0, 0, 0)
		now := clock.Boottime(1)
		var enforced uint64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "pause")))
			before, wasSession := m.Page()
			was := m.State()
			session := rapid.Uint64Range(0, 6).Draw(t, "session")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				if m.Lease(now, session, now.Add(time.Duration(rapid.IntRange(-20, 100).Draw(t, "length")))) == nil {
					if enforced != 0 && session <= enforced {
						t.Fatalf("session %d got a lease after %d was enforced", session, enforced)
					}
				}
			case 2:
				if m.Disarm(now) == nil {
					enforced = 0
				}
			case 3:
				_ = m.Clear(now, session)
			case 4:
				m.Tick(now)
			case 5:
				if !m.SweepDue(now) {
					continue
				}
				left := make([]int, rapid.IntRange(0, 2).Draw(t, "left"))
				if next := m.Swept(now, left, rapid.Bool().Draw(t, "known")); next == Done {
					enforced = wasSession
				}
			}
			after, isSession := m.Page()
			if was == Armed && m.State() == Armed && isSession == wasSession && after < before {
				t.Fatalf("deadline moved back from %d to %d", before, after)
			}
			if was == Armed && now >= before && m.State() == Armed && after != before {
				t.Fatalf("deadline %d was extended to %d at %d", before, after, now)
			}
		}
	})
}
