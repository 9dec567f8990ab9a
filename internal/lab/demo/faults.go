package demo

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/lab/rows"
	"holdfast/internal/lab/tutorial"
)

// fault is one of the tutorial's failover tests.
type fault struct {
	name string
	// victim names the host that dies, given who is Primary.
	victim func(primary string) string
	// standby: the volume goes on with one replica, and resyncs the other.
	replica bool
	post    string
}

// theFaults are the tutorial's, in its order.
func theFaults() []fault {
	other := func(primary string) string {
		if primary == tutorial.DB1 {
			return tutorial.DB2
		}
		return tutorial.DB1
	}
	return []fault{
		{"standby database host dies", other, true, "This is my second blog"},
		{"active database host dies", func(p string) string { return p }, true, "This is my third blog"},
		{"web host " + tutorial.Web1 + " dies", func(string) string { return tutorial.Web1 }, false, "This is my fourth blog"},
		{"web host " + tutorial.Web2 + " dies", func(string) string { return tutorial.Web2 }, false, "This is my fifth blog"},
	}
}

// faults runs the failover tests.
func (d *demo) faults(ctx context.Context) error {
	for _, f := range theFaults() {
		if err := d.fault(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// fault cuts a host's power, waits until rows are acknowledged again, publishes a post, brings the host back and waits
// until the cluster is whole.
func (d *demo) fault(ctx context.Context, f fault) error {
	ctx, cancel := context.WithTimeout(ctx, faultLimit+wholeLimit)
	defer cancel()
	primary := Primary(ctx, d.lab)
	victim := d.lab.Host(f.victim(primary))
	d.say(fmt.Sprintf("%s: cutting the power of %s", f.name, victim.Name()))
	before := len(d.rows.Acks())
	begun := time.Now()
	if err := victim.Kill(ctx); err != nil {
		return err
	}
	if err := d.rows.AwaitAckAfter(ctx, time.Now()); err != nil {
		return err
	}
	if err := d.publish(ctx, f.post); err != nil {
		return err
	}
	served := time.Now()
	if err := victim.Start(ctx); err != nil {
		return err
	}
	if err := d.awaitWhole(ctx); err != nil {
		return err
	}
	return d.record(ctx, f, before, begun, served)
}

// record measures a fault that is over.
func (d *demo) record(ctx context.Context, f fault, before int, begun, served time.Time) error {
	acks := d.rows.Acks()
	gap := rows.LongestGap(acks, begun, served)
	events, err := Timeline(d.lab)
	if err != nil {
		return err
	}
	seen, err := d.seen(ctx, []string{f.post})
	if err != nil {
		return err
	}
	missing, err := d.rows.Missing(ctx)
	if err != nil {
		return err
	}
	r := Fault{Name: f.name, OutageSeconds: gap.Length().Seconds(), Phases: Phases(gap, events), RowsAcknowledged: len(acks) - before,
		RowsLost: len(missing), PostsExpected: 1, PostsSeen: seen}
	if f.replica {
		if err := d.measureResync(ctx, &r); err != nil {
			return err
		}
	}
	d.report.Faults = append(d.report.Faults, r)
	fmt.Fprintf(d.cfg.Out, "   outage %.2f s, %d rows acknowledged meanwhile, %d lost\n", r.OutageSeconds, r.RowsAcknowledged, r.RowsLost)
	return nil
}

// measureResync notes what the resync after a replica's return moved: the returned replica's process is new, so that its
// count is this resync's.
func (d *demo) measureResync(ctx context.Context, r *Fault) error {
	least := int64(-1)
	for _, name := range []string{tutorial.DB1, tutorial.DB2} {
		v, err := Volume(ctx, d.lab.Host(name), tutorial.Volume)
		if err != nil {
			return err
		}
		if least < 0 || v.ResyncedBytes < least {
			least = v.ResyncedBytes
		}
		r.VolumeBytes = v.SizeBytes
	}
	r.ResyncedBytes = least
	return nil
}

// awaitWhole waits for the cluster to be whole, and for the row client to be served.
func (d *demo) awaitWhole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	if err := AwaitWhole(ctx, d.lab); err != nil {
		return err
	}
	return d.rows.AwaitAckAfter(ctx, time.Now())
}
