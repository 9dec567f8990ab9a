package drbd

import (
	"fmt"
	"strings"
	"time"

	"holdfast/internal/api"
)

// volumes asks for the state of all volumes of this host.
func (c *call) volumes() ([]api.VolumeStatus, error) {
	var reply api.VolumesReply
	err := c.ask("volume.status", api.VolumeRequest{}, &reply)
	return byMinor(reply.Volumes), err
}

// volume asks for one; ok is false if it is not up.
func (c *call) volume(resource string) (v api.VolumeStatus, ok bool, err error) {
	var reply api.VolumesReply
	if err := c.ask("volume.status", api.VolumeRequest{Resource: resource}, &reply); err != nil {
		return v, false, err
	}
	for _, v := range reply.Volumes {
		if v.Resource == resource {
			return v, true, nil
		}
	}
	return v, false, nil
}

const unconfigured = "Unconfigured"

func role(v api.VolumeStatus) string   { return v.Role + "/" + v.PeerRole }
func cstate(v api.VolumeStatus) string { return v.Conn }
func dstate(v api.VolumeStatus) string { return v.Disk + "/" + v.PeerDisk }

// show makes a verb that prints one word about each volume.
func show(word func(api.VolumeStatus) string) func(*call) error {
	return func(c *call) error {
		return c.each(func(t target) error { return c.print(t, word) })
	}
}

func (c *call) print(t target, word func(api.VolumeStatus) string) error {
	v, up, err := c.volume(t.Name)
	if err != nil {
		return err
	}
	text := unconfigured
	if up {
		text = word(v)
	}
	if c.json {
		return c.printJSON(map[string]string{"resource": t.Name, c.verb.name: text})
	}
	_, err = fmt.Fprintln(c.Stdout, text)
	return err
}

// dstate reads the metadata where there is no daemon to ask.
func (c *call) dstate() error {
	return c.each(func(t target) error {
		err := c.print(t, dstate)
		if !isNoDaemon(err) {
			return err
		}
		return c.eachMetadata(t, func(m *metaDisk) error {
			_, err := fmt.Fprintln(c.Stdout, m.store.SB.Disk())
			return err
		})
	})
}

// status prints what `drbdsetup status` prints.
func (c *call) status() error {
	all, err := c.volumes()
	if err != nil {
		return err
	}
	if len(c.resources) > 0 {
		if all, err = c.only(all); err != nil {
			return err
		}
	}
	if c.json {
		return c.printJSON(api.VolumesReply{Volumes: all})
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.Stdout, "# No currently configured DRBD found.")
		return err
	}
	for _, v := range all {
		fmt.Fprint(c.Stdout, statusText(v))
	}
	return nil
}

// only keeps the volumes named; one that is defined but not up is an error, as drbdsetup's.
func (c *call) only(all []api.VolumeStatus) ([]api.VolumeStatus, error) {
	targets, err := c.targets()
	if err != nil {
		return nil, err
	}
	up := map[string]api.VolumeStatus{}
	for _, v := range all {
		up[v.Resource] = v
	}
	var some []api.VolumeStatus
	for _, t := range targets {
		v, ok := up[t.Name]
		if !ok {
			return nil, fail(exitFailed, "%s: No such resource\nCommand 'drbdsetup-84 status %s' terminated with exit code 10", t.Name, t.Name)
		}
		some = append(some, v)
	}
	return some, nil
}

func statusText(v api.VolumeStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s role:%s", v.Resource, v.Role)
	if v.Frozen != "" {
		fmt.Fprintf(&b, " suspended:%s", v.Frozen)
	}
	fmt.Fprintf(&b, "\n  disk:%s\n  peer", v.Disk)
	if words := connection(v.Conn); words != "" {
		fmt.Fprintf(&b, " connection:%s", words)
		if v.Reason != "" {
			fmt.Fprintf(&b, " reason:%s", v.Reason)
		}
		return b.String() + "\n\n"
	}
	replication := v.Conn
	if replication == "Connected" {
		replication = "Established"
	}
	fmt.Fprintf(&b, " role:%s\n    replication:%s peer-disk:%s", v.PeerRole, replication, v.PeerDisk)
	if v.Resync != nil && moving(v.Conn) {
		fmt.Fprintf(&b, " done:%.2f", v.Resync.Percent)
		if r := v.Resync; r.SpeedKiB > 0 {
			fmt.Fprintf(&b, " speed:%.1fMB/s left:%v", float64(r.SpeedKiB)*1024/1e6, time.Duration(r.ETASeconds)*time.Second)
		}
	}
	return b.String() + "\n\n"
}

// connection is the word for a connection that is not there; empty if it is.
func connection(conn string) string {
	switch conn {
	case "WFConnection":
		return "Connecting"
	case "WFReportParams":
		return "Connecting"
	case "StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError", "TearDown":
		return conn
	}
	return ""
}

// waitConnect waits until the handshake with the peer is done.
func (c *call) waitConnect() error {
	return c.wait("is not connected", func(v api.VolumeStatus) bool { return connection(v.Conn) == "" })
}

// waitSync waits until nothing is left to sync.
func (c *call) waitSync() error {
	return c.wait("is not in sync", func(v api.VolumeStatus) bool {
		return v.Conn == "Connected" && v.Disk == "UpToDate" && v.PeerDisk == "UpToDate"
	})
}

func (c *call) wait(what string, good func(api.VolumeStatus) bool) error {
	const timedOut = 5 // drbdsetup's exit code of wait-connect
	deadline := time.Now().Add(c.timeout)
	return c.each(func(t target) error {
		for {
			v, up, err := c.volume(t.Name)
			switch {
			case err != nil:
				return err
			case !up:
				return fail(exitFailed, "%s is not up: drbdadm up %s", t.Name, t.Name)
			case good(v):
				return nil
			case v.Conn == "StandAlone":
				return fail(timedOut, "%s %s: it is StandAlone (%s)", t.Name, what, orDefault(v.Reason, "drbdadm connect "+t.Name))
			case c.timeout > 0 && time.Now().After(deadline):
				return fail(timedOut, "%s %s after %v: %s %s", t.Name, what, c.timeout, v.Conn, dstate(v))
			}
			time.Sleep(pollEvery)
		}
	})
}
