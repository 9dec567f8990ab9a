package state

import "holdfast/internal/api"

// Wanted is the command for what the volume process on node wants of the log, nil for nothing. st is the process's last
// status, nil when there is none. What it wanted of another branch of the log, it wants no more.
func (v *View) Wanted(volume, node string, w api.VolumeWant, st *api.VolumeStatus) Command {
	switch {
	case w.Branch != v.Cluster.Branch:
		return nil
	case w.Remove != "":
		return &VolumeRemove{Name: volume, Node: node, Epoch: w.Epoch, Version: w.Version, Remove: w.Remove, NewGeneration: w.Generation}
	case w.Add != nil:
		return &VolumeAdd{Name: volume, Node: node, Epoch: w.Epoch, Version: w.Version, Add: *w.Add}
	case w.Alone:
		return &VolumeAlone{Name: volume, Node: node, Version: w.Version}
	case w.Confirm != "" && st != nil:
		return &VolumeConfirm{Name: volume, Node: node, DeviceUUID: st.DeviceUUID, Generation: w.Confirm}
	default:
		return nil
	}
}

// Adoption is the command for the first U of a volume (S1), nil unless node's replica and its peer's are seen to be the
// same and node is the one to propose. session is node's lease session, 0 for none.
func (v *View) Adoption(volume, node, peer string, session uint64, st *api.VolumeStatus) *VolumeAdopt {
	if session == 0 || st.Branch != v.Cluster.Branch || !sameAndWhole(st) || !proposes(node, peer, st) {
		return nil
	}
	c := &VolumeAdopt{Name: volume, Version: st.Version, U: []api.Replica{
		{Node: node, DeviceUUID: st.DeviceUUID, Generation: st.CurrentUUID},
		{Node: peer, DeviceUUID: st.PeerDeviceUUID, Generation: st.CurrentUUID},
	}}
	if st.Role == "Primary" {
		c.Primary, c.PrimarySession = node, session
	}
	return c
}

// sameAndWhole tells whether both replicas are connected, UpToDate, of one generation and without a dirty bit.
func sameAndWhole(st *api.VolumeStatus) bool {
	return st.Bound && st.Conn == "Connected" && st.Disk == "UpToDate" && st.PeerDisk == "UpToDate" &&
		st.Counters.OOS == 0 && st.PeerDeviceUUID != "" && st.CurrentUUID != "" && st.CurrentUUID == st.PeerUUID
}

// proposes tells whether node is the one to propose: the Primary, or with none the lower name.
func proposes(node, peer string, st *api.VolumeStatus) bool {
	switch {
	case st.Role == "Primary":
		return true
	case st.PeerRole == "Primary":
		return false
	default:
		return node < peer
	}
}

// DemotedUncleanly tells whether a volume that is Secondary by its process's last status may have stopped being Primary by a
// failure, so that writes it never acknowledged are on one disk only (S5): the process says so, or cannot know, having no
// disk whose activity log would tell. st is nil when there is no status.
func DemotedUncleanly(st *api.VolumeStatus) bool {
	if st == nil || st.CrashedPrimary {
		return true
	}
	switch st.Disk {
	case "Inconsistent", "Outdated", "Consistent", "UpToDate":
		return false
	default:
		return true
	}
}
