package drbd

import "holdfast/internal/api"

// verb is one command of drbdadm.
type verb struct {
	name  string
	run   func(*call) error
	needs bool // a resource must be named
	about string
	// hidden verbs are in the list of hidden-commands only.
	hidden bool
}

// verbs is the grammar.
func verbs() []verb {
	return []verb{
		{"up", (*call).up, true, "attach and connect", false},
		{"down", do(api.VolumeDown), true, "disconnect and detach", false},
		{"attach", do(api.VolumeAttach), true, "take the disk into use", false},
		{"detach", do(api.VolumeDetach), true, "give the disk back", false},
		{"connect", do(api.VolumeConnect), true, "reach for the peer; --discard-my-data gives this side up in a split brain", false},
		{"disconnect", do(api.VolumeDisconnect), true, "leave the peer", false},
		{"adjust", (*call).adjust, true, "apply what has changed in the configuration, or as up", false},
		{"primary", do(api.VolumePrimary), true, "make the device usable here; --force makes an Inconsistent disk UpToDate", false},
		{"secondary", do(api.VolumeSecondary), true, "make it unusable here", false},
		{"invalidate", (*call).invalidate, true, "take this disk for Inconsistent and resync it from the peer", false},
		{"invalidate-remote", do(api.VolumeInvalidateRemote), true, "take the peer's disk for Inconsistent and resync it from this one", false},
		{"disk-options", (*call).diskOptions, true, "bound a resync to this host while it runs: --rate=10M per second, 0 for no bound", false},
		{"resize", (*call).resize, true, "take the size that both disks have room for, or --size; --assume-clean, --assume-peer-has-space", false},
		{"verify", do(api.VolumeVerify), true, "compare the two disks, block by block", false},
		{"pause-sync", do(api.VolumePauseSync), true, "let the resync rest", false},
		{"resume-sync", do(api.VolumeResumeSync), true, "let it go on", false},
		{"suspend-io", do(api.VolumeSuspendIO), true, "freeze the application's requests", false},
		{"resume-io", do(api.VolumeResumeIO), true, "let them go on", false},
		{"outdate", (*call).outdate, true, "note that the peer has newer data", false},
		{"heal", (*call).heal, false, "settle a split brain: --keep=NODE saves the other side's differing blocks, then resyncs it; --undo=FILE", false},
		{"survivor", (*call).survivor, true, "make this disk the volume's only up-to-date replica; --accept-loss when others are", false},
		{"forget", (*call).forget, true, "strike the replica on --node=NODE, which is gone for good, or the whole volume, from the cluster's record", false},
		{"create-md", (*call).createMD, true, "write new metadata", false},
		{"wipe-md", (*call).wipeMD, true, "remove the metadata", false},
		{"dump-md", (*call).dumpMD, true, "print the metadata of a disk that is not in use", false},
		{"apply-al", offline((*call).applyAL), true, "take what a crashed Primary may have written to for out of sync", false},
		{"get-gi", (*call).getGI, true, "print the generation identifiers", false},
		{"show-gi", (*call).showGI, true, "print and explain them", false},
		{"role", show(role), true, "print the roles, this side's first", false},
		{"cstate", show(cstate), true, "print the state of the connection", false},
		{"dstate", (*call).dstate, true, "print the states of the disks", false},
		{"status", (*call).status, false, "print everything about the volumes", false},
		{"events2", (*call).events2, false, "print the volumes' state and then every change: --now --timestamps --statistics --diff --full", false},
		{"overview", (*call).overview, false, "print a line per volume, as drbd-overview", false},
		{"proc", (*call).proc, false, "print the text of /proc/drbd", false},
		{"wait-connect", (*call).waitConnect, true, "wait until the peer is there", false},
		{"wait-sync", (*call).waitSync, true, "wait until both disks are UpToDate", false},
		{"hidden-commands", (*call).hiddenCommands, false, "list the commands for scripts and experts", false},
		{"dump", (*call).dump, false, "print the configuration as it was understood", false},
		{"sh-resources", (*call).shResources, false, "print the resources of this host", false},
		{"sh-dev", shVolume(shDevice), true, "print the device", false},
		{"sh-minor", shVolume(shMinor), true, "print the minor number", false},
		{"sh-ll-dev", shVolume(shDisk), true, "print the disk", false},
		{"sh-md-dev", shVolume(shMetaDevice), true, "print the disk with the metadata", false},
		{"sh-md-idx", shVolume(shMetaIndex), true, "print where the metadata is on it", false},
		{"sh-ip", shVolume(nil), true, "print this host's replication address", true},
		{"sh-resource", (*call).shResource, true, "print the resource", true},
		{"sh-mod-parms", (*call).shModParms, false, "print the parameters of the kernel module", true},
		{"sh-udev", (*call).shUdev, true, "print what names a device", true},
		{"sh-lr-of", (*call).shLower, true, "print the resource below a stacked one", true},
		{"sh-b-pri", (*call).shBecomePrimary, true, "become Primary if become-primary-on says so", true},
		{"sh-nop", (*call).shNothing, false, "read the configuration", true},
		{"check-resize", (*call).checkResize, true, "move internal metadata to the end of a disk that has grown", true},
		{"set-gi", (*call).setGIVerb, true, "replace the generation identifiers", true},
		{"new-resource", nil, true, "first step of up", true},
		{"new-minor", nil, true, "second step of up", true},
		{"sh-new-minor", nil, true, "second step of up", true},
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
