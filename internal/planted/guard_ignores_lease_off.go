//go:build !bug_guard_ignores_lease

package planted

// GuardIgnoresLease: the guard does not enforce the deadline.
const GuardIgnoresLease = false
