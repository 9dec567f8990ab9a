package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/resload"
	"holdfast/internal/cluster/pki"
)

// adoptedFile marks a volume that a cluster's log has known: from then on it is never run by its own lights again, even
// while the cluster is stopped here (S1).
func (d *Daemon) adoptedFile(resource string) string {
	return filepath.Join(d.root.Lib(), "adopted-"+resource)
}

func (d *Daemon) everAdopted(resource string) bool {
	_, err := os.Stat(d.adoptedFile(resource))
	return err == nil
}

// noteAdopted makes the mark durable before a volume is told that it is adopted.
func (d *Daemon) noteAdopted(resource string) error {
	if d.everAdopted(resource) {
		return nil
	}
	return pki.WriteFile(d.adoptedFile(resource), nil, 0o644)
}

// viewOf is what a volume process may be told now (see api.VolumeView).
func (d *Daemon) viewOf(resource string) (api.VolumeView, bool) {
	s := d.current()
	if s == nil {
		return api.VolumeView{Node: d.node}, !d.everAdopted(resource)
	}
	view, ok := s.view(resource)
	if ok && view.Adopted {
		if err := d.noteAdopted(resource); err != nil {
			d.log.Error("volume not told that it is adopted", "volume", resource, "err", err)
			return api.VolumeView{}, false
		}
	}
	return view, ok
}

// defined tells whether a .res file defines the volume on this node.
func (d *Daemon) defined(resource string) error {
	_, _, err := d.pair(resource)
	return err
}

// peerInCluster is the name of the node with the other replica of a resource that a cluster can hold: its record has one disk of
// each node.
func (d *Daemon) peerInCluster(resource string) (string, error) {
	self, peer, err := d.pair(resource)
	switch {
	case err != nil:
		return "", err
	case len(self.Volumes) > 1:
		return "", fmt.Errorf("resource %s has %d volumes (%v), and a cluster replicates resources of one: give each volume a resource of its own, or run it on "+
			"hosts without a cluster", resource, len(self.Volumes), self.Pos)
	}
	return peer.Name(), nil
}

// inCluster tells why the running cluster cannot hold the resource; nil if it can, or if none runs here.
func (d *Daemon) inCluster(resource string) error {
	if d.current() == nil {
		return nil
	}
	return d.holdable(resource)
}

// holdable tells why a cluster cannot hold the resource; nil if it can.
func (d *Daemon) holdable(resource string) error {
	_, err := d.peerInCluster(resource)
	return err
}

// pair finds the two hosts of a resource in the configuration.
func (d *Daemon) pair(resource string) (self, peer *resfile.Host, err error) {
	conf, err := resload.Load(d.root)
	if err == nil {
		err = resload.Locate(conf, d.node)
	}
	if err != nil {
		return nil, nil, err
	}
	r, ok := conf.Resource(resource)
	if !ok {
		return nil, nil, fmt.Errorf("'%s' not defined in your config (for this host)", resource)
	}
	return r.For(d.node)
}

// volumeStatus answers volume.status.
func (d *Daemon) volumeStatus(_ context.Context, in api.VolumeRequest) (api.VolumesReply, error) {
	out := api.VolumesReply{Volumes: []api.VolumeStatus{}}
	for _, name := range d.volumes.running() {
		if in.Resource != "" && in.Resource != name {
			continue
		}
		for _, st := range d.volumes.states(name) {
			out.Volumes = append(out.Volumes, *st)
		}
	}
	return out, nil
}

// volumeDo answers volume.do: a drbdadm verb. In a cluster, role changes go through the log.
func (d *Daemon) volumeDo(ctx context.Context, in api.VolumeDoRequest) (api.VolumeReply, error) {
	if err := d.defined(in.Resource); err != nil {
		return api.VolumeReply{}, &api.Error{Code: 1, Message: err.Error()}
	}
	switch in.Do.Verb {
	case api.VolumeUp, api.VolumeAttach, api.VolumeConnect, api.VolumePrimary:
		if err := d.inCluster(in.Resource); err != nil {
			return api.VolumeReply{}, &api.Error{Code: 10, Message: err.Error()}
		}
	}
	var err error
	inLog := d.inLog(in.Resource)
	switch {
	case in.Do.Verb == api.VolumePrimary && inLog != nil:
		err = inLog.promote(ctx, in.Resource)
	case in.Do.Verb == api.VolumeSecondary && inLog != nil:
		err = inLog.demote(ctx, in.Resource)
	case in.Do.Verb == api.VolumePrimary && d.everAdopted(in.Resource):
		err = &api.Error{Code: 11, Message: fmt.Sprintf("%s belongs to a cluster that is not running on this host; start it: pcs cluster start", in.Resource)}
	default:
		return d.volumes.do(ctx, in.Resource, in.Do)
	}
	var known *api.Error
	if errors.As(err, &known) {
		return api.VolumeReply{Code: known.Code, Error: err.Error()}, nil
	}
	if err != nil {
		return api.VolumeReply{Code: 11, Error: err.Error()}, nil
	}
	return api.VolumeReply{}, nil
}

// inLog is what changes the running cluster's record of the volume, nil if there is none.
func (d *Daemon) inLog(resource string) *tenures {
	s := d.current()
	if s == nil {
		return nil
	}
	if _, ok := s.tenures.record(resource); !ok {
		return nil
	}
	return s.tenures
}

// heardVolume takes what a volume process says.
func (d *Daemon) heardVolume(resource string, m api.VolumeMessage) {
	s := d.current()
	if s == nil {
		return
	}
	switch {
	case m.Status != nil:
		peer, err := d.peerInCluster(resource)
		if err != nil {
			return
		}
		s.scores.changed(resource, m.Status)
		s.tenures.consider(resource, peer, m.Status)
		s.noteVolume(resource, m.Status)
	case m.Want != nil:
		s.tenures.want(resource, *m.Want)
	}
}
