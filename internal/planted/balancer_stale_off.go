//go:build !bug_balancer_stale

package planted

// BalancerStale: a balancer forwards on a view of the cluster that is too old.
const BalancerStale = false
