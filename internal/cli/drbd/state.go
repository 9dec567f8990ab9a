package drbd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
)

// volumes asks for the state of all volumes of this host.
func (c *call) volumes() ([]api.VolumeStatus, error) {
	var reply api.VolumesReply
	err := c.ask("volume.status", api.VolumeRequest{}, &reply)
	return byMinor(reply.Volumes), err
}

// volume asks for the first volume of a resource; ok is false if it is not up.
func (c *call) volume(resource string) (v api.VolumeStatus, ok bool, err error) {
	all, err := c.volumesOf(resource)
	if err != nil || len(all) == 0 {
		return v, false, err
	}
	return all[0], true, nil
}

// volumesOf asks for the volumes of one resource, which are none if it is not up.
func (c *call) volumesOf(resource string) ([]api.VolumeStatus, error) {
	var reply api.VolumesReply
	if err := c.ask("volume.status", api.VolumeRequest{Resource: resource}, &reply); err != nil {
		return nil, err
	}
	var all []api.VolumeStatus
	for _, v := range reply.Volumes {
		if v.Resource == resource {
			all = append(all, v)
		}
	}
	return all, nil
}

// volumeState is a volume of a target with what it says of itself, if it is up.
type volumeState struct {
	*resfile.Volume
	status api.VolumeStatus
	up     bool
}

// states asks for the volumes of a target, in its order.
func (c *call) states(t target) ([]volumeState, error) {
	all, err := c.volumesOf(t.Name)
	if err != nil {
		return nil, err
	}
	var list []volumeState
	for _, v := range t.volumes {
		s := volumeState{Volume: v}
		if i := slices.IndexFunc(all, func(st api.VolumeStatus) bool { return st.Volume == v.Number }); i >= 0 {
			s.status, s.up = all[i], true
		}
		list = append(list, s)
	}
	return list, nil
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
	all, err := c.states(t)
	if err != nil {
		return err
	}
	for _, v := range all {
		text := unconfigured
		if v.up {
			text = word(v.status)
		}
		if err := c.printWord(t, v.Volume, text); err != nil {
			return err
		}
	}
	return nil
}

// printWord prints one word about a volume.
func (c *call) printWord(t target, v *resfile.Volume, text string) error {
	if !c.json {
		_, err := fmt.Fprintln(c.Stdout, text)
		return err
	}
	m := map[string]string{"resource": t.Name, c.verb.name: text}
	if len(t.self.Volumes) > 1 {
		m["volume"] = fmt.Sprint(v.Number)
	}
	return c.printJSON(m)
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
	for _, list := range byResource(all) {
		fmt.Fprint(c.Stdout, statusText(list))
	}
	return nil
}

// byResource groups volumes, those of a resource by number.
func byResource(all []api.VolumeStatus) (groups [][]api.VolumeStatus) {
	for _, v := range all {
		i := slices.IndexFunc(groups, func(g []api.VolumeStatus) bool { return g[0].Resource == v.Resource })
		if i < 0 {
			groups = append(groups, []api.VolumeStatus{v})
			continue
		}
		groups[i] = append(groups[i], v)
	}
	for _, g := range groups {
		slices.SortStableFunc(g, func(a, b api.VolumeStatus) int { return a.Volume - b.Volume })
	}
	return groups
}

// only keeps the volumes named; one that is defined but not up is an error, as drbdsetup's.
func (c *call) only(all []api.VolumeStatus) ([]api.VolumeStatus, error) {
	targets, err := c.targets()
	if err != nil {
		return nil, err
	}
	var some []api.VolumeStatus
	for _, t := range targets {
		n := len(some)
		for _, v := range all {
			if v.Resource == t.Name && (!t.named() || v.Volume == t.volumes[0].Number) {
				some = append(some, v)
			}
		}
		if len(some) == n {
			return nil, fail(exitFailed, "%s: No such resource\nCommand 'drbdsetup-84 status %s' terminated with exit code 10", t.Name, t.Name)
		}
	}
	return some, nil
}

// statusText tells of the volumes of one resource.
func statusText(list []api.VolumeStatus) string {
	var b strings.Builder
	all := together(list)
	fmt.Fprintf(&b, "%s role:%s", all.Resource, all.Role)
	if all.Frozen != "" {
		fmt.Fprintf(&b, " suspended:%s", all.Frozen)
	}
	for _, v := range list {
		fmt.Fprintf(&b, "\n  %sdisk:%s", volumeWord(list, v), v.Disk)
	}
	b.WriteString("\n  peer")
	if words := connection(all.Conn); words != "" {
		fmt.Fprintf(&b, " connection:%s", words)
		if all.Reason != "" {
			fmt.Fprintf(&b, " reason:%s", all.Reason)
		}
		return b.String() + "\n\n"
	}
	fmt.Fprintf(&b, " role:%s", all.PeerRole)
	for _, v := range list {
		b.WriteString("\n    " + volumeWord(list, v) + replicationText(v))
	}
	return b.String() + "\n\n"
}

// volumeWord names a volume where it is not the only one, or not the first there can be.
func volumeWord(list []api.VolumeStatus, v api.VolumeStatus) string {
	if len(list) == 1 && v.Volume == 0 {
		return ""
	}
	return fmt.Sprintf("volume:%d ", v.Volume)
}

// together is what holds for a resource: its roles are Primary if those of any volume are, it is connected if any volume is, and
// what holds one back holds it back.
func together(list []api.VolumeStatus) api.VolumeStatus {
	all := list[0]
	for _, v := range list[1:] {
		if v.Role == "Primary" {
			all.Role = v.Role
		}
		if v.PeerRole == "Primary" || all.PeerRole == "Unknown" {
			all.PeerRole = v.PeerRole
		}
		if connection(all.Conn) != "" && connection(v.Conn) == "" {
			all.Conn = v.Conn
		}
		all.Frozen, all.Reason = orDefault(all.Frozen, v.Frozen), orDefault(all.Reason, v.Reason)
	}
	return all
}

// replicationText tells what a connected volume does.
func replicationText(v api.VolumeStatus) string {
	var b strings.Builder
	replication := v.Conn
	if replication == "Connected" {
		replication = "Established"
	}
	if words := connection(v.Conn); words != "" {
		replication = "Off"
	}
	fmt.Fprintf(&b, "replication:%s peer-disk:%s", replication, v.PeerDisk)
	if v.Resync != nil && moving(v.Conn) {
		fmt.Fprintf(&b, " done:%.2f", v.Resync.Percent)
		if r := v.Resync; r.SpeedKiB > 0 {
			fmt.Fprintf(&b, " speed:%.1fMB/s left:%v", float64(r.SpeedKiB)*1024/1e6, time.Duration(r.ETASeconds)*time.Second)
		}
	}
	return b.String()
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
			all, err := c.states(t)
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(all, func(v volumeState) bool { return !v.up }); i >= 0 {
				return fail(exitFailed, "%s is not up: drbdadm up %s", t.Name, t.Name)
			}
			i := slices.IndexFunc(all, func(v volumeState) bool { return !good(v.status) })
			if i < 0 {
				return nil
			}
			switch v := all[i].status; {
			case v.Conn == "StandAlone":
				return fail(timedOut, "%s %s: it is StandAlone (%s)", t.Name, what, orDefault(v.Reason, "drbdadm connect "+t.Name))
			case c.timeout > 0 && time.Now().After(deadline):
				return fail(timedOut, "%s %s after %v: %s %s", t.Name, what, c.timeout, v.Conn, dstate(v))
			}
			time.Sleep(pollEvery)
		}
	})
}
