package cib

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of elements; the schema needs fewer than twenty levels.
const maxDepth = 256

// SyntaxError is a fault in the XML text.
type SyntaxError struct {
	Line int // from 1
	Text string
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Parse reads a CIB. The root must be a <cib> element. The error is a *SyntaxError and names the line.
//
// The reader is our own and knows the XML a CIB is made of: elements, attributes, character data, comments (dropped),
// CDATA, processing instructions (dropped), the five named entities and numeric ones. Document types are refused, since
// entities of one's own have no place in a CIB.
func Parse(data []byte) (*Document, error) {
	root, err := ParseElement(data)
	if err != nil {
		return nil, err
	}
	if root.Name != "cib" {
		return nil, &SyntaxError{root.line, fmt.Sprintf("the root element is <%s>, not <cib>", root.Name)}
	}
	return &Document{Root: root}, nil
}

// ParseElement reads one XML element, such as a part of a CIB. The error is a *SyntaxError.
func ParseElement(data []byte) (*Element, error) {
	if !utf8.Valid(data) {
		return nil, &SyntaxError{1, "the text is not UTF-8"}
	}
	r := &reader{text: strings.TrimPrefix(string(data), "\ufeff"), line: 1}
	if err := r.skipMisc(); err != nil {
		return nil, err
	}
	if r.rest() == "" {
		return nil, r.fault("the document is empty")
	}
	e, err := r.element(0)
	if err != nil {
		return nil, err
	}
	if err := r.skipMisc(); err != nil {
		return nil, err
	}
	if r.rest() != "" {
		return nil, r.fault("text after the end of <%s>", e.Name)
	}
	return e, nil
}

// reader walks over the text, counting lines.
type reader struct {
	text string
	pos  int
	line int
}

func (r *reader) rest() string { return r.text[r.pos:] }

func (r *reader) has(prefix string) bool { return strings.HasPrefix(r.text[r.pos:], prefix) }

func (r *reader) fault(format string, a ...any) error {
	return &SyntaxError{r.line, fmt.Sprintf(format, a...)}
}

func (r *reader) advance(n int) string {
	s := r.text[r.pos : r.pos+n]
	r.line += strings.Count(s, "\n")
	r.pos += n
	return s
}

func (r *reader) skipSpace() {
	for r.pos < len(r.text) {
		switch r.text[r.pos] {
		case '\n':
			r.line++
		case ' ', '\t', '\r':
		default:
			return
		}
		r.pos++
	}
}

// skipMisc passes white space, comments and processing instructions.
func (r *reader) skipMisc() error {
	for {
		r.skipSpace()
		var err error
		switch {
		case r.has("<!--"):
			_, err = r.until("<!--", "-->", "comment")
		case r.has("<?"):
			_, err = r.until("<?", "?>", "processing instruction")
		case r.has("<!DOCTYPE"):
			return r.fault("a document type is not allowed in a CIB")
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// until passes open, something, end, and returns the something.
func (r *reader) until(open, end, what string) (string, error) {
	i := strings.Index(r.text[r.pos+len(open):], end)
	if i < 0 {
		return "", r.fault("this %s has no end", what)
	}
	r.advance(len(open))
	s := r.advance(i)
	r.advance(len(end))
	return s, nil
}

func (r *reader) element(depth int) (*Element, error) {
	if depth >= maxDepth {
		return nil, r.fault("elements are nested deeper than %d", maxDepth)
	}
	if !r.has("<") {
		return nil, r.fault("an element is expected here")
	}
	e := &Element{line: r.line}
	r.pos++
	var err error
	if e.Name, err = r.name(); err != nil {
		return nil, err
	}
	empty, err := r.attributes(e)
	if err != nil || empty {
		return e, err
	}
	return e, r.content(e, depth)
}

// attributes reads up to the end of the start tag and tells whether the element is closed with it.
func (r *reader) attributes(e *Element) (empty bool, err error) {
	for {
		before := r.pos
		r.skipSpace()
		switch {
		case r.has("/>"):
			r.pos += 2
			return true, nil
		case r.has(">"):
			r.pos++
			return false, nil
		case r.rest() == "":
			return false, r.fault("the start tag of <%s> (line %d) has no end", e.Name, e.line)
		case r.pos == before:
			return false, r.fault("white space or the end of the tag is expected in <%s>", e.Name)
		}
		if err := r.attribute(e); err != nil {
			return false, err
		}
	}
}

func (r *reader) attribute(e *Element) error {
	name, err := r.name()
	if err != nil {
		return err
	}
	r.skipSpace()
	if !r.has("=") {
		return r.fault("attribute %s of <%s> has no value", name, e.Name)
	}
	r.pos++
	r.skipSpace()
	if !r.has(`"`) && !r.has("'") {
		return r.fault("the value of attribute %s of <%s> is not quoted", name, e.Name)
	}
	quote := r.text[r.pos : r.pos+1]
	i := strings.Index(r.text[r.pos+1:], quote)
	if i < 0 {
		return r.fault("the value of attribute %s of <%s> has no closing quote", name, e.Name)
	}
	raw := r.text[r.pos+1 : r.pos+1+i]
	if strings.Contains(raw, "<") {
		return r.fault("the value of attribute %s of <%s> contains '<' (a quote is missing, or write &lt;)", name, e.Name)
	}
	value, err := r.unescape(normalizeSpace(raw))
	if err != nil {
		return err
	}
	if _, dup := e.Lookup(name); dup {
		return r.fault("attribute %s of <%s> is given twice", name, e.Name)
	}
	r.advance(i + 2)
	e.Attrs = append(e.Attrs, Attr{name, value})
	return nil
}

// normalizeSpace turns literal line breaks and tabs of an attribute value into spaces, as XML demands.
func normalizeSpace(s string) string {
	if !strings.ContainsAny(s, "\t\r\n") {
		return s
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(c rune) rune {
		if c == '\t' || c == '\r' || c == '\n' {
			return ' '
		}
		return c
	}, s)
}

// content reads children and text up to and including the end tag.
func (r *reader) content(e *Element, depth int) error {
	var text []string
	for {
		i := strings.IndexByte(r.rest(), '<')
		if i < 0 {
			return r.fault("<%s> (line %d) is not closed", e.Name, e.line)
		}
		raw, err := r.unescape(r.text[r.pos : r.pos+i])
		if err != nil {
			return err
		}
		r.advance(i)
		if raw != "" {
			text = append(text, raw)
		}
		switch {
		case r.has("</"):
			e.Text = strings.TrimSpace(strings.Join(text, ""))
			return r.endTag(e)
		case r.has("<!--"):
			_, err = r.until("<!--", "-->", "comment")
		case r.has("<![CDATA["):
			raw, err = r.until("<![CDATA[", "]]>", "CDATA section")
			text = append(text, raw)
		case r.has("<?"):
			_, err = r.until("<?", "?>", "processing instruction")
		default:
			var c *Element
			if c, err = r.element(depth + 1); err == nil {
				e.Children = append(e.Children, c)
			}
		}
		if err != nil {
			return err
		}
	}
}

func (r *reader) endTag(e *Element) error {
	r.pos += 2
	name, err := r.name()
	if err != nil {
		return err
	}
	if name != e.Name {
		return r.fault("</%s> where </%s> (opened on line %d) is expected", name, e.Name, e.line)
	}
	r.skipSpace()
	if !r.has(">") {
		return r.fault("the end tag </%s> has no end", name)
	}
	r.pos++
	return nil
}

// name reads an element or attribute name.
func (r *reader) name() (string, error) {
	i := r.pos
	for i < len(r.text) && isNameByte(r.text[i], i == r.pos) {
		i++
	}
	if i == r.pos {
		return "", r.fault("a name is expected here")
	}
	s := r.text[r.pos:i]
	r.pos = i
	return s, nil
}

func isNameByte(c byte, first bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == ':', c >= utf8.RuneSelf:
		return true
	case c >= '0' && c <= '9', c == '-', c == '.':
		return !first
	}
	return false
}

// unescape resolves entities.
func (r *reader) unescape(s string) (string, error) {
	if !strings.Contains(s, "&") {
		return s, r.checkChars(s)
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "&")
		b.WriteString(before)
		if !found {
			return b.String(), r.checkChars(b.String())
		}
		ref, rest, found := strings.Cut(after, ";")
		c, ok := entity(ref)
		if !found || !ok {
			return "", r.fault("'&' begins no known entity (write &amp; for the character itself)")
		}
		b.WriteRune(c)
		s = rest
	}
}

// checkChars refuses the control characters XML 1.0 has no place for.
func (r *reader) checkChars(s string) error {
	for _, c := range s {
		if !isXMLChar(c) {
			return r.fault("the character %U is not allowed in XML", c)
		}
	}
	return nil
}

func isXMLChar(c rune) bool {
	return c == '\t' || c == '\n' || c == '\r' || c >= 0x20 && c != 0xfffe && c != 0xffff
}

func entity(ref string) (rune, bool) {
	switch ref {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	num, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return 0, false
	}
	base := 10
	if h, hex := strings.CutPrefix(num, "x"); hex {
		num, base = h, 16
	}
	v, err := strconv.ParseUint(num, base, 32)
	if err != nil || v > utf8.MaxRune || !utf8.ValidRune(rune(v)) || !isXMLChar(rune(v)) {
		return 0, false
	}
	return rune(v), true
}
