//go:build !bug_volume_ignores_lease

package planted

// VolumeIgnoresLease: the volume process does not look at the lease.
const VolumeIgnoresLease = false
