package cib

import (
	"bytes"
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func ignoreLines() cmp.Option { return cmpopts.IgnoreUnexported(Element{}) }

func TestParse(t *testing.T) {
	text := `<?xml version="1.0"?>
<!-- a comment -->
<cib epoch='3' note="a &lt;b&gt; &amp; &quot;c&quot; &#x263a;&#10;d">
  <configuration>
    <future kind="unknown"><![CDATA[kept <as> it is]]></future>
    <!-- dropped -->
  </configuration>
  <status/>
</cib>
`
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &Element{Name: "cib", Attrs: []Attr{{"epoch", "3"}, {"note", "a <b> & \"c\" \u263a\nd"}}, Children: []*Element{
		{Name: "configuration", Children: []*Element{{Name: "future", Attrs: []Attr{{"kind", "unknown"}}, Text: "kept <as> it is"}}},
		{Name: "status"}}}
	if diff := cmp.Diff(want, d.Root, ignoreLines()); diff != "" {
		t.Error(diff)
	}
	if got := d.Root.Child("configuration").Child("future").Line(); got != 5 {
		t.Errorf("<future> is on line %d, want 5", got)
	}
	again, err := Parse(d.Bytes())
	if err != nil {
		t.Fatalf("our own output: %v\n%s", err, d.Bytes())
	}
	if diff := cmp.Diff(d.Root, again.Root, ignoreLines()); diff != "" {
		t.Errorf("a round trip changed it:\n%s", diff)
	}
	if !bytes.Equal(d.Bytes(), again.Bytes()) {
		t.Error("the second print differs from the first")
	}
}

func TestBytes(t *testing.T) {
	e := NewElement("cib", "a", "1")
	e.Append(NewElement("x", "v", "\"<\t")).Append(NewElement("y"))
	e.Append(&Element{Name: "z", Text: "a & b"})
	want := "<cib a=\"1\">\n  <x v=\"&quot;&lt;&#9;\">\n    <y/>\n  </x>\n  <z>a &amp; b</z>\n</cib>\n"
	if got := e.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		line int
		says string
	}{
		{"", 1, "empty"},
		{"<config/>", 1, "not <cib>"},
		{"<cib>\n<a>\n</b></cib>", 3, "</a> (opened on line 2)"},
		{"<cib>\n<a>", 2, "<a> (line 2) is not closed"},
		{"<cib a=1/>", 1, "not quoted"},
		{"<cib\n a=\"1\"\n a=\"2\"/>", 3, "given twice"},
		{"<cib a=\"x\"b=\"y\"/>", 1, "white space"},
		{"<cib a=\"&nope;\"/>", 1, "no known entity"},
		{"<cib a=\"&#0;\"/>", 1, "no known entity"},
		{"<cib a=\"<\"/>", 1, "'<'"},
		{"<!DOCTYPE cib><cib/>", 1, "document type"},
		{"<cib/><cib/>", 1, "after the end"},
		{"<cib>\n<!-- open", 2, "comment has no end"},
		{"<cib>\x01</cib>", 1, "U+0001"},
		{"<cib a=\"\xff\"/>", 1, "not UTF-8"},
		{strings.Repeat("<cib>", 300), 1, "nested deeper"},
	} {
		_, err := Parse([]byte(c.text))
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%q: got %v, want a SyntaxError", c.text, err)
			continue
		}
		if se.Line != c.line || !strings.Contains(se.Text, c.says) {
			t.Errorf("%q: got %q, want line %d and %q", c.text, se.Error(), c.line, c.says)
		}
	}
}

// FuzzParse: whatever is accepted prints to something that reads as the same, and the standard library accepts it too.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"<cib/>", "<cib a=\"1\"><b>text</b><!-- c --></cib>", "<cib>&lt;&#65;<![CDATA[x]]></cib>", "<cib><a:b/></cib>", "<?x?><cib></cib >"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseElement(data)
		if err != nil {
			return
		}
		out := e.Bytes()
		again, err := ParseElement(out)
		if err != nil {
			t.Fatalf("our own output is refused: %v\n%q", err, out)
		}
		if diff := cmp.Diff(e, again, ignoreLines()); diff != "" {
			t.Fatalf("a round trip changed it:\n%s", diff)
		}
		dec := xml.NewDecoder(bytes.NewReader(out))
		for {
			if _, err := dec.RawToken(); err != nil {
				if err.Error() != "EOF" && !strings.Contains(err.Error(), "invalid XML name") {
					t.Fatalf("encoding/xml refuses it: %v\n%q", err, out)
				}
				break
			}
		}
	})
}
