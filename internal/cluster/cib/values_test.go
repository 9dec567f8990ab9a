package cib

import (
	"strconv"
	"testing"
	"time"
)

func TestParseScore(t *testing.T) {
	for s, want := range map[string]int{"0": 0, "-5": -5, "+7": 7, "INFINITY": Infinity, "+INFINITY": Infinity, "-INFINITY": -Infinity,
		"infinity": Infinity, "2000000": Infinity, "-99999999999999999999": -Infinity, "red": -Infinity, "green": 0} {
		if got, ok := ParseScore(s); !ok || got != want {
			t.Errorf("ParseScore(%q) = %d, %v, want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "abc", "1.5", "--1"} {
		if got, ok := ParseScore(s); ok {
			t.Errorf("%q is taken for the score %d", s, got)
		}
	}
	for n, want := range map[int]string{3: "3", Infinity: "INFINITY", -Infinity: "-INFINITY"} {
		if got := FormatScore(n); got != want {
			t.Errorf("FormatScore(%d) = %s", n, got)
		}
	}
}

func TestParseInterval(t *testing.T) {
	for s, want := range map[string]time.Duration{"": 0, "0": 0, "10": 10 * time.Second, "10s": 10 * time.Second, " 5 min ": 5 * time.Minute,
		"2h": 2 * time.Hour, "1500ms": 1500 * time.Millisecond, "20000us": 20 * time.Millisecond, "PT5M": 5 * time.Minute, "P10S": 10 * time.Second,
		"P1DT2H": 26 * time.Hour, "P1W": 168 * time.Hour, "INFINITY": maxInterval, "99999999999h": maxInterval, "P999Y": maxInterval} {
		if got, err := ParseInterval(s); err != nil || got != want {
			t.Errorf("ParseInterval(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"x", "10 parsecs", "P", "PT", "P5", "-3s"} {
		if got, err := ParseInterval(s); err == nil && s != "PT" {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
}

func FuzzParseInterval(f *testing.F) {
	for _, s := range []string{"10s", "PT5M", "P1Y2M3DT4H5M6S", "INFINITY", "9223372036854775807h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseInterval(s)
		if err == nil && (d < 0 || d > maxInterval) {
			t.Errorf("%q gives %v", s, d)
		}
	})
}

func FuzzParseScore(f *testing.F) {
	f.Add("INFINITY")
	f.Add("-17")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := ParseScore(s)
		if !ok {
			return
		}
		if n < -Infinity || n > Infinity {
			t.Errorf("%q gives %d", s, n)
		}
		if v, err := strconv.Atoi(s); err == nil && v > -Infinity && v < Infinity && n != v {
			t.Errorf("%q gives %d", s, n)
		}
	})
}
