package cib

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Infinity is the score that outweighs all others; scores never exceed it.
const Infinity = infinity

// maxInterval bounds intervals and timeouts: what fits Pacemaker's milliseconds in 31 bits (about 24.8 days).
const maxInterval = (1<<31 - 1) * time.Millisecond

// ParseScore reads a score: a number, INFINITY, +INFINITY, -INFINITY, or a node health colour (red is -INFINITY, yellow and
// green are 0 unless configured). Numbers beyond infinity are cut to it. ok is false for anything else.
func ParseScore(s string) (score int, ok bool) {
	switch strings.ToLower(s) {
	case "infinity", "+infinity":
		return Infinity, true
	case "-infinity", "red":
		return -Infinity, true
	case "yellow", "green":
		return 0, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		ne, isNum := err.(*strconv.NumError)
		if !isNum || ne.Err != strconv.ErrRange {
			return 0, false
		}
	}
	return int(max(-Infinity, min(n, Infinity))), true
}

// FormatScore writes a score as ParseScore reads it.
func FormatScore(n int) string {
	switch {
	case n >= Infinity:
		return "INFINITY"
	case n <= -Infinity:
		return "-INFINITY"
	}
	return strconv.Itoa(n)
}

// ParseBool reads the booleans of the schema (true, false, yes, no, on, off, y, n, 1, 0; any case).
func ParseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "y", "1":
		return true, true
	case "false", "no", "off", "n", "0":
		return false, true
	}
	return false, false
}

// ParseInterval reads a time span: a number with a unit (us, ms, s, sec, m, min, h, hr; seconds when missing), or an ISO
// 8601 duration such as PT5M. "" is 0, "INFINITY" the longest span.
func ParseInterval(s string) (time.Duration, error) {
	t := strings.TrimSpace(s)
	switch {
	case t == "":
		return 0, nil
	case strings.EqualFold(t, "INFINITY"), strings.EqualFold(t, "+INFINITY"):
		return maxInterval, nil
	case t[0] == 'P':
		return isoDuration(t)
	}
	i := 0
	for i < len(t) && t[i] >= '0' && t[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(t[:i], 10, 64)
	unit, known := timeUnit(strings.TrimSpace(t[i:]))
	if i == 0 || !known {
		return 0, fmt.Errorf("%q is no time span: write a number and s, ms, min or h, such as 60s", s)
	}
	if err != nil || n > int64(maxInterval/unit) {
		return maxInterval, nil
	}
	return time.Duration(n) * unit, nil
}

func timeUnit(s string) (time.Duration, bool) {
	switch strings.ToLower(s) {
	case "us", "usec":
		return time.Microsecond, true
	case "ms", "msec":
		return time.Millisecond, true
	case "", "s", "sec":
		return time.Second, true
	case "m", "min":
		return time.Minute, true
	case "h", "hr":
		return time.Hour, true
	}
	return 0, false
}

// isoDuration reads P[nY][nM][nW][nD][T[nH][nM][nS]]; a year counts 365 days, a month 30. Hours and seconds, which cannot be
// mistaken, may stand without the T, as Pacemaker allows.
func isoDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no ISO 8601 duration", s)
	const day = 24 * time.Hour
	date := map[byte]time.Duration{'Y': 365 * day, 'M': 30 * day, 'W': 7 * day, 'D': day, 'H': time.Hour, 'S': time.Second}
	clock := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}
	units, total := date, time.Duration(0)
	rest := s[1:]
	if rest == "" {
		return 0, bad
	}
	for rest != "" {
		if rest[0] == 'T' {
			units, rest = clock, rest[1:]
			continue
		}
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		n, err := strconv.ParseInt(rest[:i], 10, 32)
		if err != nil || i == len(rest) || units[rest[i]] == 0 {
			return 0, bad
		}
		span := maxInterval
		if unit := units[rest[i]]; n <= int64(maxInterval/unit) {
			span = time.Duration(n) * unit
		}
		total = min(maxInterval, total+span)
		rest = rest[i+1:]
	}
	return total, nil
}
