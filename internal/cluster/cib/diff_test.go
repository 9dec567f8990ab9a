package cib

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustParse(t testing.TB, text string) *Document {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// versioned wraps a configuration; digests want a feature set.
func versioned(epoch int, configuration string) string {
	return fmt.Sprintf(`<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="%d" num_updates="0" admin_epoch="0" have-quorum="%d"><configuration>%s</configuration><status/></cib>`,
		epoch, epoch%2, configuration)
}

func TestDiff(t *testing.T) {
	old := mustParse(t, versioned(4, `<crm_config/><nodes><node id="1" uname="n1"/></nodes><resources><primitive id="a" type="x"><operations/></primitive><primitive id="b" type="x"/></resources>`))
	next := mustParse(t, versioned(6, `<crm_config/><nodes><node id="1" uname="n2" z="&amp;"/></nodes><resources><primitive id="c"/><primitive id="a"/></resources>`))
	patch, err := Diff(old, next)
	if err != nil {
		t.Fatal(err)
	}
	want := `<diff format="2" digest="` + next.Digest() + `">
  <version>
    <source admin_epoch="0" epoch="4" num_updates="0"/>
    <target admin_epoch="0" epoch="6" num_updates="0"/>
  </version>
  <change operation="delete" path="/cib/configuration/resources/primitive[@id='b']"/>
  <change operation="delete" path="/cib/configuration/resources/primitive[@id='a']/operations"/>
  <change operation="modify" path="/cib">
    <change-list>
      <change-attr name="epoch" operation="set" value="6"/>
    </change-list>
    <change-result>
      <cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="6" num_updates="0" admin_epoch="0" have-quorum="0"/>
    </change-result>
  </change>
  <change operation="modify" path="/cib/configuration/nodes/node[@id='1']">
    <change-list>
      <change-attr name="uname" operation="set" value="n2"/>
      <change-attr name="z" operation="set" value="&amp;"/>
    </change-list>
    <change-result>
      <node id="1" uname="n2" z="&amp;"/>
    </change-result>
  </change>
  <change operation="modify" path="/cib/configuration/resources/primitive[@id='a']">
    <change-list>
      <change-attr name="type" operation="unset"/>
    </change-list>
    <change-result>
      <primitive id="a"/>
    </change-result>
  </change>
  <change operation="create" path="/cib/configuration/resources" position="0">
    <primitive id="c"/>
  </change>
</diff>
`
	if d := cmp.Diff(want, patch.String()); d != "" {
		t.Error(d)
	}
	if patch, err := Diff(old, old.Clone()); patch != nil || err != nil {
		t.Errorf("equal documents differ: %v, %v", patch, err)
	}
	if _, err := Diff(old, &Document{Root: NewElement("other")}); err == nil {
		t.Error("documents with other roots are compared")
	}
}

// What cannot be named by a path, or has text, is replaced with what is around it.
func TestDiffOfWhatHasNoName(t *testing.T) {
	for _, x := range [][2]string{
		{`<a id="1"><x v="1"/><x v="2"/></a><b id="2"/>`, `<a id="1"><x v="2"/><x v="1"/></a><b id="2" y="1"/>`},
		{`<a id="1">text</a>`, `<a id="1">other</a>`},
		{`<a id="o'h" v="1"/>`, `<a id="o'h" v="2"/>`},
		{`<a id="1" v="1" w="2"/>`, `<a w="2" id="1" v="1"/>`},
		{`<a id="1"/><b id="2"/><c id="3"/><d id="4"/>`, `<d id="4"/><b id="2"/><e id="5"/><a id="1"/><c id="3"/>`},
	} {
		old, next := mustParse(t, versioned(1, `<r>`+x[0]+`</r>`)), mustParse(t, versioned(2, `<r>`+x[1]+`</r>`))
		patch, err := Diff(old, next)
		if err != nil {
			t.Errorf("%s: %v", x[0], err)
			continue
		}
		got, err := Patch(old, mustElement(t, patch.String()))
		if err != nil {
			t.Errorf("%s: %v\n%s", x[0], err, patch)
			continue
		}
		if d := cmp.Diff(string(next.Bytes()), string(got.Bytes())); d != "" {
			t.Errorf("%s\n%s", d, patch)
		}
	}
	old, next := mustParse(t, `<cib><x v="1"/><x v="2"/></cib>`), mustParse(t, `<cib><x v="1"/></cib>`)
	if _, err := Diff(old, next); err == nil || !strings.Contains(err.Error(), "cannot be told apart") {
		t.Errorf("nameless elements in the root: %v", err)
	}
}

func mustElement(t testing.TB, text string) *Element {
	t.Helper()
	e, err := ParseElement([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A patch without versions is merged into a document that others have changed since.
func TestDiffContents(t *testing.T) {
	old := mustParse(t, versioned(4, `<nodes/><resources><primitive id="a" type="x"/></resources>`))
	mine := mustParse(t, versioned(5, `<nodes/><resources><primitive id="a" type="y"/></resources>`))
	theirs := mustParse(t, versioned(8, `<nodes><node id="1"/></nodes><resources><primitive id="a" type="x"/></resources>`))
	theirs.Root.Set("update-origin", "them")
	mine.Root.Set("update-origin", "me")
	patch, err := DiffContents(old, mine)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Patch(theirs, patch)
	if err != nil {
		t.Fatal(err)
	}
	want := theirs.Clone()
	want.Root.ByID("a").Set("type", "y")
	want.Root.Set("have-quorum", mine.Root.Get("have-quorum"))
	if d := cmp.Diff(string(want.Bytes()), string(got.Bytes())); d != "" {
		t.Error(d)
	}
}

func TestPatchRefuses(t *testing.T) {
	doc := versioned(4, `<r><a id="1"/><b id="2"/></r>`)
	for _, x := range []struct{ patch, says string }{
		{`<cib/>`, "is no patch"},
		{`<diff format="1"/>`, "only format 2"},
		{`<diff format="2"><version><source admin_epoch="0" epoch="3" num_updates="0"/></version></diff>`, "made from version 0.3.0 and the document is 0.4.0"},
		{`<diff format="2" digest="00"/>`, "the result has the digest"},
		{`<diff format="2">` + "\n" + `<change operation="modify" path="/cib/configuration/r/c"><change-result><c/></change-result></change></diff>`,
			"change 1 (modify of /cib/configuration/r/c) on line 2: there is no such element"},
		{`<diff format="2"><change operation="modify" path="/cib/configuration/r"/></diff>`, "change-result"},
		{`<diff format="2"><change operation="modify" path="/cib/configuration/r"><change-result><c/></change-result></change></diff>`, "its result is a <c>"},
		{`<diff format="2"><change operation="move" path="/cib/configuration/r/a"/></diff>`, `the position is "", not a number`},
		{`<diff format="2"><change operation="move" path="/cib" position="0"/></diff>`, "the root element stays"},
		{`<diff format="2"><change operation="delete" path="/cib"/></diff>`, "the root element stays"},
		{`<diff format="2"><change operation="create" path="/cib/r" position="0"><x/></change></diff>`, "no such element"},
		{`<diff format="2"><change operation="swap" path="/cib"/></diff>`, "create, modify, move or delete"},
		{`<diff format="2"><change operation="delete" path="cib"/></diff>`, "begins with /"},
		{`<diff format="2"><change operation="delete" path="/cib//r"/></diff>`, "is empty"},
		{`<diff format="2"><change operation="delete" path="/cib/configuration/r/"/></diff>`, "is empty"},
		{`<diff format="2"><change operation="delete" path="/cib/a[@name='x']"/></diff>`, "none of the conditions"},
		{`<diff format="2"><change operation="delete" path="/cib/a[@id='x']b"/></diff>`, "has no end"},
		{`<diff format="2"><change operation="delete" path="/cib/a[@id='x"/></diff>`, "has no end"},
	} {
		d := mustParse(t, doc)
		before := string(d.Bytes())
		if _, err := Patch(d, mustElement(t, x.patch)); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v, want %q", x.patch, err, x.says)
		}
		if string(d.Bytes()) != before {
			t.Errorf("%s was refused and changed the document", x.patch)
		}
	}
}

func TestPatch(t *testing.T) {
	for _, x := range []struct{ name, changes, want string }{
		{"what is gone is gone", `<change operation="delete" path="/cib/configuration/r/x[@id='9']"/>`, `<a id="1"/><b id="2"/>`},
		{"behind the end", `<change operation="create" path="/cib/configuration/r" position="99"><c/></change>`, `<a id="1"/><b id="2"/><c/>`},
		{"a negative position is the end", `<change operation="create" path="/cib/configuration/r" position="-3"><c/></change>`, `<a id="1"/><b id="2"/><c/>`},
		{"moved twice", `<change operation="move" path="/cib/configuration/r/b" position="0"/><change operation="move" path="/cib/configuration/r/b" position="1"/>`, `<b id="2"/><a id="1"/>`},
		{"moved and deleted", `<change operation="move" path="/cib/configuration/r/b" position="0"/><change operation="delete" path="/cib/configuration/r/b"/>`, `<a id="1"/>`},
		{"to the back", `<change operation="move" path="/cib/configuration/r/b[@id=&quot;2&quot;]" position="0"/><change operation="move" path="/cib/configuration/r/a" position="1"/>`, `<b id="2"/><a id="1"/>`},
		{"into what is moved", `<change operation="move" path="/cib/configuration/r/b" position="0"/><change operation="create" path="/cib/configuration/r/b" position="0"><y/></change>`, `<b id="2"><y/></b><a id="1"/>`},
		{"a comment", `<change operation="create" path="/cib/configuration/r" position="0"><!-- hm --></change>`, `<a id="1"/><b id="2"/>`},
	} {
		got, err := Patch(mustParse(t, versioned(4, `<r><a id="1"/><b id="2"/></r>`)), mustElement(t, `<diff format="2">`+x.changes+`</diff>`))
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if d := cmp.Diff(string(mustParse(t, versioned(4, `<r>`+x.want+`</r>`)).Bytes()), string(got.Bytes())); d != "" {
			t.Errorf("%s:\n%s", x.name, d)
		}
	}
}

// randomPair draws two documents, the second made from the first by some changes. No tabs: crm_diff writes four spaces for one.
func randomPair(rng *rand.Rand) (old, next *Document) {
	parts := func(n int) string {
		var b strings.Builder
		for range n {
			fmt.Fprintf(&b, `<primitive id="p%d" class="ocf" provider="heartbeat" type="T%d">`, rng.IntN(1000), rng.IntN(3))
			if rng.IntN(2) == 0 {
				fmt.Fprintf(&b, `<meta_attributes id="m%d"><nvpair id="v%d" name="x" value="%d"/></meta_attributes>`, rng.IntN(1000), rng.IntN(1000), rng.IntN(9))
			}
			b.WriteString(`</primitive>`)
		}
		return b.String()
	}
	build := func(epoch int, inside string) *Document {
		d, err := Parse([]byte(versioned(epoch, `<crm_config/><nodes/><resources>`+inside+`</resources><constraints/>`)))
		if err != nil {
			panic(err)
		}
		return unique(d)
	}
	old = build(3, parts(rng.IntN(7)))
	next = old.Clone()
	next.SetVersion(Version{0, 4 + rng.IntN(3), 0})
	list := next.Resources()
	for range rng.IntN(6) {
		switch n := len(list.Children); {
		case n == 0 || rng.IntN(4) == 0:
			fresh := build(1, parts(1)).Resources().Children[0]
			list.Insert(rng.IntN(n+1), fresh)
		case rng.IntN(3) == 0:
			list.Remove(list.Children[rng.IntN(n)])
		case rng.IntN(2) == 0:
			e := list.Children[rng.IntN(n)]
			list.Remove(e)
			list.Insert(rng.IntN(n), e)
		default:
			e := list.Children[rng.IntN(n)]
			e.Set("type", fmt.Sprint(rng.IntN(5), "'\"<"))
			SetMeta(e, "x", fmt.Sprint(rng.IntN(3)))
		}
	}
	return old, unique(next)
}

// unique takes out of the resources what has an id that was there before.
func unique(d *Document) *Document {
	seen := map[string]bool{}
	for _, e := range append([]*Element(nil), d.Resources().Children...) {
		twice := false
		e.Find(func(x *Element) bool { twice = twice || seen[x.ID()]; return false })
		if twice {
			d.Resources().Remove(e)
			continue
		}
		e.Find(func(x *Element) bool { seen[x.ID()] = true; return false })
	}
	return d
}

func TestDiffAndPatchAreInverse(t *testing.T) {
	for seed := range uint64(2000) {
		old, next := randomPair(rand.New(rand.NewPCG(seed, 1)))
		patch, err := Diff(old, next)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, err := Patch(old, mustElement(t, patch.String()))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, patch)
		}
		if d := cmp.Diff(string(next.Bytes()), string(got.Bytes())); d != "" {
			t.Fatalf("seed %d: %s\n%s", seed, d, patch)
		}
	}
}
