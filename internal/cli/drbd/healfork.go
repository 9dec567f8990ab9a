package drbd

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/api"
)

// A heal in a cluster that has split (docs/SAFETY.md, the opt-in): the losing host gives its branch of the log up first, and is
// taken in again by the other; then its disk is healed as it is without a cluster.

// apart tells whether the cluster has split, and a member goes on apart from this host.
func (c *call) apart(node string) bool {
	st, err := c.cluster()
	return err == nil && slices.ContainsFunc(st.Apart, func(a api.ApartStatus) bool { return a.Node == node })
}

func (c *call) cluster() (st api.ClusterStatus, err error) {
	err = c.ask("cluster.status", api.Empty{}, &st)
	return st, err
}

// healLookAcross tells what a heal would do while the two have different branches of the log, and no connection.
func (c *call) healLookAcross(t target, file string) error {
	var r api.RejoinReply
	if err := c.ask("cluster.rejoin", api.RejoinRequest{Keep: t.peer.Name(), Look: true, Resource: t.Name}, &r); err != nil {
		return err
	}
	least, most := max(r.MineKiB, r.TheirsKiB), min(r.MineKiB+r.TheirsKiB, r.SizeKiB)
	if c.json {
		return c.printJSON(map[string]any{"resource": t.Name, "keep": t.peer.Name(), "least": least << 10, "most": most << 10})
	}
	_, err := fmt.Fprintf(c.Stdout, "%s: split brain of the cluster. %s would give its branch of the log up and stop what it runs. Of it, %s would be saved in %s and replaced by the data of %s. Nothing was changed.\n",
		t.Name, t.self.Name(), between(int64(least<<10), int64(most<<10)), file, t.peer.Name())
	return err
}

// rejoin has this host give its branch of the log up, and waits until it is a member of the other's.
func (c *call) rejoin(t target) error {
	before, err := c.cluster()
	if err != nil {
		return err
	}
	if err := c.ask("cluster.rejoin", api.RejoinRequest{Keep: t.peer.Name(), By: "root"}, nil); err != nil {
		var gone *noDaemonError
		if !errors.As(err, &gone) { // it may end before it can answer
			return err
		}
	}
	if !c.json {
		fmt.Fprintf(c.Stdout, "%s: %s gives its branch of the log up and rejoins %s\n", t.Name, t.self.Name(), t.peer.Name())
	}
	return c.await(t, fmt.Sprintf("%s has not been taken in by %s", t.self.Name(), t.peer.Name()), func() bool {
		st, err := c.cluster()
		return err == nil && st.Branch != before.Branch && slices.ContainsFunc(st.Members, func(m api.MemberStatus) bool {
			return m.Node == t.self.Name() && m.Lease == "active"
		})
	})
}

// healRejoined waits, in a cluster, until the volume is up and has met its peer. It tells whether that has settled everything:
// there was no split brain of the volume.
func (c *call) healRejoined(t target) (settled bool, err error) {
	st, err := c.cluster()
	if err != nil || !st.Running || !slices.ContainsFunc(st.Volumes, func(v api.VolumeRecord) bool { return v.Resource == t.Name }) {
		return false, nil
	}
	var last api.VolumeStatus
	err = c.await(t, t.Name+" has not met "+t.peer.Name(), func() bool {
		v, up, err := c.volume(t.Name)
		last = v
		return err == nil && up && v.Adopted && (v.Reason != "" || connection(v.Conn) == "")
	})
	if err != nil || last.Reason != "" {
		return false, err
	}
	if c.json {
		return true, c.printJSON(map[string]string{"resource": t.Name, "cs": last.Conn})
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: connected (%s): the disk of %s holds nothing of its own that has to be saved\n", t.Name, last.Conn, t.self.Name())
	return true, err
}

// await waits for a state of the daemon or the volume, while the daemon may be starting.
func (c *call) await(t target, what string, ok func() bool) error {
	patience := rejoinPatience
	if c.timeout > 0 {
		patience = c.timeout
	}
	for end := time.Now().Add(patience); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return fail(exitFailed, "%s: %s within %v, and nothing was replaced; see pcs status, then type this again", t.Name, what, patience)
		}
	}
	return nil
}

// rejoinPatience bounds the way of a host from its branch of the log into another: a lease has to end, the daemon to start again,
// the volume to be started by the cluster.
const rejoinPatience = 90 * time.Second
