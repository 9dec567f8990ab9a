//go:build !bug_other_branch_connects

package planted

// OtherBranchConnects: a connection of another branch of the cluster's log is accepted.
const OtherBranchConnects = false
