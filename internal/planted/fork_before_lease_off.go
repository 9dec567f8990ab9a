//go:build !bug_fork_before_lease

package planted

// ForkBeforeLease: one of two voters goes on alone although leases of the old branch may run.
const ForkBeforeLease = false
