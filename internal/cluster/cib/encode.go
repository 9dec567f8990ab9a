package cib

import (
	"strings"
)

// Bytes prints the document in canonical form: two spaces of indentation per level, attributes in their order, no XML
// declaration (as cibadmin --query prints it).
func (d *Document) Bytes() []byte { return d.Root.Bytes() }

// Bytes prints an element and everything below it, indented.
func (e *Element) Bytes() []byte {
	var b strings.Builder
	e.write(&b, 0)
	return []byte(b.String())
}

// String prints an element as Bytes does.
func (e *Element) String() string { return string(e.Bytes()) }

func (e *Element) write(b *strings.Builder, depth int) {
	indent(b, depth)
	e.writeStart(b)
	switch {
	case len(e.Children) > 0:
		b.WriteString(">\n")
		if e.Text != "" {
			indent(b, depth+1)
			escape(b, e.Text, false)
			b.WriteByte('\n')
		}
		for _, c := range e.Children {
			c.write(b, depth+1)
		}
		indent(b, depth)
		writeEnd(b, e.Name)
	case e.Text != "":
		b.WriteByte('>')
		escape(b, e.Text, false)
		writeEnd(b, e.Name)
	default:
		b.WriteString("/>")
	}
	b.WriteByte('\n')
}

func (e *Element) writeStart(b *strings.Builder) {
	b.WriteByte('<')
	b.WriteString(e.Name)
	for _, a := range e.Attrs {
		b.WriteByte(' ')
		b.WriteString(a.Name)
		b.WriteString(`="`)
		escape(b, a.Value, true)
		b.WriteByte('"')
	}
}

func writeEnd(b *strings.Builder, name string) {
	b.WriteString("</")
	b.WriteString(name)
	b.WriteByte('>')
}

func indent(b *strings.Builder, depth int) {
	for range depth {
		b.WriteString("  ")
	}
}

// escape writes text with the characters that mean something in XML as entities; in an attribute also line breaks and
// tabs, which a reader would turn into spaces.
func escape(b *strings.Builder, s string, attr bool) {
	start := 0
	for i := 0; i < len(s); i++ {
		rep := entityFor(s[i], attr)
		if rep == "" {
			continue
		}
		b.WriteString(s[start:i])
		b.WriteString(rep)
		start = i + 1
	}
	b.WriteString(s[start:])
}

func entityFor(c byte, attr bool) string {
	switch {
	case c == '<':
		return "&lt;"
	case c == '>':
		return "&gt;"
	case c == '&':
		return "&amp;"
	case c == '\r':
		return "&#13;"
	case !attr:
		return ""
	case c == '"':
		return "&quot;"
	case c == '\n':
		return "&#10;"
	case c == '\t':
		return "&#9;"
	}
	return ""
}
