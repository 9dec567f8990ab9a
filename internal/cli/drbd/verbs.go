package drbd

import "holdfast/internal/api"

// verb is one command of drbdadm.
type verb struct {
	name  string
	run   func(*call) error
	needs bool // a resource must be named
	about string
}

// verbs is the grammar.
func verbs() []verb {
	return []verb{
		{"up", (*call).up, true, "attach and connect"},
		{"down", do(api.VolumeDown), true, "disconnect and detach"},
		{"attach", do(api.VolumeAttach), true, "take the disk into use"},
		{"detach", do(api.VolumeDetach), true, "give the disk back"},
		{"connect", do(api.VolumeConnect), true, "reach for the peer; --discard-my-data gives this side up in a split brain"},
		{"disconnect", do(api.VolumeDisconnect), true, "leave the peer"},
		{"adjust", (*call).up, true, "as up"},
		{"primary", do(api.VolumePrimary), true, "make the device usable here; --force makes an Inconsistent disk UpToDate"},
		{"secondary", do(api.VolumeSecondary), true, "make it unusable here"},
		{"invalidate", do(api.VolumeInvalidate), true, "take this disk for Inconsistent and resync it from the peer"},
		{"survivor", (*call).survivor, true, "make this disk the volume's only up-to-date replica; --accept-loss when others are"},
		{"forget", (*call).forget, true, "strike the replica on --node=NODE, which is gone for good, or the whole volume, from the cluster's record"},
		{"create-md", (*call).createMD, true, "write new metadata"},
		{"wipe-md", (*call).wipeMD, true, "remove the metadata"},
		{"dump-md", (*call).dumpMD, true, "print the metadata of a disk that is not in use"},
		{"get-gi", (*call).getGI, true, "print the generation identifiers"},
		{"show-gi", (*call).showGI, true, "print and explain them"},
		{"role", show(role), true, "print the roles, this side's first"},
		{"cstate", show(cstate), true, "print the state of the connection"},
		{"dstate", (*call).dstate, true, "print the states of the disks"},
		{"status", (*call).status, false, "print everything about the volumes"},
		{"overview", (*call).overview, false, "print a line per volume, as drbd-overview"},
		{"proc", (*call).proc, false, "print the text of /proc/drbd"},
		{"wait-connect", (*call).waitConnect, true, "wait until the peer is there"},
		{"wait-sync", (*call).waitSync, true, "wait until both disks are UpToDate"},
		{"dump", (*call).dump, false, "print the configuration as it was understood"},
		{"sh-resources", (*call).shResources, false, "print the resources of this host"},
		{"sh-dev", shVolume(shDevice), true, "print the device"},
		{"sh-minor", shVolume(shMinor), true, "print the minor number"},
		{"sh-ll-dev", shVolume(shDisk), true, "print the disk"},
		{"sh-md-dev", shVolume(shMetaDevice), true, "print the disk with the metadata"},
		{"sh-md-idx", shVolume(shMetaIndex), true, "print where the metadata is on it"},
		{"sh-ip", (*call).shIP, true, "print this host's replication address"},
	}
}

func findVerb(name string) (verb, bool) {
	for _, v := range verbs() {
		if v.name == name {
			return v, true
		}
	}
	return verb{}, false
}
