//go:build bug_failed_block_forgotten

package planted

// FailedBlockForgotten: a block that the disk refused, which is passed on, is not marked.
const FailedBlockForgotten = true
