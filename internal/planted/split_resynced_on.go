//go:build bug_split_resynced

package planted

// SplitResynced: a split brain is taken for a resync that is due.
const SplitResynced = true
