//go:build !bug_extent_leaves_early

package planted

// ExtentLeavesEarly: an extent leaves the activity log before the flush that follows its last write.
const ExtentLeavesEarly = false
