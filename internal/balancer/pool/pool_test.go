package pool

import (
	"fmt"
	"math/rand"
	"testing"
)

const now = 1_000_000_000

func TestEvaluate(t *testing.T) {
	a := Backend{Node: "db1", Addr: "10.0.1.4:3306", Health: Up}
	with := func(change func(*Backend)) Backend { b := a; change(&b); return b }
	free := View{Now: now}
	follows := View{Now: now, Follow: true, Primary: "db1", ConfirmedUntil: now + 1}
	cases := []struct {
		name string
		b    Backend
		v    View
		want Verdict
	}{
		{"good probe", a, free, Verdict{Open: true, Keep: true}},
		{"not probed", with(func(b *Backend) { b.Health = Unknown }), free, Verdict{Keep: true, Reason: ReasonNotProbed}},
		{"bad probe", with(func(b *Backend) { b.Health, b.Fault = Down, "connection refused" }), free,
			Verdict{Reason: "probe failed: connection refused"}},
		{"bad probe without words", with(func(b *Backend) { b.Health = Down }), free, Verdict{Reason: ReasonProbeFailed}},
		{"Primary", a, follows, Verdict{Open: true, Keep: true}},
		{"Primary with bad probe", with(func(b *Backend) { b.Health = Down }), follows, Verdict{Reason: ReasonProbeFailed}},
		{"not Primary", with(func(b *Backend) { b.Node = "db2" }), follows, Verdict{Reason: ReasonNotPrimary}},
		{"nobody is Primary", a, View{Now: now, Follow: true, ConfirmedUntil: now + 1}, Verdict{Reason: ReasonNoPrimary}},
		{"view ends now", a, View{Now: now, Follow: true, Primary: "db1", ConfirmedUntil: now}, Verdict{Reason: ReasonStale}},
		{"old view without follow", a, View{Now: now, ConfirmedUntil: now - 5}, Verdict{Open: true, Keep: true}},
		{"lost", a, View{Now: now, Lost: []string{"db1"}}, Verdict{Reason: ReasonLost}},
		{"lost Primary", a, View{Now: now, Follow: true, Primary: "db1", ConfirmedUntil: now + 1, Lost: []string{"db1"}}, Verdict{Reason: ReasonLost}},
		{"no node is never lost", with(func(b *Backend) { b.Node = "" }), View{Now: now, Lost: []string{""}}, Verdict{Open: true, Keep: true}},
		{"taken down", with(func(b *Backend) { b.Admin = AdminDown }), free, Verdict{Reason: ReasonAdminDown}},
		{"draining", with(func(b *Backend) { b.Admin, b.DrainUntil = AdminDrain, now+1 }), free, Verdict{Keep: true, Reason: ReasonDraining}},
		{"draining without end", with(func(b *Backend) { b.Admin = AdminDrain }), free, Verdict{Keep: true, Reason: ReasonDraining}},
		{"drained", with(func(b *Backend) { b.Admin, b.DrainUntil = AdminDrain, now }), free, Verdict{Reason: ReasonDrained}},
		{"draining and dead", with(func(b *Backend) { b.Admin, b.Health = AdminDrain, Down }), free, Verdict{Reason: ReasonProbeFailed}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Evaluate([]Backend{c.b}, c.v)[0]; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestBackupsServeOnlyWhenNeeded(t *testing.T) {
	main := Backend{Addr: "a:1", Health: Up}
	spare := Backend{Addr: "b:1", Health: Up, Backup: true}
	got := Evaluate([]Backend{spare, main}, View{})
	if got[0].Open || !got[0].Keep || got[0].Reason != ReasonBackup || !got[1].Open {
		t.Errorf("with a main backend open: %+v", got)
	}
	main.Health = Down
	if got := Evaluate([]Backend{spare, main}, View{}); !got[0].Open || got[1].Open {
		t.Errorf("with the main backend down: %+v", got)
	}
}

// At most one backend of a rule that follows a volume is ever open, whatever the probes and operators say.
func TestFollowOpensAtMostThePrimary(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 20000 {
		var list []Backend
		for i := range 1 + rnd.Intn(4) {
			list = append(list, Backend{Node: fmt.Sprint("n", i), Addr: fmt.Sprint("a:", i), Health: Health(rnd.Intn(3)),
				Admin: Admin(rnd.Intn(3)), DrainUntil: int64(rnd.Intn(3)), Backup: rnd.Intn(2) == 0})
		}
		v := View{Now: int64(rnd.Intn(4)), Follow: true, Primary: fmt.Sprint("n", rnd.Intn(5)), ConfirmedUntil: int64(rnd.Intn(4))}
		for i, got := range Evaluate(list, v) {
			if (got.Open || got.Keep) && (list[i].Node != v.Primary || v.Now >= v.ConfirmedUntil) {
				t.Fatalf("%+v with %+v: %+v", list[i], v, got)
			}
			if got.Open == (got.Reason != "") {
				t.Fatalf("open %v with reason %q", got.Open, got.Reason)
			}
		}
	}
}

func TestNextChange(t *testing.T) {
	drain := Backend{Admin: AdminDrain, DrainUntil: now + 10}
	cases := []struct {
		name string
		list []Backend
		v    View
		want int64
	}{
		{"nothing to wait for", []Backend{{DrainUntil: now + 1}}, View{Now: now, ConfirmedUntil: now + 1}, 0},
		{"view", nil, View{Now: now, Follow: true, ConfirmedUntil: now + 5}, now + 5},
		{"view already over", nil, View{Now: now, Follow: true, ConfirmedUntil: now}, 0},
		{"drain before view", []Backend{drain}, View{Now: now, Follow: true, ConfirmedUntil: now + 20}, now + 10},
		{"drain over", []Backend{drain}, View{Now: now + 10}, 0},
	}
	for _, c := range cases {
		if got := NextChange(c.list, c.v); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func flow(rnd *rand.Rand) Flow {
	f := Flow{SourcePort: uint16(rnd.Intn(65536)), DestPort: 3306, Protocol: 6}
	rnd.Read(f.Source[:])
	rnd.Read(f.Dest[:])
	return f
}

// Taking a backend away moves only the flows that were on it; bringing it back brings back exactly those.
func TestChooseDisruptsLittle(t *testing.T) {
	rnd := rand.New(rand.NewSource(2))
	all := []string{"10.0.2.4:80", "10.0.2.5:80", "10.0.2.6:80", "10.0.2.7:80", "10.0.2.8:80"}
	count := map[string]int{}
	const flows = 20000
	for range flows {
		f := flow(rnd)
		before := all[Choose(Default, f, all)]
		count[before]++
		gone := rnd.Intn(len(all))
		var rest []string
		rest = append(append(rest, all[:gone]...), all[gone+1:]...)
		rnd.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		after := rest[Choose(Default, f, rest)]
		if all[gone] != before && after != before {
			t.Fatalf("removing %s moved a flow from %s to %s", all[gone], before, after)
		}
	}
	for addr, n := range count {
		if share := float64(n) / flows; share < 0.17 || share > 0.23 {
			t.Errorf("%s got %.3f of the flows, not about a fifth", addr, share)
		}
	}
}

func TestModesLookAtTheirPartOnly(t *testing.T) {
	rnd := rand.New(rand.NewSource(3))
	open := []string{"a:1", "b:1", "c:1", "d:1"}
	moved := map[Mode]map[string]bool{}
	for m := Default; m <= SourceIPProtocol; m++ {
		moved[m] = map[string]bool{}
	}
	for range 500 {
		f := flow(rnd)
		port, proto := f, f
		port.SourcePort++
		proto.Protocol = 17
		for m := range moved {
			if Choose(m, f, open) != Choose(m, port, open) {
				moved[m]["port"] = true
			}
			if Choose(m, f, open) != Choose(m, proto, open) {
				moved[m]["protocol"] = true
			}
		}
	}
	want := map[Mode][2]bool{Default: {true, true}, SourceIP: {false, false}, SourceIPProtocol: {false, true}}
	for m, w := range want {
		if got := [2]bool{moved[m]["port"], moved[m]["protocol"]}; got != w {
			t.Errorf("mode %d: looks at port, protocol = %v, want %v", m, got, w)
		}
	}
}

func TestChooseNone(t *testing.T) {
	if got := Choose(Default, Flow{}, nil); got != -1 {
		t.Errorf("got %d of nothing", got)
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Default, "Default": Default, "SourceIP": SourceIP, "SourceIPProtocol": SourceIPProtocol} {
		if got, err := ParseMode(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := ParseMode("sourceip"); err == nil {
		t.Error("a name in the wrong case was taken")
	}
}
