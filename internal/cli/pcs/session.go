package pcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cluster/cib"
)

// ask calls the daemon for something that only reads.
func (c *call) ask(method string, in, out any) error {
	ctx, cancel := context.WithTimeout(c.ctx, answerTimeout)
	defer cancel()
	return c.explain(c.client.Call(ctx, method, in, out))
}

// act calls the daemon for something that may take as long as stopping a database.
func (c *call) act(method string, in, out any) error {
	ctx, cancel := context.WithTimeout(c.ctx, actTimeout)
	defer cancel()
	return c.explain(c.client.Call(ctx, method, in, out))
}

// explain adds what to do to a call that reached no daemon.
func (c *call) explain(err error) error {
	var answered *api.Error
	if err == nil || errors.As(err, &answered) {
		return err
	}
	var transport *url.Error
	if errors.As(err, &transport) {
		err = transport.Err // which method was asked for is no news
	}
	return fmt.Errorf("cluster is not currently running on this node (%s): the holdfast daemon does not answer: %w\n"+
		"Start the daemon (systemctl start holdfast) and try again", c.env.Hostname, err)
}

// live reads the running cluster's CIB.
func (c *call) live() (*cib.Document, error) {
	var reply api.CIB
	if err := c.ask("cib.get", api.CIBGetRequest{}, &reply); err != nil {
		return nil, fmt.Errorf("unable to get cib: %w", err)
	}
	doc, err := cib.Parse([]byte(reply.XML))
	if err != nil {
		return nil, fmt.Errorf("unable to get cib: the daemon's answer: %w", err)
	}
	return doc, nil
}

// document is the CIB the command works on: that of -f, else the running cluster's.
func (c *call) document() (*cib.Document, error) {
	if path := c.args.file(); path != "" {
		return readCIB(path)
	}
	return c.live()
}

// readCIB reads a CIB from a file.
func readCIB(path string) (*cib.Document, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	doc, err := cib.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("unable to parse the cib in %s: %w", path, err)
	}
	if doc.Root.Name != "cib" {
		return nil, fmt.Errorf("unable to parse the cib in %s: it begins with <%s>, not with <cib>", path, doc.Root.Name)
	}
	return doc, nil
}

// writeFile replaces a file as a whole, so that an interrupted command leaves the old one.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return fmt.Errorf("unable to write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(data); err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("unable to write %s: %w", path, err)
	}
	return nil
}

// change edits the CIB: the file of -f, or the running cluster's, there again from its newest version when someone else
// was quicker. Nothing is written when the change fails or leaves an invalid document.
func (c *call) change(do func(*edit.Editor) error) error {
	if c.args.file() != "" {
		return c.changeFile(do)
	}
	for try := 1; ; try++ {
		doc, err := c.live()
		if err != nil {
			return err
		}
		base := doc.Version()
		ed, err := c.apply(doc, do)
		if err != nil {
			return err
		}
		err = c.push(doc, base.String())
		if err == nil {
			c.report(ed)
			return nil
		}
		if try == editTries || !c.movedOn(base) {
			return fmt.Errorf("unable to update cib: %w", err)
		}
	}
}

// movedOn tells whether the running cluster's configuration is no longer the one of base.
func (c *call) movedOn(base cib.Version) bool {
	doc, err := c.live()
	if err != nil {
		return false
	}
	now := doc.Version()
	return now.AdminEpoch != base.AdminEpoch || now.Epoch != base.Epoch
}

// changeFile edits the file of -f. Its version stays that of the CIB it began as: cib-push compares it with the cluster's.
func (c *call) changeFile(do func(*edit.Editor) error) error {
	path := c.args.file()
	doc, err := readCIB(path)
	began := errors.Is(err, fs.ErrNotExist)
	if began {
		doc, err = c.begin(path)
	}
	if err != nil {
		return err
	}
	base := doc.Version()
	ed, err := c.apply(doc, do)
	if err != nil {
		return err
	}
	if err := writeFile(path, doc.Bytes()); err != nil {
		return err
	}
	if began {
		c.note("%s did not exist: started it from the running cluster's CIB (version %s)", path, base)
	}
	c.report(ed)
	return nil
}

// begin makes the content of a file that does not exist yet from the running cluster.
func (c *call) begin(path string) (*cib.Document, error) {
	doc, err := c.live()
	if err != nil {
		return nil, fmt.Errorf("%s does not exist, and there is no running cluster to start it from: %w", path, err)
	}
	return doc, nil
}

// apply runs a change and checks what it left.
func (c *call) apply(doc *cib.Document, do func(*edit.Editor) error) (*edit.Editor, error) {
	before := map[string]bool{}
	for _, p := range cib.Validate(doc) {
		before[p.Element+p.ID+p.Text] = true
	}
	ed := &edit.Editor{Doc: doc, Force: c.args.has("force")}
	if err := do(ed); err != nil {
		return nil, err
	}
	for _, p := range cib.Validate(doc) {
		if p.Severity == cib.Error && !before[p.Element+p.ID+p.Text] {
			return nil, fmt.Errorf("this change would make the CIB invalid, nothing was changed: %s", p)
		}
	}
	return ed, nil
}

// report prints what an edit has to say once it is done.
func (c *call) report(ed *edit.Editor) {
	for _, w := range ed.Warnings {
		c.warn("%s", w)
	}
	c.lines(ed.Notes)
}

// push hands a configuration to the cluster.
func (c *call) push(doc *cib.Document, base string) error {
	return c.act("cib.push", api.CIBPushRequest{XML: string(doc.Bytes()), Base: base, By: "root"}, nil)
}

// readBounded reads a file of at most maxFile bytes.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("unable to read %s: %w", path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("unable to read %s: %w", path, err)
	}
	return data, nil
}
