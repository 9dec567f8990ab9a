package probe

import (
	"math/rand"
	"testing"

	"holdfast/internal/balancer/pool"
)

func TestNote(t *testing.T) {
	cases := []struct {
		name       string
		fall, rise int
		results    string // + good, - bad
		want       string // health after each: ? u d
	}{
		{"defaults", 2, 1, "+--+-+--", "uuduuuud"},
		{"first failure counts", 3, 1, "-+---", "duuud"},
		{"rise of three", 1, 3, "+++-+++", "??udddu"},
		{"a failure between starts the count again", 1, 2, "-+-++", "ddddu"},
		{"zero thresholds mean one", 0, 0, "+-+", "udu"},
	}
	letters := map[pool.Health]byte{pool.Unknown: '?', pool.Up: 'u', pool.Down: 'd'}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			counter := Counter{Fall: c.fall, Rise: c.rise}
			last := byte('?')
			for i := range c.results {
				changed := counter.Note(c.results[i] == '+', "refused")
				h, fault := counter.Health()
				if letters[h] != c.want[i] {
					t.Fatalf("after %q: %c, want %c", c.results[:i+1], letters[h], c.want[i])
				}
				if changed != (letters[h] != last) {
					t.Fatalf("after %q: changed is %v", c.results[:i+1], changed)
				}
				if (fault != "") != (h == pool.Down) {
					t.Fatalf("after %q: fault %q with health %v", c.results[:i+1], fault, h)
				}
				last = letters[h]
			}
		})
	}
}

// naive answers from the whole history instead of from counts.
func naive(history []bool, fall, rise int) pool.Health {
	h := pool.Unknown
	for i := range history {
		run := 1
		for run <= i && history[i-run] == history[i] {
			run++
		}
		switch {
		case history[i] && run >= rise:
			h = pool.Up
		case !history[i] && (run >= fall || h == pool.Unknown):
			h = pool.Down
		}
	}
	return h
}

func TestNoteAgainstNaive(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 3000 {
		fall, rise := 1+rnd.Intn(4), 1+rnd.Intn(4)
		c := Counter{Fall: fall, Rise: rise}
		var history []bool
		for range rnd.Intn(40) {
			ok := rnd.Intn(3) > 0
			history = append(history, ok)
			c.Note(ok, "x")
			if got, _ := c.Health(); got != naive(history, fall, rise) {
				t.Fatalf("fall %d, rise %d, history %v: %v, want %v", fall, rise, history, got, naive(history, fall, rise))
			}
		}
	}
}

func TestDistrust(t *testing.T) {
	c := Counter{Fall: 2, Rise: 2}
	c.Note(true, "")
	c.Note(true, "")
	if !c.Distrust("demoted") {
		t.Error("distrust changed nothing")
	}
	if h, fault := c.Health(); h != pool.Down || fault != "demoted" {
		t.Errorf("health %v, fault %q", h, fault)
	}
	if c.Distrust("again") {
		t.Error("distrust of what is down is a change")
	}
	c.Note(true, "")
	if h, _ := c.Health(); h != pool.Down {
		t.Error("one good probe of two brought it up")
	}
	if c.Note(true, ""); c.health != pool.Up {
		t.Error("two good probes did not bring it up")
	}
}
