package resync

import (
	"time"

	"holdfast/internal/block"
)

// ceiling is the most a resync asks for: a rate in bytes per second, 0 for none, and the credit that has come together since
// the last request. A request may overdraw the credit; the next one waits until that is made up for.
type ceiling struct {
	rate   int64
	credit int64
	at     time.Duration
}

// SetRate bounds the resync to so many bytes per second from now on; 0 takes the bound away.
func (t *Target) SetRate(now time.Duration, rate int64) {
	if rate != t.limit.rate {
		t.limit = ceiling{rate: rate, at: now}
	}
}

// Rate is the bound in bytes per second, 0 if there is none.
func (t *Target) Rate() int64 { return t.limit.rate }

// open tells whether more may be asked for now.
func (c *ceiling) open(now time.Duration) bool {
	if c.rate == 0 {
		return true
	}
	if d := now - c.at; d > 0 {
		burst := max(int64(float64(c.rate)*block.ResyncBurst.Seconds()), 1)
		c.credit = min(c.credit+int64(float64(c.rate)*d.Seconds()), burst)
		c.at = now
	}
	return c.credit > 0
}

func (c *ceiling) take(bytes int64) {
	if c.rate != 0 {
		c.credit -= bytes
	}
}
