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

const db = `<primitive id="db" class="ocf" provider="heartbeat" type="mysql"/>` + "\n"

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name, resources, constraints, want string
	}{
		{"nothing wrong", db, `<rsc_location id="l" rsc="db" node="n1" score="INFINITY"/>`, ""},
		{"an id used twice", db + db, "", `error: line 5: <primitive id="db">: the id "db" is already that of a <primitive>`},
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
		{"a target role that is none", `<primitive id="a" class="lsb" type="x"><meta_attributes id="m"><nvpair id="n" name="target-role" value="Up"/></meta_attributes></primitive>`, "", `"Up" is no role`},
		{"a colocation with nothing there", db, `<rsc_colocation id="c" rsc="db" with-rsc="fs"/>`, `there is no resource "fs"`},
		{"a score that is none", db, `<rsc_location id="l" rsc="db" node="n1" score="much"/>`, `score is "much"`},
		{"a node that is not there", db, `<rsc_location id="l" rsc="db" node="n7" score="1"/>`, `warning: line 6: <rsc_location id="l">: there is no node named "n7"`},
		{"an order without then", db, `<rsc_order id="o" first="db"/>`, "the attribute then is missing"},
		{"an order after itself", db, `<rsc_order id="o" first="db" then="db"/>`, "after itself"},
		{"an unknown kind of order", db, `<rsc_order id="o" first="db" then="db" kind="Maybe"/>`, "kind is"},
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
