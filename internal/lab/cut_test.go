package lab_test

import (
	"testing"

	"holdfast/internal/lab"
)

func TestCuts(t *testing.T) {
	l := up(t, lab.Config{Name: "cuts"})
	a, b, web := l.Host("lqi1ecmy01"), l.Host("lqi1ecmy02"), l.Host("lqi1ecmy03")
	type pair struct{ from, to *lab.Host }
	check := func(what string, broken ...pair) {
		t.Helper()
		for _, from := range []*lab.Host{a, b, web} {
			for _, to := range []*lab.Host{a, b, web} {
				if from == to {
					continue
				}
				want := true
				for _, p := range broken {
					// A connection needs both directions.
					if p == (pair{from, to}) || p == (pair{to, from}) {
						want = false
					}
				}
				if want {
					eventually(t, what+": "+from.Name()+" reaches "+to.Name(), func() bool { return reaches(t, from, to) })
				} else if reaches(t, from, to) {
					t.Errorf("%s: %s reaches %s", what, from.Name(), to.Name())
				}
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("at first")
	must(l.Cut(a.Name(), b.Name(), false))
	check("one bridge cut", pair{a, b})
	must(l.Heal())
	check("healed")
	must(l.Cut(web.Name(), a.Name(), true))
	check("routed path cut one way", pair{web, a})
	must(l.Kill(t.Context(), a.Name()))
	must(a.Start(t.Context()))
	check("still cut after a reboot", pair{web, a})
	must(l.Heal())
	must(l.Cut(a.Name(), lab.Everyone, false))
	check("isolated", pair{a, b}, pair{a, web})
	must(l.Heal())
	check("healed again")
	if l.Cut(a.Name(), "nobody", false) == nil {
		t.Error("a cut with an unknown host was accepted")
	}
	if l.Cut(a.Name(), a.Name(), false) == nil {
		t.Error("a cut of a host from itself was accepted")
	}
}

// TestOneWay checks that a one-way cut really lets the other direction pass: datagrams are counted by the receiver.
func TestOneWay(t *testing.T) {
	l := up(t, lab.Config{Name: "oneway"})
	a, b := l.Host("lqi1ecmy01"), l.Host("lqi1ecmy02")
	if err := l.Cut(a.Name(), b.Name(), true); err != nil {
		t.Fatal(err)
	}
	count := `grep ^Udp: /proc/net/snmp | tail -1 | cut -d' ' -f3` // NoPorts: datagrams to a closed port
	send := func(from, to *lab.Host) (arrived bool) {
		before := sh(t, to, count)
		conn, err := from.DialContext(t.Context(), "udp", to.Name()+":9")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 5 {
			_, _ = conn.Write([]byte("x")) // a refusal of an earlier one is no matter
		}
		sh(t, to, "true")
		return sh(t, to, count) != before
	}
	if send(a, b) {
		t.Error("the cut direction passes")
	}
	eventually(t, "the other direction passes", func() bool { return send(b, a) })
}
