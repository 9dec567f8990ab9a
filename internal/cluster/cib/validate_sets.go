package cib

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sets checks what may stand anywhere: name-value pairs, rules and their dates, utilization, references to sets.
func (v *validator) sets(e *Element) {
	for _, c := range e.childList() {
		if ref, ok := c.Lookup("id-ref"); ok && v.ids[ref] == nil {
			v.errorf(c, "there is no <%s> with the id %q", c.Name, ref)
		}
		switch c.Name {
		case "nvpair":
			_, named := c.Lookup("name")
			if _, ref := c.Lookup("id-ref"); !named && !ref {
				v.errorf(c, "the attribute name is missing")
			}
			if e.Name == "utilization" {
				v.number(c, "value", c.Get("value"))
			}
		case "rule":
			v.score(c)
			v.role(c, "role")
		case "date_expression":
			v.dates(c)
		case "date_spec", "duration":
			v.dateParts(c)
		}
		v.sets(c)
	}
}

func (v *validator) number(e *Element, what, s string) {
	if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err != nil || n < -1<<31 || n >= 1<<31 {
		v.errorf(e, "%s is %q: it is a whole number of at most 31 bits", what, s)
	}
}

func (v *validator) dates(e *Element) {
	switch op := e.Get("operation"); op {
	case "", "gt", "lt", "in_range":
	case "date_spec":
		if e.Child("date_spec") == nil {
			v.errorf(e, "the operation date_spec needs a <date_spec> inside")
		}
		return
	default:
		v.errorf(e, "the operation is %q: it is in_range, gt, lt or date_spec", op)
	}
	for _, name := range []string{"start", "end"} {
		if s, ok := e.Lookup(name); ok {
			if _, fine := ParseDate(s); !fine {
				v.errorf(e, "%s is %q, which is no date: write YYYY-MM-DD HH:MM:SS, in UTC, or with an offset", name, s)
			}
		}
	}
}

// dateParts checks the numbers (or, in a date_spec, ranges) of a date.
func (v *validator) dateParts(e *Element) {
	for _, a := range e.Attrs {
		switch a.Name {
		case "seconds", "minutes", "hours", "days", "monthdays", "weekdays", "yeardays", "weeks", "months", "years", "weekyears", "moon":
		default:
			continue
		}
		if e.Name == "duration" {
			v.number(e, a.Name, a.Value)
		} else if !isDateRange(a.Value) {
			v.errorf(e, "%s is %q: it is a number, or a range such as 9-16", a.Name, a.Value)
		}
	}
}

// isDateRange tells whether s is N, N-M, N- or -N, with at most nine digits each.
func isDateRange(s string) bool {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		return isShortNumber(s)
	}
	return (low != "" || high != "") && (low == "" || isShortNumber(low)) && (high == "" || isShortNumber(high))
}

func isShortNumber(s string) bool {
	const digits = 9
	return s != "" && len(s) <= digits && strings.Trim(s, "0123456789") == ""
}

// ParseDate reads a date of a rule, in the ISO 8601 forms that Pacemaker accepts and people use; without an offset it is UTC.
func ParseDate(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, l := range [...]string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00", "2006-01-02T15:04:05",
		"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02", "2006-002", "2006-002T15:04", "2006-002T15:04:05",
		"20060102T150405", "20060102"} {
		if t, err := time.Parse(l, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// others checks what hangs on the resources: patterns, tags, fencing levels, alerts.
func (v *validator) others(conf *Element) {
	for _, c := range conf.Child("constraints").ChildrenNamed("rsc_location") {
		if p := c.Get("rsc-pattern"); p != "" {
			if _, err := regexp.CompilePOSIX(p); err != nil {
				v.errorf(c, "rsc-pattern is no regular expression: %v", err)
			}
		}
	}
	for _, tag := range conf.Child("tags").ChildrenNamed("tag") {
		for _, ref := range tag.ChildrenNamed("obj_ref") {
			if v.ids[ref.ID()] == nil {
				v.errorf(tag, "there is nothing with the id %q to be tagged", ref.ID())
			}
		}
	}
	for _, level := range conf.Child("fencing-topology").ChildrenNamed("fencing-level") {
		for device := range strings.SplitSeq(level.Get("devices"), ",") {
			if d := v.resources[strings.TrimSpace(device)]; d == nil {
				v.warnf(level, "there is no fence device %q", strings.TrimSpace(device))
			}
		}
	}
	for _, a := range conf.Child("alerts").ChildrenNamed("alert") {
		if a.Get("path") == "" {
			v.errorf(a, "an alert needs a path: the program to run")
		}
	}
}

// needsID tells whether the schema wants an id of an element.
func needsID(e *Element) bool {
	switch e.Name {
	case "primitive", "group", "clone", "master", "bundle", "template", "op", "rsc_location", "rsc_colocation", "rsc_order", "rsc_ticket",
		"node", "tag", "alert", "recipient", "acl_role", "acl_target":
		return true
	case "nvpair", "rule", "meta_attributes", "instance_attributes", "utilization", "cluster_property_set", "resource_set":
		_, ref := e.Lookup("id-ref")
		return !ref
	}
	return false
}
