package daemon

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/agent/volume"
	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// agentVolumes is this node's volumes as the built-in agent ocf:linbit:drbd sees them.
type agentVolumes struct {
	volumes *volumes
	tenures *tenures
	// defined is nil when a .res file defines the resource on this node, and a cluster can hold it.
	defined func(resource string) error
}

var _ volume.Volumes = (*agentVolumes)(nil)

// Status of a volume that is up. A process that was killed is replaced before anything is said of it.
func (a *agentVolumes) Status(ctx context.Context, resource string) (api.VolumeStatus, error) {
	st := a.volumes.settledStatus(ctx, resource)
	if st != nil && len(a.volumes.states(resource)) == 1 {
		return *st, nil
	}
	if err := a.defined(resource); err != nil {
		return api.VolumeStatus{}, fmt.Errorf("%w: %w", volume.ErrNotDefined, err)
	}
	return api.VolumeStatus{}, volume.ErrNotUp
}

// Up attaches and connects.
func (a *agentVolumes) Up(ctx context.Context, resource string) error {
	if err := a.defined(resource); err != nil {
		return fmt.Errorf("%w: %w", volume.ErrNotDefined, err)
	}
	return replyError(a.volumes.do(ctx, resource, api.VolumeDo{Verb: api.VolumeUp}))
}

// Down disconnects, detaches and ends the process.
func (a *agentVolumes) Down(ctx context.Context, resource string) error {
	return replyError(a.volumes.do(ctx, resource, api.VolumeDo{Verb: api.VolumeDown}))
}

// Promote makes this node Primary through the log.
func (a *agentVolumes) Promote(ctx context.Context, resource string) (uint64, error) {
	if err := a.tenures.promote(ctx, resource); err != nil {
		var refused *state.Refusal
		if errors.As(err, &refused) {
			return 0, fmt.Errorf("%w: %w", volume.ErrNotYet, err)
		}
		return 0, err
	}
	rec, _ := a.tenures.record(resource)
	return rec.Epoch, nil
}

// Demote makes it Secondary and reports that to the log.
func (a *agentVolumes) Demote(ctx context.Context, resource string) error {
	return a.tenures.demote(ctx, resource)
}
