package cib

import (
	"fmt"
	"strings"
	"testing"
)

// wrap puts resources and constraints into a whole CIB; they begin on its fourth line.
func wrap(resources, constraints string) string {
	return fmt.Sprintf("<cib>\n<configuration><crm_config/><nodes><node id=\"1\" uname=\"n1\"/></nodes>\n<resources>\n%s</resources>\n<constraints>%s</constraints></configuration><status/></cib>", resources, constraints)
}

const fs = `<primitive id="fs" class="ocf" provider="heartbeat" type="Filesystem"/>`

const db = `<primitive id="db" class="ocf" provider="heartbeat" type="mysql"/>` + "\n"

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name, resources, constraints, want string
	}{
		{"nothing wrong", db, `<rsc_location id="l" rsc="db" node="n1" score="INFINITY"/>`, ""},
		{"an id used twice", db + db, "", `error: line 5: <primitive id="db">: the id "db" is already that of a <primitive>`},
		{"an id that is a node's too", `<primitive id="n1" class="lsb" type="x"/>`, "", ""},
		{"a bad id", `<primitive id="1 db" class="lsb" type="x"/>`, "", "not a usable id"},
		{"no provider", `<primitive id="a" class="ocf" type="x"/>`, "", "needs a provider"},
		{"no class", `<primitive id="a" type="x"/>`, "", "needs a class"},
		{"an unknown class", `<primitive id="a" class="oci" type="x"/>`, "", `unknown class "oci"`},
		{"an interval that is none", `<primitive id="a" class="lsb" type="x"><operations><op id="o" name="monitor" interval="often"/></operations></primitive>`, "", "interval"},
		{"two monitors at one interval", `<primitive id="a" class="lsb" type="x"><operations><op id="o" name="monitor" interval="10"/><op id="p" name="monitor" interval="10s"/></operations></primitive>`, "", "give them different ones"},
		{"a group without members", `<group id="g"/>`, "", "no resource inside"},
		{"a clone with two", `<clone id="c">` + strings.ReplaceAll(db, `"db"`, `"x"`) + strings.ReplaceAll(db, `"db"`, `"y"`) + `</clone>`, "", "put them in a group"},
		{"a clone in a group", `<group id="g"><clone id="c">` + db + `</clone></group>`, "", "cannot be inside"},
		{"a number that is none", `<clone id="c"><meta_attributes id="m"><nvpair id="n" name="clone-max" value="two"/></meta_attributes>` + db + `</clone>`, "", "not a number"},
		{"more instances than can be decided about", `<clone id="c"><meta_attributes id="m"><nvpair id="n" name="clone-max" value="2000000000"/></meta_attributes>` + db + `</clone>`, "", "clone-max of c is 2000000000: more than 1000"},
		{"a target role that is none", `<primitive id="a" class="lsb" type="x"><meta_attributes id="m"><nvpair id="n" name="target-role" value="Up"/></meta_attributes></primitive>`, "", `"Up" is no role`},
		{"a colocation with nothing there", db, `<rsc_colocation id="c" rsc="db" with-rsc="fs"/>`, `there is no resource "fs"`},
		{"a score that is none", db, `<rsc_location id="l" rsc="db" node="n1" score="much"/>`, `score is "much"`},
		{"a score with a fraction", db, `<rsc_location id="l" rsc="db" node="n1" score="1.0"/>`, `warning: line 6: <rsc_location id="l">: score is "1.0", and counts as 1`},
		{"a node that is not there", db, `<rsc_location id="l" rsc="db" node="n7" score="1"/>`, `warning: line 6: <rsc_location id="l">: there is no node named "n7"`},
		{"an order without then", db, `<rsc_order id="o" first="db"/>`, "the attribute then is missing"},
		{"an order after itself", db, `<rsc_order id="o" first="db" then="db"/>`, "after itself"},
		{"an unknown kind of order", db, `<rsc_order id="o" first="db" then="db" kind="Maybe"/>`, "kind is"},
		{"a loop of two", db + fs, `<rsc_order id="o" first="db" then="fs"/><rsc_order id="p" first="fs" then="db"/>`, "these orderings make a loop, so that nothing in it can start: db, then fs, then db, by o, p"},
		{"an optional loop", db + fs, `<rsc_order id="o" first="db" then="fs" kind="Optional"/><rsc_order id="p" first="fs" then="db"/>`, ""},
		{"a loop by score 0", db + fs, `<rsc_order id="o" first="db" then="fs" score="0"/><rsc_order id="p" first="fs" then="db"/>`, ""},
		{"a loop through a group", `<group id="g">` + db + fs + `</group>`, `<rsc_order id="o" first="fs" then="db"/>`, "db, then fs, then db, by o"},
		{"an order of a group and its member", `<group id="g">` + db + fs + `</group>`, `<rsc_order id="o" first="g" then="fs"/>`, "make a loop"},
		{"a loop through a promotion", `<clone id="c">` + db + `</clone>` + fs, `<rsc_order id="o" first="c" first-action="promote" then="fs" then-action="start"/><rsc_order id="p" first="fs" then="c" then-action="start"/>`, "make a loop"},
		{"a start after the demotion", `<clone id="c">` + db + `</clone>` + fs, `<rsc_order id="o" first="c" first-action="demote" then="fs" then-action="start"/><rsc_order id="p" first="fs" then="c" then-action="start"/>`, ""},
		{"a loop of sets", db + fs, `<rsc_order id="o"><resource_set id="s"><resource_ref id="db"/></resource_set><resource_set id="u"><resource_ref id="fs"/></resource_set></rsc_order><rsc_order id="p" first="fs" then="db"/>`, "make a loop"},
		{"no id", `<primitive class="lsb" type="x"/>`, "", "line 4: <primitive>: it needs an id"},
		{"a set that is not there", `<primitive id="a" class="lsb" type="x"><meta_attributes id-ref="m"/></primitive>`, "", `there is no <meta_attributes> with the id "m"`},
		{"a template that is not there", `<primitive id="a" template="t"/>`, "", `the template "t" does not exist`},
		{"a pair without a name", `<primitive id="a" class="lsb" type="x"><meta_attributes id="m"><nvpair id="n" value="1"/></meta_attributes></primitive>`, "", "the attribute name is missing"},
		{"a room that is no number", `<primitive id="a" class="lsb" type="x"><utilization id="m"><nvpair id="n" name="memory" value="99999999999999999999"/></utilization></primitive>`, "", "at most 31 bits"},
		{"a date that is none", db, `<rsc_location id="l" rsc="db"><rule id="r" score="1"><date_expression id="d" operation="gt" start="2020-13-45"/></rule></rsc_location>`, "which is no date"},
		{"an operation on dates that is none", db, `<rsc_location id="l" rsc="db"><rule id="r" score="1"><date_expression id="d" operation="near"/></rule></rsc_location>`, "in_range, gt, lt or date_spec"},
		{"no date_spec", db, `<rsc_location id="l" rsc="db"><rule id="r" score="1"><date_expression id="d" operation="date_spec"/></rule></rsc_location>`, "needs a <date_spec>"},
		{"hours that are none", db, `<rsc_location id="l" rsc="db"><rule id="r" score="1"><date_expression id="d" operation="date_spec"><date_spec id="s" hours="nine"/></date_expression></rule></rsc_location>`, "a range such as 9-16"},
		{"an absurd duration", db, `<rsc_location id="l" rsc="db"><rule id="r" score="1"><date_expression id="d" operation="in_range" start="2020-01-01"><duration id="s" years="99999999999"/></date_expression></rule></rsc_location>`, "at most 31 bits"},
		{"a rule's score that is none", db, `<rsc_location id="l" rsc="db"><rule id="r" score="lots"/></rsc_location>`, `score is "lots"`},
		{"a pattern that is none", db, `<rsc_location id="l" rsc-pattern="(" node="n1" score="1"/>`, "no regular expression"},
		{"an action that is none", db, `<rsc_order id="o" first="db" first-action="begin" then="db"/>`, "first-action is"},
	} {
		d, err := Parse([]byte(wrap(c.resources, c.constraints)))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var lines []string
		for _, p := range Validate(d) {
			lines = append(lines, p.String())
		}
		all := strings.Join(lines, "\n")
		if c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s: got\n%s\nwant %q", c.name, all, c.want)
		}
	}
}

func TestEmptyIsValid(t *testing.T) {
	if p := Validate(Empty("c")); len(p) > 0 {
		t.Errorf("an empty CIB has problems: %v", p)
	}
}
