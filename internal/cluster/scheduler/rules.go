package scheduler

import (
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
)

// ruleContext is what a rule is tested against.
type ruleContext struct {
	now  time.Time
	node *node
	rsc  *resource
	// op name and interval, for rules of operation defaults
	opName     string
	opInterval time.Duration
	// class, provider, typ of the resource when rsc is not built yet
	class, provider, typ string
}

// testRule evaluates a <rule> (or the rule an id-ref names).
func (c *cluster) testRule(rule *cib.Element, x ruleContext) bool {
	rule = c.deref(rule)
	or := strings.EqualFold(rule.Get("boolean-op"), "or")
	result, tested := !or, false
	for _, e := range rule.Children {
		ok, known := c.testExpression(e, x)
		if !known {
			continue
		}
		tested = true
		if or && ok {
			return true
		}
		if !or && !ok {
			return false
		}
	}
	return tested && result && !or
}

// deref follows id-ref.
func (c *cluster) deref(e *cib.Element) *cib.Element {
	ref := e.Get("id-ref")
	if ref == "" {
		return e
	}
	if t := c.sets[ref]; t != nil {
		return t
	}
	return e
}

func (c *cluster) testExpression(e *cib.Element, x ruleContext) (ok, known bool) {
	switch e.Name {
	case "rule":
		return c.testRule(e, x), true
	case "expression":
		return testAttribute(e, x), true
	case "date_expression":
		return c.testDate(e, x.now), true
	case "rsc_expression":
		return matchesField(e, "class", x.class) && matchesField(e, "provider", x.provider) && matchesField(e, "type", x.typ), true
	case "op_expression":
		return testOp(e, x), true
	}
	return false, false
}

func matchesField(e *cib.Element, name, value string) bool {
	want, given := e.Lookup(name)
	return !given || want == value
}

func testOp(e *cib.Element, x ruleContext) bool {
	if e.Get("name") != x.opName {
		return false
	}
	s, given := e.Lookup("interval")
	if !given {
		return true
	}
	iv, err := cib.ParseInterval(s)
	return err == nil && iv == x.opInterval
}

// testAttribute compares a node attribute with a value.
func testAttribute(e *cib.Element, x ruleContext) bool {
	if x.node == nil {
		return false
	}
	have, defined := x.node.attr(e.Get("attribute"))
	want := e.Get("value")
	if src := e.Get("value-source"); x.rsc != nil && src == "param" {
		want = cib.Instance(x.rsc.xml, want)
	} else if x.rsc != nil && src == "meta" {
		want = x.rsc.meta[want]
	}
	switch e.Get("operation") {
	case "defined":
		return defined
	case "not_defined":
		return !defined
	case "eq":
		return defined && compareValues(have, want, e.Get("type")) == 0
	case "ne":
		return !defined || compareValues(have, want, e.Get("type")) != 0
	}
	if !defined {
		return false
	}
	typ := e.Get("type")
	if typ == "" {
		typ = "number"
	}
	cmp := compareValues(have, want, typ)
	switch e.Get("operation") {
	case "lt":
		return cmp < 0
	case "lte":
		return cmp <= 0
	case "gt":
		return cmp > 0
	case "gte":
		return cmp >= 0
	}
	return false
}

// compareValues compares as the expression's type says: numbers, versions, or strings without regard to case.
func compareValues(a, b, typ string) int {
	if typ == "version" {
		return compareVersions(a, b)
	}
	if typ == "integer" || typ == "number" {
		x, errX := strconv.ParseFloat(a, 64)
		y, errY := strconv.ParseFloat(b, 64)
		if errX == nil && errY == nil {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	}
	return strings.Compare(strings.ToLower(a), strings.ToLower(b))
}

func compareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		if d := versionPart(x, i) - versionPart(y, i); d != 0 {
			return d
		}
	}
	return 0
}

func versionPart(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return 0
	}
	return n
}

// testDate evaluates a date expression at now and notes when its value will change.
func (c *cluster) testDate(e *cib.Element, now time.Time) bool {
	start, hasStart := cib.ParseDate(e.Get("start"))
	end, hasEnd := cib.ParseDate(e.Get("end"))
	if d := e.Child("duration"); d != nil && hasStart && !hasEnd {
		end, hasEnd = addDuration(start, d), true
	}
	switch e.Get("operation") {
	case "gt":
		c.noteDate(start, hasStart)
		return hasStart && now.After(start)
	case "lt":
		c.noteDate(end, hasEnd)
		return hasEnd && now.Before(end)
	case "date_spec":
		return matchesSpec(e.Child("date_spec"), now)
	}
	c.noteDate(start, hasStart)
	c.noteDate(end, hasEnd)
	return !(hasStart && now.Before(start)) && !(hasEnd && now.After(end)) && (hasStart || hasEnd)
}

func (c *cluster) noteDate(t time.Time, has bool) {
	if has {
		c.recheckAt(t)
	}
}

func addDuration(t time.Time, d *cib.Element) time.Time {
	num := func(name string) int {
		n, err := strconv.Atoi(d.Get(name))
		if err != nil {
			return 0
		}
		return n
	}
	t = t.AddDate(num("years"), num("months"), num("weeks")*7+num("days"))
	return t.Add(time.Duration(num("hours"))*time.Hour + time.Duration(num("minutes"))*time.Minute + time.Duration(num("seconds"))*time.Second)
}

// matchesSpec tests a <date_spec>: every field given must hold the present value, alone or in a range.
func matchesSpec(spec *cib.Element, now time.Time) bool {
	if spec == nil {
		return false
	}
	weekYear, week := now.ISOWeek()
	weekday := int(now.Weekday())
	if weekday == 0 {
		weekday = 7
	}
	fields := []struct {
		name  string
		value int
	}{
		{"seconds", now.Second()}, {"minutes", now.Minute()}, {"hours", now.Hour()}, {"monthdays", now.Day()},
		{"weekdays", weekday}, {"yeardays", now.YearDay()}, {"months", int(now.Month())}, {"weeks", week},
		{"years", now.Year()}, {"weekyears", weekYear},
	}
	for _, f := range fields {
		if s, given := spec.Lookup(f.name); given && !inRange(s, f.value) {
			return false
		}
	}
	return true
}

// inRange tests "5", "3-7", "3-" or "-7".
func inRange(s string, v int) bool {
	low, high, isRange := strings.Cut(s, "-")
	lo, errLo := strconv.Atoi(low)
	if !isRange {
		return errLo == nil && v == lo
	}
	hi, errHi := strconv.Atoi(high)
	return (low == "" || errLo == nil && v >= lo) && (high == "" || errHi == nil && v <= hi)
}
