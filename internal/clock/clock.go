// Package clock is the seam between the project and the machine's clocks. Shells hold a Source; cores get `now` as an
// argument and never see this package's System.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boottime is a reading of CLOCK_BOOTTIME: nanoseconds since this host booted, running through suspend. Readings of
// different processes of one host may be compared; readings of different hosts may not.
type Boottime int64

// Add returns the reading d later.
func (b Boottime) Add(d time.Duration) Boottime { return b + Boottime(d) }

// Sub returns the time from earlier to b.
func (b Boottime) Sub(earlier Boottime) time.Duration { return time.Duration(b - earlier) }

// Source gives the two clocks the project uses: Boottime for every lease, timeout and interval, Wall only for what
// people read (logs, CIB timestamps, rules with dates).
type Source interface {
	Boottime() Boottime
	Wall() time.Time
}

// System is the machine's own clocks.
type System struct{}

// Boottime reads CLOCK_BOOTTIME. It panics if the kernel refuses, which no supported kernel does.
func (System) Boottime() Boottime {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock: CLOCK_BOOTTIME is not readable: " + err.Error())
	}
	return Boottime(ts.Nano())
}

// Wall reads the wall clock.
func (System) Wall() time.Time { return time.Now() }
