package cib

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// olderConfigurations are configurations of older schemas, by what is old in them. Each is also upgraded by Pacemaker's own
// cibadmin (TestUpgradesOfPacemaker).
var olderConfigurations = []struct {
	name, schema, configuration string
	want                        []string // that the result holds
	gone                        []string // that it does not
}{
	{"nothing", "pacemaker-2.3", emptySections, nil, nil},
	{"3.0 is only counted on", "pacemaker-3.0", emptySections, nil, nil},
	{"node types", "pacemaker-1.2", `<crm_config/><nodes><node id="1" uname="a" type="normal"/><node id="2" uname="b" type="ping"/><node id="3" uname="c"/></nodes><resources/><constraints/>`,
		[]string{`uname="a" type="member"`, `uname="b" type="ping"`, `uname="c"/>`}, []string{"normal"}},
	{"renamed properties", "pacemaker-1.2", properties("stonith_enabled", "no_quorum_policy", "transition_idle_timeout", "cluster_delay", "election_timeout", "batch_limit"),
		[]string{`id="n0" name="stonith-enabled" value="v0"`, "no-quorum-policy", "cluster-delay", "cluster_delay", "election-timeout", "batch_limit"}, []string{"stonith_enabled", "transition_idle"}},
	{"properties that became defaults", "pacemaker-2.10", properties("default-action-timeout", "default_resource_stickiness", "is-managed-default", "stonith-enabled"),
		[]string{`id="n0" name="timeout"`, `id="n1" name="resource-stickiness"`, `id="n2" name="is-managed"`, "_2TO3_-op-defaults", "_2TO3_-rsc-defaults"}, []string{"is-managed-default"}},
	{"only such properties", "pacemaker-2.10", properties("default-action-timeout", "expected-quorum-votes", "notification-agent"), []string{"<crm_config/>"}, []string{"expected", "notification"}},
	{"defaults that are there", "pacemaker-2.10", properties("default-action-timeout", "default-resource-stickiness", "is-managed-default") +
		`<op_defaults><meta_attributes id="o"><nvpair id="o1" name="timeout" value="9"/></meta_attributes></op_defaults><rsc_defaults><meta_attributes id="r"><nvpair id="r1" name="is-managed" value="9"/></meta_attributes></rsc_defaults>`,
		[]string{`id="o1" name="timeout" value="9"`, `id="r1"`, `id="n1" name="resource-stickiness"`}, []string{`id="n0"`, `id="n2"`}},
	{"a property that became a default, with a rule", "pacemaker-2.10",
		`<crm_config><cluster_property_set id="s"><rule id="u" score="INFINITY"><expression id="e" attribute="#uname" operation="eq" value="x"/></rule><nvpair id="n" name="is-managed-default" value="0"/></cluster_property_set></crm_config><nodes/><resources/><constraints/>`,
		[]string{"<crm_config/>"}, nil},
	{"requires of a start", "pacemaker-1.0", primitive(`<operations><op id="o" name="start" interval="0" requires="fencing"/></operations>`),
		[]string{`<meta_attributes id="_2TO3_a-meta">`, `id="_2TO3_o-meta-requires" name="requires" value="fencing"`}, []string{` requires=`}},
	{"requires of several", "pacemaker-2.10", primitive(`<operations><op id="o" name="start" interval="0" requires="fencing"/><op id="p" name="promote" interval="0" requires="nothing"/><op id="q" name="monitor" interval="3" requires="quorum"/></operations>`),
		[]string{`id="_2TO3_p-meta-requires"`}, []string{"fencing", "quorum"}},
	{"requires known of the resource", "pacemaker-2.10", primitive(`<meta_attributes id="m"><nvpair id="m1" name="requires" value="quorum"/></meta_attributes><operations><op id="o" name="start" interval="0" requires="fencing"/></operations>`),
		[]string{`id="m1"`}, []string{"fencing"}},
	{"requires among an operation's meta attributes", "pacemaker-2.10", primitive(`<operations><op id="o" name="start" interval="0"><meta_attributes id="m"><nvpair id="m1" name="requires" value="quorum"/></meta_attributes></op></operations>`),
		[]string{`<meta_attributes id="_2TO3_m">`}, nil},
	{"meta attributes among an operation's parameters", "pacemaker-2.10", primitive(`<operations><op id="o" name="monitor" interval="10"><instance_attributes id="i"><nvpair id="i1" name="requires" value="quorum"/><nvpair id="i2" name="interval" value="5"/>` +
		`<nvpair id="i3" name="OCF_CHECK_LEVEL" value="5"/><nvpair id="i4" name="timeout" value="5"/><nvpair id="i5" name="on-fail" value="5"/></instance_attributes></op></operations>`),
		[]string{`<meta_attributes id="_2TO3_o-meta">`}, []string{"requires"}},
	{"commands of a fence device", "pacemaker-2.10", primitive(`<instance_attributes id="i"><nvpair id="i1" name="pcmk_reboot_cmd" value="x"/><nvpair id="i2" name="pcmk_poweroff_cmd" value="x"/><nvpair id="i3" name="pcmk_arg_map" value="port:domain"/></instance_attributes>`),
		[]string{"pcmk_reboot_action", "pcmk_poweroff_cmd", `name="pcmk_host_argument" value="domain"`}, []string{"pcmk_arg_map"}},
	{"an argument map of two", "pacemaker-2.10", primitive(`<instance_attributes id="i"><nvpair id="i1" name="pcmk_arg_map" value="port:domain,uuid:x"/></instance_attributes>`), nil, []string{"pcmk", "instance_attributes"}},
	{"isolation", "pacemaker-2.10", primitive(`<meta_attributes id="m"><nvpair id="m1" name="isolation" value="docker"/><nvpair id="m2" name="isolation-host" value="x"/><nvpair id="m3" name="priority" value="2"/></meta_attributes>`),
		[]string{`id="m1" name="target-role" value="Stopped"`, "priority"}, []string{"isolation", "m2"}},
	{"isolation of what has a target", "pacemaker-2.10", primitive(`<meta_attributes id="m"><nvpair id="m1" name="target-role" value="Started"/><nvpair id="m2" name="isolation" value="x"/></meta_attributes>`),
		[]string{"Started"}, []string{"isolation", "Stopped"}},
	{"colocations by an attribute", "pacemaker-1.0", `<crm_config/><nodes/><resources><primitive id="a" class="lsb" type="a"/><primitive id="b" class="lsb" type="b"/></resources><constraints><rsc_colocation id="c" rsc="a" with-rsc="b" score-attribute="x"/></constraints>`,
		[]string{`with-rsc="b"/>`}, []string{"score-attribute"}},
	{"a template, a clone, a group, a bundle", "pacemaker-2.10", `<crm_config/><nodes/><resources><template id="t" class="lsb" type="x"><operations><op id="o" name="start" interval="0" requires="fencing"/></operations></template>` +
		`<clone id="c"><group id="g"><primitive id="a" class="lsb" type="x"><operations><op id="p" name="start" interval="0" requires="fencing"/></operations></primitive></group></clone>` +
		`<bundle id="B"><docker image="i"/><primitive id="b" class="lsb" type="x"><operations><op id="q" name="start" interval="0" requires="fencing"/></operations></primitive></bundle></resources><constraints/>`,
		[]string{"_2TO3_t-meta", "_2TO3_a-meta", "_2TO3_b-meta"}, nil},
	{"ACLs", "pacemaker-1.2", `<crm_config/><nodes/><resources><primitive id="x" class="lsb" type="x"/><primitive id="b" class="lsb" type="x"/></resources><constraints/><acls><acl_role id="r"><read id="q1" ref="x"/><write id="q2" xpath="//x"/><deny id="q3" tag="t" attribute="z"/></acl_role>` +
		`<acl_user id="u1"><role_ref id="r"/></acl_user><acl_user id="u2"><read id="q4" ref="b"/></acl_user></acls>`,
		[]string{`<acl_permission id="q3" kind="deny" object-type="t" attribute="z"/>`, `<acl_target id="u1">`, `<role id="auto-u2"/>`, `reference="b"`}, []string{"acl_user", "role_ref"}},
}

const emptySections = `<crm_config/><nodes/><resources/><constraints/>`

// properties is a configuration with cluster properties of these names.
func properties(names ...string) string {
	set := NewElement("cluster_property_set", "id", "s")
	for i, n := range names {
		set.Append(NewElement("nvpair", "id", "n"+string(rune('0'+i)), "name", n, "value", "v"+string(rune('0'+i))))
	}
	return `<crm_config>` + set.String() + `</crm_config><nodes/><resources/><constraints/>`
}

// primitive is a configuration with one primitive a that has this inside.
func primitive(inside string) string {
	return `<crm_config/><nodes/><resources><primitive id="a" class="ocf" provider="p" type="t">` + inside + `</primitive></resources><constraints/>`
}

func following(schema, configuration string) string {
	return `<cib crm_feature_set="3.0.5" validate-with="` + schema + `" admin_epoch="0" epoch="1" num_updates="0"><configuration>` + configuration + `</configuration><status/></cib>`
}

func TestUpgrade(t *testing.T) {
	for _, c := range olderConfigurations {
		old := mustParse(t, following(c.schema, c.configuration))
		before := string(old.Bytes())
		got, notes, err := Upgrade(old)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text := string(got.Bytes())
		for _, w := range append(c.want, `validate-with="`+Schema+`"`) {
			if !strings.Contains(text, w) {
				t.Errorf("%s: lacks %s\n%s", c.name, w, text)
			}
		}
		for _, g := range c.gone {
			if strings.Contains(text, g) {
				t.Errorf("%s: still has %s\n%s", c.name, g, text)
			}
		}
		if len(notes) == 0 || string(old.Bytes()) != before {
			t.Errorf("%s: %d notes, or the old document was changed", c.name, len(notes))
		}
		for _, p := range Validate(got) {
			if p.Severity == Error {
				t.Errorf("%s: %s\n%s", c.name, p, text)
			}
		}
		again, notes, err := Upgrade(got)
		if again != got || notes != nil || err != nil {
			t.Errorf("%s: a second upgrade says %q, %v", c.name, notes, err)
		}
	}
}

// A default that has nowhere to go but beside a rule is kept (cibadmin drops it).
func TestUpgradeKeepsADefault(t *testing.T) {
	got, _, err := Upgrade(mustParse(t, following("pacemaker-2.0", properties("default-resource-stickiness")+
		`<rsc_defaults><meta_attributes id="r"><rule id="u" score="INFINITY"/><nvpair id="r1" name="x" value="1"/></meta_attributes></rsc_defaults>`)))
	if err != nil {
		t.Fatal(err)
	}
	set := got.Configuration().Child("rsc_defaults").ByID("_2TO3_-rsc-defaults")
	if nv := set.Child("nvpair"); nv.Get("name") != "resource-stickiness" || nv.Get("value") != "v0" {
		t.Errorf("got\n%s", got.Configuration())
	}
}

func TestUpgradeOfUnknownSchemas(t *testing.T) {
	for _, name := range []string{"", "none"} {
		doc := mustParse(t, following(name, properties("stonith_enabled")))
		if got, notes, err := Upgrade(doc); got != doc || notes != nil || err != nil {
			t.Errorf("%q: %q, %v", name, notes, err)
		}
	}
	for _, name := range []string{"pacemaker-0.6", "pacemaker-3.10", "pacemaker-4.0", "pacemaker-next", "pacemaker-3", "pacemaker-x.y", "pacemaker-1.-2", "other"} {
		if _, _, err := Upgrade(mustParse(t, following(name, emptySections))); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestUpgradesOfPacemaker compares with what cibadmin makes of the same configurations.
func TestUpgradesOfPacemaker(t *testing.T) {
	needTool(t, "cibadmin")
	for _, c := range olderConfigurations {
		t.Run(c.name, func(t *testing.T) {
			text := following(c.schema, c.configuration)
			file := writeTemp(t, "old.xml", []byte(text))
			t.Setenv("CIB_file", file)
			tool(t, 0, "cibadmin", "--upgrade", "--force")
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := mustParse(t, string(data))
			got, _, err := Upgrade(mustParse(t, text))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(sortedSections(want), sortedSections(got)); d != "" {
				t.Errorf("(-cibadmin +ours):\n%s", d)
			}
		})
	}
}

// sortedSections is the configuration with its sections in the order of their names: that means nothing.
func sortedSections(d *Document) string {
	list := slices.Clone(d.Configuration().Children)
	slices.SortFunc(list, func(a, b *Element) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	for _, e := range list {
		b.Write(e.Bytes())
	}
	return b.String()
}
