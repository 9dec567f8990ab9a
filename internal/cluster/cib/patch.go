package cib

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Patch carries a patch out (see Diff; crm_diff's are as good) and gives the result; doc stays as it is. The error says which
// change does not fit: the patch was made from another version, what it changes is not there, or what came out is not what was
// meant (its digest).
func Patch(doc *Document, patch *Element) (*Document, error) {
	if err := checkPatch(doc, patch); err != nil {
		return nil, fmt.Errorf("apply a patch: %w", err)
	}
	next := doc.Clone()
	var placed []placement
	for i, c := range patch.ChildrenNamed("change") {
		p, err := next.change(c)
		if err != nil {
			return nil, fmt.Errorf("apply a patch: change %d (%s of %s)%s: %w", i+1, c.Get("operation"), c.Get("path"), atLine(c), err)
		}
		placed = append(placed, p...)
	}
	place(placed)
	if patch.Child("version") == nil {
		keepHeader(next.Root, doc.Root)
	}
	if want, ok := patch.Lookup("digest"); ok && want != next.Digest() {
		return nil, fmt.Errorf("apply a patch: the result has the digest %s, and the patch was made for %s: the document is not the one it was made from (or one of them has comments, which are not kept)",
			next.Digest(), want)
	}
	return next, nil
}

func atLine(e *Element) string {
	if e.line == 0 {
		return ""
	}
	return fmt.Sprintf(" on line %d", e.line)
}

// checkPatch looks at the patch's head.
func checkPatch(doc *Document, patch *Element) error {
	switch {
	case patch.Name != "diff":
		return fmt.Errorf("a <%s> is no patch: it is a <diff format=\"2\">, as crm_diff makes it", patch.Name)
	case patch.Get("format") != "2":
		return fmt.Errorf("this is a patch of format %q, and only format 2 is understood: make it again, from documents with a crm_feature_set of 3.0.9 or later", patch.Get("format"))
	}
	source := patch.Child("version").Child("source")
	if source == nil {
		return nil
	}
	from := (&Document{Root: source}).Version()
	if now := doc.Version(); now != from {
		return fmt.Errorf("it was made from version %s and the document is %s: make it again from the present one", from, now)
	}
	return nil
}

// keepHeader gives the root element the version of another, and what tells who wrote that.
func keepHeader(root, from *Element) {
	root.Attrs = slices.DeleteFunc(root.Attrs, func(a Attr) bool {
		_, kept := from.Lookup(a.Name)
		return isHeader(a.Name) && !kept
	})
	for _, a := range from.Attrs {
		if isHeader(a.Name) {
			root.Set(a.Name, a.Value)
		}
	}
}

// placement is an element on its way to a position among the children of parent, from where it is if moved.
type placement struct {
	parent, element *Element
	position        int
	moved           bool
}

// change carries out a deletion or a modification. What goes to a new place is returned: it is placed when everything else is
// done, since paths tell where things were before.
func (d *Document) change(c *Element) ([]placement, error) {
	parent, e, err := d.follow(c.Get("path"))
	if err != nil {
		return nil, err
	}
	op := c.Get("operation")
	switch {
	case op == "delete" && e == nil:
		return nil, nil // gone already
	case e == nil:
		return nil, errors.New("there is no such element")
	}
	switch op {
	case "delete", "move":
		if parent == nil {
			return nil, errors.New("the root element stays")
		}
	}
	switch op {
	case "modify":
		return nil, modify(e, c)
	case "delete":
		parent.Remove(e)
		return nil, nil
	case "move":
		at, err := position(c)
		if err != nil {
			return nil, err
		}
		return []placement{{parent, e, at, true}}, nil
	case "create":
		at, err := position(c)
		if err != nil {
			return nil, err
		}
		var out []placement
		for _, n := range c.Children { // none: a comment
			out = append(out, placement{e, n.Clone(), at, false})
		}
		return out, nil
	}
	return nil, errors.New("the operation is create, modify, move or delete")
}

// maxChildren bounds a position; what is beyond the end is put at the end.
const maxChildren = 1 << 24

// position reads where a child is to go; a negative one means the end.
func position(c *Element) (int, error) {
	n, err := strconv.Atoi(c.Get("position"))
	if err != nil {
		return 0, fmt.Errorf("the position is %q, not a number", c.Get("position"))
	}
	if n < 0 || n > maxChildren {
		return maxChildren, nil
	}
	return n, nil
}

// place puts elements into their places, front to back. One that has been deleted since, or is moved twice, is not put back.
func place(list []placement) {
	list = slices.DeleteFunc(list, func(p placement) bool { return p.moved && !p.parent.Remove(p.element) })
	slices.SortStableFunc(list, func(a, b placement) int { return a.position - b.position })
	for _, p := range list {
		p.parent.Insert(p.position, p.element)
	}
}

// modify gives an element the attributes of the change's result.
func modify(e, c *Element) error {
	result := c.Child("change-result")
	if result == nil || len(result.Children) != 1 {
		return errors.New("it does not hold one <change-result> with one element")
	}
	next := result.Children[0]
	if next.Name != e.Name {
		return fmt.Errorf("its result is a <%s>", next.Name)
	}
	e.Attrs = slices.Clone(next.Attrs)
	return nil
}

// follow finds the element at a path, and its parent; both are nil where there is none. The error is one of the path.
func (d *Document) follow(path string) (parent, e *Element, err error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, nil, errors.New("a path begins with /")
	}
	siblings := []*Element{d.Root}
	for {
		var step pathStep
		if step, rest, err = nextStep(rest); err != nil {
			return nil, nil, err
		}
		i := slices.IndexFunc(siblings, step.matches)
		if i < 0 {
			return nil, nil, nil
		}
		if parent, e = e, siblings[i]; rest == "" {
			return parent, e, nil
		}
		siblings = e.Children
	}
}

// pathStep is one step of a path: a name, and an id if it has one.
type pathStep struct {
	name, id string
	hasID    bool
}

func (s pathStep) matches(e *Element) bool {
	return e.Name == s.name && (!s.hasID || e.ID() == s.id)
}

// nextStep takes the first step off a path.
func nextStep(path string) (pathStep, string, error) {
	end := strings.IndexAny(path, "/[")
	if end < 0 {
		return pathStep{name: path}, "", checkStep(path)
	}
	step := pathStep{name: path[:end]}
	if err := checkStep(step.name); err != nil {
		return step, "", err
	}
	if path[end] == '/' {
		return step, path[end+1:], checkStep(path[end+1:])
	}
	rest, ok := strings.CutPrefix(path[end:], "[@id=")
	if !ok || rest == "" || rest[0] != '\'' && rest[0] != '"' {
		return step, "", fmt.Errorf("%.80q is none of the conditions understood: [@id='...']", path[end:])
	}
	id, rest, ok := strings.Cut(rest[1:], rest[:1]+"]")
	if !ok || rest != "" && (rest[0] != '/' || len(rest) == 1) {
		return step, "", fmt.Errorf("%.80q has no end", path[end:])
	}
	step.id, step.hasID = id, true
	return step, strings.TrimPrefix(rest, "/"), nil
}

func checkStep(name string) error {
	if name == "" {
		return errors.New("a step of the path is empty")
	}
	return nil
}
