package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/rows"
	"holdfast/internal/lab/tutorial"
	"holdfast/internal/lab/wordpress"
)

// Config says how to run the demo.
type Config struct {
	// Name of its lab; "demo" if empty. A lab of that name left by an earlier run is taken down first.
	Name string
	// Report is a file for the table as JSON; empty for none.
	Report string
	// Keep leaves the lab running.
	Keep bool
	Out  io.Writer
}

// Limits of the demo's waits; each wait is for a state.
const (
	tutorialLimit = 10 * time.Minute
	faultLimit    = 3 * time.Minute
	wholeLimit    = 3 * time.Minute
	httpLimit     = 75 * time.Second
	// diskMiB is the size of a database host's data disk: large beside the extents of the activity log that are in use.
	diskMiB = 640
	// rowEvery is the row client's pause between acknowledgement and next insert.
	rowEvery = 10 * time.Millisecond
)

// ErrLost is returned when the demo ran and something was lost; the table says what.
var ErrLost = errors.New("the demo has lost something")

// errInterrupted ends a run that was asked to stop.
var errInterrupted = errors.New("the demo was interrupted; its lab is taken down, nothing is left")

// demo is a run.
type demo struct {
	cfg    Config
	lab    *lab.Lab
	site   *wordpress.Site
	rows   *rows.Client
	report Report
	titles []string
}

// Run runs the demo and takes its lab down, whatever happens, unless it is to be kept.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Name == "" {
		cfg.Name = "demo"
	}
	d := &demo{cfg: cfg}
	if err := d.begin(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.end(err)) }()
	for _, stage := range []func(context.Context) error{d.replay, d.publishFirst, d.faults, d.audit} {
		if err := stage(ctx); err != nil {
			if ctx.Err() != nil {
				return errInterrupted // the calls it broke off say nothing of use
			}
			return err
		}
	}
	if err := d.report.Write(cfg.Out); err != nil {
		return err
	}
	if problems := d.report.Problems(); len(problems) > 0 {
		return fmt.Errorf("%w: %v", ErrLost, problems)
	}
	return nil
}

// begin takes down what an earlier run left, and brings the lab up.
func (d *demo) begin(ctx context.Context) error {
	if err := lab.Down(d.cfg.Name); err != nil {
		return fmt.Errorf("take down the lab of an earlier run: %w", err)
	}
	d.say("bringing up six hosts in namespaces of this machine")
	l, err := lab.Up(ctx, lab.Config{Name: d.cfg.Name, DiskMiB: diskMiB})
	d.lab = l
	return err
}

// end takes the lab down, or says how to look at it. An interrupted one is never kept.
func (d *demo) end(failed error) error {
	var err error
	if d.rows != nil {
		err = d.rows.Close()
	}
	if errors.Is(failed, errInterrupted) {
		return d.lab.Down()
	}
	if d.cfg.Keep {
		fmt.Fprintf(d.cfg.Out, "\nThe lab is still up. Look around with:\n  holdfast lab exec --name %s %s -- pcs status\n  holdfast lab down --name %s\n",
			d.cfg.Name, tutorial.DB1, d.cfg.Name)
		return err
	}
	if failed != nil {
		d.say("keeping the logs in " + d.saveLogs())
	}
	return errors.Join(err, d.lab.Down())
}

func (d *demo) say(text string) { fmt.Fprintf(d.cfg.Out, "\n== %s\n", text) }

// replay types the tutorial.
func (d *demo) replay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tutorialLimit)
	defer cancel()
	d.say("the tutorial, as typed")
	return tutorial.Replay(ctx, LabRunner{d.lab}, tutorial.Everything(), d.cfg.Out)
}

// publishFirst installs WordPress through the public balancer, publishes the first post, and starts the row client.
func (d *demo) publishFirst(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, faultLimit)
	defer cancel()
	client := d.lab.Host(tutorial.Client)
	d.site = &wordpress.Site{Base: "http://10.0.3.10", User: "author", Password: "correct horse battery staple",
		Client: &http.Client{Transport: &http.Transport{DialContext: client.DialContext, DisableKeepAlives: true}, Timeout: httpLimit}}
	d.say("WordPress, installed through the public balancer")
	if err := d.site.AwaitUp(ctx); err != nil {
		return err
	}
	if err := d.site.Install(ctx, "holdfast"); err != nil {
		return err
	}
	if err := d.publish(ctx, "This is my first blog"); err != nil {
		return err
	}
	d.report.AckJournal = filepath.Join(d.lab.Dir(), "acknowledged.jsonl")
	var err error
	d.rows, err = rows.New(rows.Config{Addr: tutorial.DatabaseAddr, User: tutorial.DatabaseUser, Password: tutorial.DatabasePass,
		Database: tutorial.DatabaseName, Table: "holdfast_rows", Dial: client.DialContext, Every: rowEvery, Journal: d.report.AckJournal})
	if err != nil {
		return err
	}
	if err := d.rows.Prepare(ctx); err != nil {
		return err
	}
	d.rows.Start()
	return d.awaitWhole(ctx)
}

// publish publishes a post and remembers that it must be there.
func (d *demo) publish(ctx context.Context, title string) error {
	if err := d.site.Publish(ctx, title, "Published by the demo."); err != nil {
		return err
	}
	d.titles = append(d.titles, title)
	fmt.Fprintf(d.cfg.Out, "   published: %s\n", title)
	return nil
}

// seen counts the posts that are readable exactly once.
func (d *demo) seen(ctx context.Context, titles []string) (int, error) {
	found, err := d.site.Titles(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, t := range titles {
		if found[t] == 1 {
			n++
		}
	}
	return n, nil
}
