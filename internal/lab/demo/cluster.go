package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/lab"
	"holdfast/internal/lab/tutorial"
	"holdfast/internal/paths"
)

// lookEvery is the pause between two looks at a state that is waited for.
const lookEvery = 100 * time.Millisecond

// hostAPI is the control socket of a host's daemon, reached from outside the host.
func hostAPI(h *lab.Host) *api.Client { return api.NewClient(h.Path(paths.Root("/").DaemonSocket())) }

// Status asks a host's daemon what it knows of the cluster.
func Status(ctx context.Context, h *lab.Host) (api.ClusterStatus, error) {
	var st api.ClusterStatus
	err := hostAPI(h).Call(ctx, "cluster.status", api.Empty{}, &st)
	return st, err
}

// Volume asks a host's daemon for the state of its replica.
func Volume(ctx context.Context, h *lab.Host, name string) (api.VolumeStatus, error) {
	var out api.VolumesReply
	if err := hostAPI(h).Call(ctx, "volume.status", api.VolumeRequest{Resource: name}, &out); err != nil {
		return api.VolumeStatus{}, err
	}
	if len(out.Volumes) != 1 {
		return api.VolumeStatus{}, fmt.Errorf("volume %s is not up on %s", name, h.Name())
	}
	return out.Volumes[0], nil
}

// Primary is the database host that is Primary by the log, empty when none. A host that a majority does not hear may know
// no more than how it was: it is not asked.
func Primary(ctx context.Context, l *lab.Lab) string {
	for _, name := range []string{tutorial.DB1, tutorial.DB2, tutorial.Web1} {
		h := l.Host(name)
		if !h.Running() || h.Frozen() {
			continue
		}
		look, cancel := context.WithTimeout(ctx, 2*time.Second)
		st, err := Status(look, h)
		cancel()
		if err != nil || !st.Quorate || len(st.Volumes) == 0 {
			continue
		}
		return st.Volumes[0].Primary
	}
	return ""
}

// AwaitWhole waits until the cluster is whole: every member has a lease, the
// witness leads (or whoever an operator chose), one database host is Primary, and both replicas
// are connected, UpToDate and members of U.
func AwaitWhole(ctx context.Context, l *lab.Lab) error {
	why := "nothing was seen yet"
	for {
		now := notWhole(ctx, l)
		if now == "" {
			return nil
		}
		if ctx.Err() == nil { // else it says only that the time is over
			why = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not whole: %s: %w", why, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

// notWhole says what is missing, empty when nothing is.
func notWhole(ctx context.Context, l *lab.Lab) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, name := range []string{tutorial.DB1, tutorial.DB2} {
		st, err := Status(ctx, l.Host(name))
		if err != nil {
			return name + " does not answer: " + err.Error()
		}
		if why := incomplete(st); why != "" {
			return name + " sees: " + why
		}
		v, err := Volume(ctx, l.Host(name), tutorial.Volume)
		if err != nil {
			return err.Error()
		}
		if v.Conn != "Connected" || v.Disk != "UpToDate" || v.PeerDisk != "UpToDate" || v.Frozen != "" {
			return fmt.Sprintf("volume on %s: cs:%s ds:%s/%s %s", name, v.Conn, v.Disk, v.PeerDisk, v.Frozen)
		}
	}
	return ""
}

func incomplete(st api.ClusterStatus) string {
	if st.DC == "" {
		return "no leader"
	}
	for _, m := range st.Members {
		if m.Node == st.DC && !leads(st, m) {
			return st.DC + " still leads, which another shall do"
		}
		if m.Lease != "active" {
			return fmt.Sprintf("%s has no lease (%s)", m.Node, m.Lease)
		}
	}
	switch {
	case len(st.Volumes) == 0:
		return "the volume is not in the log yet"
	case st.Volumes[0].Primary == "":
		return "no Primary"
	case len(st.Volumes[0].U) != 2:
		return fmt.Sprintf("U has %d replicas", len(st.Volumes[0].U))
	}
	return ""
}

// leads tells whether a member is the one that shall lead.
func leads(st api.ClusterStatus, m api.MemberStatus) bool {
	if st.Lead != "" {
		return m.Node == st.Lead
	}
	return m.Kind == "witness"
}

// Timeline reads the events of every host that is up.
func Timeline(l *lab.Lab) ([]Event, error) {
	var all []Event
	for _, h := range l.Hosts() {
		if !h.Running() {
			continue
		}
		f, err := os.Open(filepath.Join(h.Path(paths.Root("/").Log()), "events.jsonl"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the timeline of %s: %w", h.Name(), err)
		}
		events, err := ReadEvents(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name(), err)
		}
		all = append(all, events...)
	}
	return all, nil
}
