package liveness

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
)

const (
	ms     = time.Millisecond
	length = 1800 * ms
	margin = 200 * ms
	token  = 1000 * ms
)

func at(d time.Duration) clock.Boottime { return clock.Boottime(time.Hour + d) }

// renew demands that a renewal is due.
func renew(t *testing.T, h *Holder, now clock.Boottime) Renewal {
	t.Helper()
	r, due, _ := h.Renew(now)
	if !due {
		t.Fatalf("no renewal is due at %d", now)
	}
	return r
}

func TestHolderCountsFromTheStamp(t *testing.T) {
	h := &Holder{Length: length}
	if _, due, _ := h.Renew(at(0)); due || h.Live(at(0)) {
		t.Fatal("a holder without session renews")
	}
	h.Begin(1)
	first := renew(t, h, at(0))
	if _, due, next := h.Renew(at(50 * ms)); due || next != at(cluster.Heartbeat) {
		t.Errorf("due %v, next %v", due, next)
	}
	second := renew(t, h, at(100*ms))
	if h.Live(at(100 * ms)) {
		t.Error("live before any grant")
	}
	// The answer to the first comes late: the lease still ends L after that stamp.
	if d, moved := h.Granted(first); !moved || d != at(length) {
		t.Errorf("deadline %v, moved %v", d, moved)
	}
	if !h.Live(at(length-1)) || h.Live(at(length)) {
		t.Error("the lease does not end at the deadline")
	}
	if d, moved := h.Granted(second); !moved || d != at(100*ms+length) {
		t.Errorf("deadline %v, moved %v", d, moved)
	}
	if d, moved := h.Granted(second); moved || d != at(100*ms+length) {
		t.Errorf("a grant twice: deadline %v, moved %v", d, moved)
	}
}

func TestHolderIgnores(t *testing.T) {
	tests := []struct {
		name  string
		grant func(h *Holder, early, late Renewal) Renewal
	}{
		{"an older grant after a newer", func(h *Holder, early, late Renewal) Renewal { h.Granted(late); return early }},
		{"another session", func(_ *Holder, _, late Renewal) Renewal { late.Session++; return late }},
		{"an unknown renewal", func(_ *Holder, _, late Renewal) Renewal { late.ID += 100; return late }},
		{"the session before", func(h *Holder, _, late Renewal) Renewal { h.Begin(2); return late }},
		{"after the end", func(h *Holder, _, late Renewal) Renewal { h.End(); return late }},
		{"no session", func(h *Holder, _, late Renewal) Renewal { h.End(); return Renewal{ID: late.ID} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &Holder{Length: length}
			h.Begin(1)
			early := renew(t, h, at(0))
			late := renew(t, h, at(100*ms))
			r := tt.grant(h, early, late)
			before := h.Deadline()
			if d, moved := h.Granted(r); moved || d != before {
				t.Errorf("deadline moved from %v to %v", before, d)
			}
		})
	}
}

func TestHolderForgetsTheOldestRenewal(t *testing.T) {
	h := &Holder{Length: length}
	h.Begin(1)
	first := renew(t, h, at(0))
	for i := 1; i <= cluster.MaxRenewalsInFlight; i++ {
		renew(t, h, at(time.Duration(i)*cluster.Heartbeat))
	}
	if _, moved := h.Granted(first); moved {
		t.Error("a renewal beyond the limit still counts")
	}
}

func TestLeadIsOfOneTerm(t *testing.T) {
	lead := func(old *Leader, leads bool, term uint64, ready clock.Boottime) *Leader {
		return Lead(old, leads, term, length, margin, ready)
	}
	if lead(nil, false, 3, at(0)) != nil || lead(nil, true, 3, 0) != nil {
		t.Error("an account without leading, or before the term's first commit")
	}
	third := lead(nil, true, 3, at(0))
	if again := lead(third, true, 3, at(0)); again != third {
		t.Error("the account of a term was begun again")
	}
	fourth := lead(third, true, 4, at(1))
	if fourth == third || fourth.Term() != 4 {
		t.Error("an old term's account was kept")
	}
	if lead(fourth, false, 4, at(1)) != nil {
		t.Error("a deposed leader kept its account")
	}
}

func TestGrantsNeedTheReadsOwnTerm(t *testing.T) {
	l := NewLeader(3, length, margin, at(0))
	for _, c := range []struct {
		account *Leader
		begun   uint64
		leads   bool
		term    uint64
		want    bool
	}{
		{l, 3, true, 3, true},
		{l, 2, true, 3, false},   // the read was begun before this term
		{l, 3, false, 3, false},  // deposed since
		{l, 3, true, 4, false},   // leads again, in another term
		{nil, 3, true, 3, false}, // the account was closed
	} {
		if got := c.account.MayGrant(c.begun, c.leads, c.term); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestLeader(t *testing.T) {
	active := map[string]Record{"a": {Session: 3, Active: true}, "b": {Session: 1, Active: true}}
	renewal := func(session uint64) Renewal { return Renewal{Session: session, ID: 1} }
	tests := []struct {
		name string
		run  func(l *Leader) // from at(0), the term's first commit
		now  time.Duration
		want []Expiry
		next time.Duration // 0: nothing to wait for
	}{
		{"nothing granted yet", nil, length + margin - 1, nil, length + margin},
		{"counted from the term's first commit", nil, length + margin,
			[]Expiry{{"a", 3, length + margin}, {"b", 1, length + margin}}, 0},
		{"counted from the last grant", func(l *Leader) { l.Grant("a", renewal(3), at(500*ms)) }, length + margin,
			[]Expiry{{"b", 1, length + margin}}, 500*ms + length + margin},
		{"a grant out of order moves nothing back", func(l *Leader) {
			l.Grant("a", renewal(3), at(500*ms))
			l.Grant("a", renewal(3), at(100*ms))
		}, 400*ms + length + margin, []Expiry{{"b", 1, 400*ms + length + margin}}, 500*ms + length + margin},
		{"a grant for an old session does not count", func(l *Leader) { l.Grant("a", renewal(2), at(500*ms)) }, length + margin,
			[]Expiry{{"a", 3, length + margin}, {"b", 1, length + margin}}, 0},
		{"a lease that is over is not counted", func(l *Leader) {
			l.Observe(map[string]Record{"a": {Session: 3}, "b": {Session: 1, Active: true}}, at(1))
		}, length + margin, []Expiry{{"b", 1, length + margin}}, 0},
		{"a new session counts from when it was seen", func(l *Leader) {
			l.Observe(map[string]Record{"a": {Session: 4, Active: true}, "b": {Session: 1, Active: true}}, at(700*ms))
		}, length + margin, []Expiry{{"b", 1, length + margin}}, 700*ms + length + margin},
		{"once only", func(l *Leader) { l.Due(at(length + margin)) }, length + margin + 1, nil, 0},
		{"again after a refusal", func(l *Leader) { l.Due(at(length + margin)); l.Failed("a", 3) }, length + margin + 1,
			[]Expiry{{"a", 3, length + margin + 1}}, 0},
		{"a refusal of another session changes nothing", func(l *Leader) { l.Due(at(length + margin)); l.Failed("a", 2) },
			length + margin + 1, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLeader(7, length, margin, at(0))
			l.Observe(active, at(0))
			if tt.run != nil {
				tt.run(l)
			}
			got, next := l.Due(at(tt.now))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("expired (-want +got):\n%s", diff)
			}
			want := clock.Boottime(0)
			if tt.next != 0 {
				want = at(tt.next)
			}
			if next != want {
				t.Errorf("next at %v, want %v", next, want)
			}
		})
	}
}

// While an expiry is under way, and after one of unknown outcome, nothing is granted.
func TestNoGrantDuringExpiry(t *testing.T) {
	l := NewLeader(7, length, margin, at(0))
	l.Observe(map[string]Record{"a": {Session: 3, Active: true}}, at(0))
	r := Renewal{Session: 3, ID: 1}
	if !l.Grant("a", r, at(0)) || l.Grant("b", r, at(0)) {
		t.Fatal("grants before expiry")
	}
	l.Due(at(length + margin))
	if l.Grant("a", r, at(length+margin)) {
		t.Error("granted while being expired")
	}
	l.Observe(map[string]Record{"a": {Session: 3, Active: true}}, at(length+margin+1))
	if l.Grant("a", r, at(length+margin+1)) || len(l.Retry()) != 1 {
		t.Error("granted while the outcome is unknown")
	}
	l.Failed("a", 3)
	if !l.Grant("a", r, at(length+margin+2)) || len(l.Retry()) != 0 || l.LastGrant("a") != at(length+margin+2) {
		t.Error("not granted after the expiry was refused")
	}
}

// Whatever the delays, the leader declares a lease over only after the holder has counted it over: holder and leader on
// clocks that differ by a constant and by a drift within the margin.
func TestLeaderOutlastsHolder(t *testing.T) {
	for _, drift := range []float64{-0.05, 0, 0.05} {
		for _, delay := range []time.Duration{0, 10 * ms, 300 * ms, 1700 * ms, 5 * time.Second} {
			holderClock := func(real time.Duration) clock.Boottime {
				return clock.Boottime(float64(real)*(1+drift)) + 12345
			}
			h := &Holder{Length: length}
			h.Begin(1)
			l := NewLeader(1, length, margin, at(0))
			l.Observe(map[string]Record{"a": {Session: 1, Active: true}}, at(0))
			r := renew(t, h, holderClock(0))
			l.Grant("a", r, at(delay)) // arrives, is read and granted after delay
			h.Granted(r)
			over := delay + length + margin
			if got, _ := l.Due(at(over)); len(got) != 1 {
				t.Fatalf("delay %s: not expired", delay)
			}
			if h.Live(holderClock(over)) {
				t.Errorf("drift %v, delay %s: expired while the holder still counts it", drift, delay)
			}
		}
	}
}

// heard is a beat that came from b.
type heard struct {
	at   time.Duration
	link int
	us   bool // b says that it hears us
}

// beats come every 100 ms, from the first to before the last.
func beats(first, last time.Duration, link int, us bool) []heard {
	var out []heard
	for d := first; d < last; d += 100 * ms {
		out = append(out, heard{d, link, us})
	}
	return out
}

func inOrder(lists ...[]heard) []heard {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b heard) int { return int(a.at - b.at) })
	return all
}

// listen plays the beats to an account for 3 s and returns its events.
func listen(t *testing.T, beats []heard) []Event {
	t.Helper()
	p := NewPeers("a", token)
	p.Expect([]string{"a", "b"}, at(0))
	var got []Event
	for now := time.Duration(0); now < 3*time.Second; now += 50 * ms {
		for ; len(beats) > 0 && beats[0].at <= now; beats = beats[1:] {
			beat := Beat{}
			if beats[0].us {
				beat.Hears = []string{"a"}
			}
			p.Heard("b", beats[0].link, beat, at(now))
		}
		events, paused := p.Tick(at(now))
		if paused != 0 {
			t.Fatalf("paused for %s", paused)
		}
		got = append(got, events...)
	}
	return got
}

func TestPeers(t *testing.T) {
	event := func(kind EventKind, link int, since time.Duration) Event {
		return Event{Kind: kind, Node: "b", Link: link, Since: at(since)}
	}
	const s = time.Second
	tests := []struct {
		name  string
		beats []heard
		want  []Event
	}{
		{"regular", beats(0, 3*s, 0, true), nil},
		{"never", nil, []Event{event(Suspect, 0, 0)}},
		{"silent from 1 s, back at 2.5 s", inOrder(beats(0, s, 0, true), beats(2500*ms, 3*s, 0, true)),
			[]Event{event(Suspect, 0, 900*ms), event(Alive, 0, 2500*ms), event(LinkUp, 0, 2500*ms)}},
		{"one of two links", inOrder(beats(0, 3*s, 0, true), beats(0, s, 1, true)),
			[]Event{event(LinkDown, 1, 900*ms)}},
		{"it stops hearing us", inOrder(beats(0, s, 0, true), beats(s, 3*s, 0, false)),
			[]Event{event(OneWay, 0, 900*ms)}},
		{"it never heard us, so far", beats(0, 3*s, 0, false), nil},
		{"it hears us again", inOrder(beats(0, 500*ms, 0, true), beats(500*ms, 2*s, 0, false), beats(2*s, 3*s, 0, true)),
			[]Event{event(OneWay, 0, 400*ms), event(BothWays, 0, 2*s)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, listen(t, tt.beats)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// A process that was paused itself does not accuse the others.
func TestPauseAccusesNobody(t *testing.T) {
	p := NewPeers("a", token)
	p.Expect([]string{"a", "b"}, at(0))
	p.Heard("b", 0, Beat{}, at(0))
	p.Tick(at(0))
	events, paused := p.Tick(at(12 * time.Second))
	if len(events) != 0 || paused != 12*time.Second {
		t.Errorf("events %v, paused %s", events, paused)
	}
	if events, _ := p.Tick(at(12*time.Second + token/2)); len(events) != 0 {
		t.Errorf("events %v", events)
	}
	if events, _ := p.Tick(at(12*time.Second + token)); len(events) != 1 || events[0].Kind != Suspect {
		t.Errorf("events %v, want a suspicion a token after the pause", events)
	}
}

func TestOnline(t *testing.T) {
	p := NewPeers("a", token)
	p.Expect([]string{"a", "b", "c"}, at(0))
	p.Heard("b", 0, Beat{}, at(0))
	p.Heard("stranger", 0, Beat{}, at(0))
	if !p.Online("a", at(0)) || !p.Online("b", at(0)) || p.Online("c", at(0)) || p.Online("stranger", at(0)) {
		t.Error("who is online is wrong")
	}
	if diff := cmp.Diff([]string{"b"}, p.Hears(at(0))); diff != "" {
		t.Error(diff)
	}
	if p.Online("b", at(token)) || len(p.Hears(at(token))) != 0 || p.LastHeard("b") != at(0) || p.LastHeard("c") != 0 {
		t.Error("silence does not count")
	}
	p.SetToken(2 * token)
	if !p.Online("b", at(token)) {
		t.Error("the new token does not count")
	}
	p.Expect([]string{"a"}, at(token))
	if p.Online("b", at(token)) {
		t.Error("a removed member is online")
	}
}

// The only voter leads on after it stood still. Its own lease is expired when its guard has had the time to end what ran in it.
func TestLeaderThatStoodStill(t *testing.T) {
	at := func(d time.Duration) clock.Boottime { return clock.Boottime(time.Hour).Add(d) }
	l := NewLeader(3, 1500*time.Millisecond, 200*time.Millisecond, at(0))
	l.Observe(map[string]Record{"a": {Session: 1, Active: true}}, at(0))
	l.Paused(at(10 * time.Second))
	if due, _ := l.Due(at(11 * time.Second)); len(due) > 0 {
		t.Errorf("expired right after the pause: %v", due)
	}
	if due, _ := l.Due(at(11700 * time.Millisecond)); len(due) != 1 {
		t.Errorf("not expired: %v", due)
	}
	var none *Leader
	none.Paused(at(0))
}
