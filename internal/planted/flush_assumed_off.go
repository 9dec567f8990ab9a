//go:build !bug_flush_assumed

package planted

// FlushAssumed: a flush that was begun with its write counts as done before it is.
const FlushAssumed = false
