package pcs

import (
	"fmt"
	"strings"

	"holdfast/internal/cluster/cib"
)

// cibShow prints the CIB, or writes it to a file to be edited with -f and pushed.
func (c *call) cibShow() error {
	var file string
	for _, w := range c.words {
		switch {
		case strings.HasPrefix(w, "scope="):
			if w != "scope=configuration" {
				return fmt.Errorf("%s is not supported; there is: scope=configuration", w)
			}
			c.args.options["config"] = ""
		case file != "":
			return c.usage("'%s' is one word too many", w)
		default:
			file = w
		}
	}
	doc, err := c.document()
	if err != nil {
		return err
	}
	text := doc.Bytes()
	if c.args.has("config") {
		text = doc.Configuration().Bytes()
	}
	if file == "" {
		c.out("%s", strings.TrimRight(string(text), "\n"))
		return nil
	}
	return writeFile(file, text)
}

// cibPush hands the configuration of a file to the cluster, unless the cluster's has changed since the file was begun. With
// diff-against only what differs from the original is changed, whatever others have changed since.
func (c *call) cibPush() error {
	file, original, err := c.pushArgs()
	if err != nil {
		return err
	}
	doc, err := readPush(file)
	if err != nil {
		return err
	}
	base := ""
	if doc.Root.Get("epoch") != "" { // a bare <configuration> has no version
		base = doc.Version().String()
	}
	if original != "" {
		if doc, base, err = c.merge(original, file, doc); err != nil {
			return err
		}
	}
	if doc, err = c.upgrade(file, doc); err != nil {
		return err
	}
	if err := validatePush(file, doc); err != nil {
		return err
	}
	if err := c.push(doc, base); err != nil {
		return c.pushRefused(file, doc, err)
	}
	c.out("CIB updated")
	return c.waitFor("the resources to settle", settled)
}

func (c *call) pushArgs() (file, original string, err error) {
	for _, w := range c.words {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case ok && name == "diff-against":
			original = value
		case ok && name == "scope" && value != "configuration":
			return "", "", fmt.Errorf("scope=%s is not supported; there is: scope=configuration", value)
		case ok && name == "scope":
		case file != "":
			return "", "", c.usage("'%s' is one word too many", w)
		default:
			file = w
		}
	}
	if file == "" {
		return "", "", c.usage("name the file to push")
	}
	return file, original, nil
}

// readPush reads a whole CIB, or a <configuration> as `pcs cluster cib --config` writes it.
func readPush(file string) (*cib.Document, error) {
	doc, err := readCIB(file)
	if err == nil {
		return doc, nil
	}
	data, rerr := readBounded(file)
	if rerr != nil {
		return nil, rerr
	}
	conf, perr := cib.ParseElement(data)
	if perr != nil || conf.Name != "configuration" {
		return nil, err
	}
	doc = cib.Empty("")
	doc.Root.Remove(doc.Root.Child("configuration"))
	doc.Root.Insert(0, conf)
	doc.Root.Del("epoch")
	return doc, nil
}

func validatePush(file string, doc *cib.Document) error {
	for _, p := range cib.Validate(doc) {
		if p.Severity == cib.Error {
			return fmt.Errorf("unable to push %s, nothing was changed: %s", file, p)
		}
	}
	return nil
}

// merge makes the changes between the original and the file in the cluster's present CIB, and gives the version it was.
func (c *call) merge(original, file string, doc *cib.Document) (merged *cib.Document, base string, err error) {
	old, err := readPush(original)
	if err != nil {
		return nil, "", err
	}
	now, err := c.live()
	if err != nil {
		return nil, "", err
	}
	if doc.Root.Child("status") == nil || old.Root.Child("status") == nil { // the status is the cluster's in any case
		doc, old = &cib.Document{Root: withoutStatus(doc.Root)}, &cib.Document{Root: withoutStatus(old.Root)}
	}
	patch, err := cib.DiffContents(old, doc)
	if err != nil {
		return nil, "", fmt.Errorf("unable to compare %s with %s: %w", original, file, err)
	}
	base = now.Version().String()
	if patch == nil {
		return now, base, nil
	}
	merged, err = cib.Patch(now, patch)
	if err != nil {
		return nil, "", fmt.Errorf("unable to push %s, nothing was changed: what differs from %s does not fit the cluster's present CIB: %w", file, original, err)
	}
	return merged, base, nil
}

func withoutStatus(root *cib.Element) *cib.Element {
	out := root.Clone()
	if s := out.Child("status"); s != nil {
		out.Remove(s)
	}
	return out
}

// upgrade brings a CIB of an older schema to ours, and tells what that changes.
func (c *call) upgrade(file string, doc *cib.Document) (*cib.Document, error) {
	next, notes, err := cib.Upgrade(doc)
	if err != nil {
		return nil, fmt.Errorf("unable to use %s: %w", file, err)
	}
	for _, n := range notes {
		c.note("upgraded: %s", n)
	}
	return next, nil
}

// cibUpgrade brings the cluster's CIB, or that in a file, to the newest schema.
func (c *call) cibUpgrade() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	file := c.args.file()
	next, err := c.upgrade(file, doc)
	if err != nil {
		return err
	}
	switch {
	case next == doc:
	case file != "":
		err = writeFile(file, next.Bytes())
	default:
		err = c.push(next, doc.Version().String())
	}
	if err != nil {
		return err
	}
	c.note("Cluster CIB has been upgraded to latest version")
	return nil
}

// pushRefused explains a refusal that is due to a change made meanwhile.
func (c *call) pushRefused(file string, doc *cib.Document, err error) error {
	base := doc.Version()
	if !c.movedOn(base) {
		return fmt.Errorf("unable to push cib: %w", err)
	}
	now := "newer"
	if live, lerr := c.live(); lerr == nil {
		now = live.Version().String()
	}
	return fmt.Errorf("unable to push cib, nothing was changed: the cluster's configuration has changed since %s was begun (from version %s; it is %s now).\n"+
		"Begin again from the present one: pcs cluster cib %s, repeat the changes, and push that", file, base, now, file)
}

// verify checks the CIB.
func (c *call) verify() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	bad := 0
	for _, p := range cib.Validate(doc) {
		if p.Severity == cib.Error {
			bad++
		}
		if p.Severity == cib.Error || c.args.has("full") {
			c.note("%s", p)
		}
	}
	if bad > 0 {
		return fmt.Errorf("invalid cib: %d errors", bad)
	}
	return nil
}
