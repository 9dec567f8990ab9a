package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// replicatedLog is what the volume rules need of the cluster's log.
type replicatedLog interface {
	Propose(ctx context.Context, c state.Command) (state.Result, error)
	View() *state.View
}

// tenures carries a volume's changes of role and membership through the log (S1, S3-S5): the volume process does what
// the record says, this asks for the record to change.
type tenures struct {
	node    string
	log     replicatedLog
	volumes *volumes
	session func() uint64 // this node's lease session, 0 when it has none
	event   func(name string, attrs map[string]any)
	slog    *slog.Logger

	mu   sync.Mutex
	busy map[string]bool // volumes with a proposal under way that a want or a status caused; one at a time each
	// ended is the epoch of each volume whose end was proposed last: if the outcome is not known, the proposal may yet be
	// applied, so that nothing may be begun in that epoch again.
	ended map[string]uint64
}

func newTenures(node string, log replicatedLog, v *volumes, session func() uint64, event func(string, map[string]any), l *slog.Logger) *tenures {
	return &tenures{node: node, log: log, volumes: v, session: session, event: event, slog: l, busy: map[string]bool{}, ended: map[string]uint64{}}
}

// record is the log's record of a volume; ok false when it is not adopted.
func (t *tenures) record(volume string) (state.Volume, bool) {
	v, ok := t.log.View().Volumes[volume]
	return v, ok && v.Adopted
}

// newGeneration draws a generation UUID.
func newGeneration() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw a generation UUID: %w", err)
	}
	return fmt.Sprintf("%016X", binary.BigEndian.Uint64(b[:])&^1), nil
}

// propose puts a command into the log; a refusal is a *state.Refusal.
func (t *tenures) propose(ctx context.Context, c state.Command) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if _, err := t.log.Propose(ctx, c); err != nil {
		return fmt.Errorf("%s: %w", state.Verb(c), err)
	}
	return nil
}

// promote makes this node the Primary of an adopted volume: the log first, then the volume process in the new epoch.
func (t *tenures) promote(ctx context.Context, volume string) error {
	st := t.volumes.status(volume)
	rec, ok := t.record(volume)
	if !ok {
		return fmt.Errorf("promote %s: the cluster has no record of it yet: it is made when both replicas are connected and UpToDate", volume)
	}
	if st == nil {
		return fmt.Errorf("promote %s: the volume is not up on %s", volume, t.node)
	}
	fresh := rec.Primary != t.node || rec.PrimarySession != t.session()
	if !fresh && t.hasEnded(volume, rec.Epoch) {
		if err := t.end(ctx, rec, state.DemotedUncleanly(st)); err != nil {
			return fmt.Errorf("promote %s on %s: the end of the last tenure has to be settled first: %w", volume, t.node, err)
		}
		rec, _ = t.record(volume)
		fresh = true
	}
	if fresh {
		if err := t.begin(ctx, rec, st); err != nil {
			return fmt.Errorf("promote %s on %s: %w", volume, t.node, err)
		}
		rec, _ = t.record(volume)
	}
	if err := t.becomePrimary(ctx, volume, rec.Epoch); err != nil {
		err = fmt.Errorf("promote %s on %s: %w", volume, t.node, err)
		if !fresh {
			return err
		}
		return t.giveBack(ctx, rec, err)
	}
	t.event("volume.promoted", map[string]any{"volume": volume, "epoch": rec.Epoch})
	return nil
}

// giveBack ends a tenure that the volume process refused to begin: nothing was acknowledged in it. If why is no refusal, the
// process may be Primary by now, or may have been and died; the log must not say that it was demoted.
func (t *tenures) giveBack(ctx context.Context, rec state.Volume, why error) error {
	var refused *api.Error
	if !errors.As(why, &refused) {
		return why
	}
	return errors.Join(why, t.end(context.WithoutCancel(ctx), rec, false))
}

// end has the log end the tenure of rec.
func (t *tenures) end(ctx context.Context, rec state.Volume, unclean bool) error {
	t.mu.Lock()
	t.ended[rec.Name] = rec.Epoch
	t.mu.Unlock()
	return t.propose(ctx, &state.VolumeDemote{Name: rec.Name, Node: t.node, Session: rec.PrimarySession, Epoch: rec.Epoch, Unclean: unclean})
}

func (t *tenures) hasEnded(volume string, epoch uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return epoch != 0 && t.ended[volume] == epoch
}

// begin asks the log for a new epoch with this node as Primary.
func (t *tenures) begin(ctx context.Context, rec state.Volume, st *api.VolumeStatus) error {
	fresh, err := newGeneration()
	if err != nil {
		return err
	}
	return t.propose(ctx, &state.VolumePromote{
		Name: rec.Name, Node: t.node, Session: t.session(), DeviceUUID: st.DeviceUUID, Generation: st.CurrentUUID,
		NewGeneration: fresh, Epoch: rec.Epoch, Version: rec.Version,
	})
}

// becomePrimary hands the volume process the view with the new epoch and promotes it.
func (t *tenures) becomePrimary(ctx context.Context, volume string, epoch uint64) error {
	t.volumes.push(volume)
	r, err := t.volumes.do(ctx, volume, api.VolumeDo{Verb: api.VolumePrimary, Epoch: epoch})
	return replyError(r, err)
}

// replyError makes one error of a reply and what kept it from coming.
func replyError(r api.VolumeReply, err error) error {
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return &api.Error{Code: r.Code, Message: r.Error}
	}
	return nil
}

// demote makes this node Secondary: the volume process first, then the log.
func (t *tenures) demote(ctx context.Context, volume string) error {
	r, err := t.volumes.do(ctx, volume, api.VolumeDo{Verb: api.VolumeSecondary})
	if err := replyError(r, err); err != nil {
		return err
	}
	rec, ok := t.record(volume)
	if !ok || rec.Primary != t.node {
		return nil
	}
	// A process that failed as Primary, or replaced one, is Secondary at once, and not as clean as one that was demoted.
	if err := t.end(ctx, rec, state.DemotedUncleanly(t.volumes.status(volume))); err != nil {
		return fmt.Errorf("demote %s: the volume is Secondary, but the cluster does not know: %w", volume, err)
	}
	t.event("volume.demoted", map[string]any{"volume": volume, "epoch": rec.Epoch})
	return nil
}

// once runs f in the background unless one for this volume is under way already.
func (t *tenures) once(volume string, f func() error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[volume] {
		return
	}
	t.busy[volume] = true
	go func() {
		if err := f(); err != nil {
			t.slog.Warn("change of a volume's record not made", "volume", volume, "err", err)
		}
		t.mu.Lock()
		delete(t.busy, volume)
		t.mu.Unlock()
	}()
}

// want proposes what a volume process needs.
func (t *tenures) want(volume string, w api.VolumeWant) {
	c := t.log.View().Wanted(volume, t.node, w, t.volumes.status(volume))
	if c == nil {
		return
	}
	t.once(volume, func() error {
		begun := time.Now()
		if err := t.propose(context.Background(), c); err != nil {
			return err
		}
		name := map[string]string{"volume.remove": "volume.removed", "volume.add": "volume.added", "volume.confirm": "volume.confirmed", "volume.alone": "volume.alone"}[state.Verb(c)]
		t.event(name, map[string]any{"volume": volume, "epoch": w.Epoch, "seconds": time.Since(begun).Seconds()})
		return nil
	})
}

// consider proposes the first U of a volume (S1) when this node's replica and its peer's are seen to be the same.
func (t *tenures) consider(volume, peer string, st *api.VolumeStatus) {
	if _, adopted := t.record(volume); adopted {
		return
	}
	c := t.log.View().Adoption(volume, t.node, peer, t.session(), st)
	if c == nil {
		return
	}
	t.once(volume, func() error {
		if err := t.propose(context.Background(), c); err != nil {
			return err
		}
		t.event("volume.adopted", map[string]any{"volume": volume})
		return nil
	})
}
