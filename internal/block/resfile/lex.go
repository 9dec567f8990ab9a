package resfile

import (
	"fmt"
	"strings"
)

// token is a word, a quoted string or one of { } ; [ ].
type token struct {
	text   string
	punct  bool
	quoted bool
	line   int
	end    bool // of the file
}

// String is the token as messages quote it.
func (t token) String() string {
	if t.end {
		return "end of file"
	}
	return "'" + t.text + "'"
}

func (t token) is(punct string) bool { return t.punct && t.text == punct }

// lexer cuts a file into tokens.
type lexer struct {
	name string
	src  string
	line int
	next token
	err  error // of the token after next
	last int   // line of the token taken last
}

func newLexer(name string, src []byte) *lexer {
	l := &lexer{name: name, src: string(src), line: 1, last: 1}
	l.next = l.scan()
	return l
}

// failure is an error at a place.
func failure(p Pos, format string, args ...any) error {
	return fmt.Errorf("%v: %s", p, fmt.Sprintf(format, args...))
}

func (l *lexer) pos() Pos { return Pos{l.name, l.next.line} }

// take returns the next token and moves on.
func (l *lexer) take() token {
	t := l.next
	l.last = t.line
	if !t.end {
		l.next = l.scan()
	}
	return t
}

// expected is the parse error for the next token, in drbdadm's words.
func (l *lexer) expected(what string) error {
	if l.err != nil {
		return l.err
	}
	return failure(l.pos(), "Parse error: '%s' expected,\n\tbut got %v", what, l.next)
}

// want takes a punctuation mark.
func (l *lexer) want(punct string) error {
	if !l.next.is(punct) {
		return l.expected(punct)
	}
	l.take()
	return nil
}

// word takes a word or a string.
func (l *lexer) word(what string) (token, error) {
	if l.next.punct || l.next.end {
		return token{}, l.expected(what)
	}
	return l.take(), nil
}

// values takes words up to the semicolon, and that.
func (l *lexer) values() ([]string, error) {
	var all []string
	for !l.next.punct && !l.next.end {
		all = append(all, l.take().text)
	}
	return all, l.want(";")
}

const punctuation = "{};[]"

func (l *lexer) scan() token {
	l.skipBlank()
	t := token{line: l.line}
	switch {
	case l.src == "":
		t.end = true
		return t
	case l.src[0] == '"':
		return l.quoted()
	case strings.IndexByte(punctuation, l.src[0]) >= 0:
		t.text, t.punct = l.src[:1], true
	default:
		n := strings.IndexAny(l.src, punctuation+"\"# \t\r\n\v\f\u00a0\u3000")
		if n < 0 {
			n = len(l.src)
		}
		t.text = l.src[:n]
	}
	l.src = l.src[len(t.text):]
	return t
}

// skipBlank skips white space, also the wide and the hard spaces that pasted text has, a byte order mark, and comments.
func (l *lexer) skipBlank() {
	for {
		rest := strings.TrimLeft(l.src, " \t\r\n\v\f\u00a0\u3000\ufeff")
		l.line += strings.Count(l.src[:len(l.src)-len(rest)], "\n")
		if l.src = rest; !strings.HasPrefix(rest, "#") {
			return
		}
		n := strings.IndexByte(rest, '\n')
		if n < 0 {
			n = len(rest)
		}
		l.src = rest[n:]
	}
}

// quoted reads a string in quotation marks; a backslash keeps the next character. It ends on its line.
func (l *lexer) quoted() token {
	t := token{line: l.line, quoted: true}
	var b strings.Builder
	for i := 1; i < len(l.src) && l.src[i] != '\n'; i++ {
		switch {
		case l.src[i] == '"':
			t.text, l.src = b.String(), l.src[i+1:]
			return t
		case l.src[i] == '\\' && i+1 < len(l.src) && l.src[i+1] != '\n':
			i++
		}
		b.WriteByte(l.src[i])
	}
	l.err = failure(Pos{l.name, l.line}, "Parse error: the string that begins here has no closing '\"' on its line")
	l.src = ""
	return token{line: l.line, punct: true, text: "\""}
}
