package edit

import (
	"strings"
	"testing"

	"holdfast/internal/agent"
	"holdfast/internal/cluster/cib"
)

// bench is a document with a group, a promotable clone and two primitives.
func bench(t *testing.T) *Editor {
	t.Helper()
	doc, err := cib.Parse([]byte(`<cib epoch="1"><configuration><crm_config/><nodes><node id="1" uname="n1"/></nodes><resources>
<group id="g"><primitive id="a" class="ocf" provider="p" type="T"/><primitive id="b" class="ocf" provider="p" type="T"/></group>
<clone id="m"><meta_attributes id="m-meta_attributes"><nvpair id="m-p" name="promotable" value="true"/></meta_attributes><primitive id="d" class="ocf" provider="p" type="T"/></clone>
<primitive id="x" class="ocf" provider="p" type="T"/><primitive id="y" class="ocf" provider="p" type="T"/>
</resources><constraints><rsc_order id="o" first="x" then="y"/><rsc_colocation id="c" score="INFINITY"><resource_set id="c_set"><resource_ref id="x"/></resource_set></rsc_colocation>
</constraints></configuration><status/></cib>`))
	if err != nil {
		t.Fatal(err)
	}
	return &Editor{Doc: doc}
}

// layout words the tree of resources: g(a b) m(d) x y.
func layout(e *Editor) string {
	var word func(r *cib.Element) string
	word = func(r *cib.Element) string {
		var inner []string
		for _, m := range Members(r) {
			inner = append(inner, word(m))
		}
		if inner == nil {
			return r.ID()
		}
		return r.ID() + "(" + strings.Join(inner, " ") + ")"
	}
	var out []string
	for _, r := range e.Doc.Resources().Children {
		out = append(out, word(r))
	}
	return strings.Join(out, " ")
}

func TestCompounds(t *testing.T) {
	cases := []struct {
		name string
		do   func(*Editor) error
		want string // the layout, or what the error says
		fail bool
	}{
		{"group of two that stand alone", func(e *Editor) error { return e.GroupAdd("h", []string{"y", "x"}, "", "") }, "g(a b) m(d) h(y x)", false},
		{"before a member", func(e *Editor) error { return e.GroupAdd("g", []string{"x"}, "b", "") }, "g(a x b) m(d) y", false},
		{"after a member", func(e *Editor) error { return e.GroupAdd("g", []string{"x"}, "", "a") }, "g(a x b) m(d) y", false},
		{"moved within its group", func(e *Editor) error { return e.GroupAdd("g", []string{"a"}, "", "") }, "g(b a) m(d) x y", false},
		{"out of another group", func(e *Editor) error { return e.GroupAdd("h", []string{"a"}, "", "") }, "h(a) g(b) m(d) x y", false},
		{"an emptied group goes", func(e *Editor) error { return e.GroupAdd("h", []string{"a", "b"}, "", "") }, "h(a b) m(d) x y", false},
		{"beside a stranger", func(e *Editor) error { return e.GroupAdd("g", []string{"x"}, "y", "") }, "no resource 'y' in the group 'g'", true},
		{"on both sides", func(e *Editor) error { return e.GroupAdd("g", []string{"x"}, "a", "b") }, "both --before and --after", true},
		{"a clone's inside", func(e *Editor) error { return e.GroupAdd("g", []string{"d"}, "", "") }, "its parent 'm' is a clone", true},
		{"twice", func(e *Editor) error { return e.GroupAdd("g", []string{"x", "x"}, "", "") }, "named twice", true},
		{"into a clone", func(e *Editor) error { return e.GroupAdd("m", []string{"x"}, "", "") }, "'m' is a clone, not a group", true},
		{"taken out of a group", func(e *Editor) error { return e.GroupRemove("g", []string{"a"}) }, "g(b) a m(d) x y", false},
		{"ungrouped", func(e *Editor) error { return e.GroupRemove("g", nil) }, "a b m(d) x y", false},
		{"cloned", func(e *Editor) error { return e.Clone("x", "", nil, false) }, "g(a b) m(d) x-clone(x) y", false},
		{"cloned group", func(e *Editor) error { return e.Clone("g", "all", nil, true) }, "all(g(a b)) m(d) x y", false},
		{"cloned member", func(e *Editor) error { return e.Clone("a", "", nil, false) }, "it is in the group 'g'", true},
		{"cloned clone", func(e *Editor) error { return e.Clone("m", "", nil, false) }, "already a clone", true},
		{"clone with a taken name", func(e *Editor) error { return e.Clone("x", "y", nil, false) }, "'y' already exists", true},
		{"unclone by its inside", func(e *Editor) error { return e.Unclone("d") }, "g(a b) d x y", false},
		{"unclone of none", func(e *Editor) error { return e.Unclone("x") }, "not a clone", true},
		{"deleted member", func(e *Editor) error { return e.Delete("a") }, "g(b) m(d) x y", false},
		{"deleted group", func(e *Editor) error { return e.Delete("g") }, "m(d) x y", false},
		{"deleted inside of a clone", func(e *Editor) error { return e.Delete("d") }, "g(a b) x y", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := bench(t)
			err := c.do(e)
			switch {
			case c.fail && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			case !c.fail && (err != nil || layout(e) != c.want):
				t.Errorf("got %s (%v), want %s", layout(e), err, c.want)
			}
			for _, p := range cib.Validate(e.Doc) {
				if p.Severity == cib.Error && !c.fail {
					t.Errorf("left invalid: %s", p)
				}
			}
		})
	}
}

func TestDeleteTakesConstraintsAlong(t *testing.T) {
	e := bench(t)
	if err := e.Delete("x"); err != nil {
		t.Fatal(err)
	}
	if left := e.Doc.Constraints().Children; len(left) != 0 {
		t.Errorf("%d constraints speak of what is gone: %v", len(left), left)
	}
	want := "Removing Constraint - o; Removing x from set c_set; Removing constraint c; Deleting Resource - x"
	if got := strings.Join(e.Notes, "; "); got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

func TestDefaultOperations(t *testing.T) {
	m := &agent.Metadata{Actions: []agent.Action{{Name: "start", Timeout: "20"}, {Name: "monitor", Interval: "10", Role: "Promoted", Depth: "5"},
		{Name: "monitor", Interval: "11", Role: "Unpromoted", StartDelay: "2s"}, {Name: "monitor"}, {Name: "meta-data", Timeout: "5"}, {Name: "validate-all"}, {Name: "status"}}}
	e := bench(t)
	r, err := e.Create(Primitive{ID: "new", Spec: agent.Spec{Class: "ocf", Provider: "p", Type: "T"}, Agent: m})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, op := range r.Child("operations").Children {
		level, _ := cib.NVLookup(op, "instance_attributes", "OCF_CHECK_LEVEL")
		got = append(got, op.ID()+" "+op.Get("role")+" "+op.Get("timeout")+" "+op.Get("start-delay")+" "+level)
	}
	want := "new-monitor-interval-10 Promoted   5|new-monitor-interval-11 Unpromoted  2s |new-monitor-interval-60s    |new-start-interval-0s  20  "
	if strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
}

func TestIDsAreUniqueAndClean(t *testing.T) {
	e := bench(t)
	for want, give := range map[string]string{"new": "new", "x-1": "x", "ab": "a b", "web-1": "7-web-1"} {
		if got := e.freeID(give); got != want {
			t.Errorf("%q: %q, want %q", give, got, want)
		}
	}
	for _, bad := range []string{"", "1x", "a b", "ä", "x", "-x"} {
		if e.checkNew(bad, "name") == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSetsNeedResources(t *testing.T) {
	for _, s := range [][]Set{{{}}, {{Resources: []string{"x"}}, {}}, {{Resources: []string{""}}}, {{Resources: []string{"nosuch"}}}} {
		if err := bench(t).AddSets("rsc_order", s, nil); err == nil {
			t.Errorf("%v was taken", s)
		}
	}
}

func TestForceTurnsRefusalsIntoWarnings(t *testing.T) {
	m := &agent.Metadata{Params: []agent.Param{{Name: "device", Required: true}}}
	p := Primitive{ID: "new", Spec: agent.Spec{Class: "ocf", Provider: "p", Type: "T"}, Params: []Pair{{"colour", "red"}}, Agent: m}
	if _, err := bench(t).Create(p); err == nil || !strings.Contains(err.Error(), "'colour'") || !strings.Contains(err.Error(), "'device' is missing") {
		t.Errorf("both faults should be told: %v", err)
	}
	e := bench(t)
	e.Force = true
	if _, err := e.Create(p); err != nil || len(e.Warnings) != 2 {
		t.Errorf("with force: %v, %q", err, e.Warnings)
	}
}
