//go:build !bug_promote_outside_u

package planted

// PromoteOutsideU: a disk that is not in U may be promoted.
const PromoteOutsideU = false
