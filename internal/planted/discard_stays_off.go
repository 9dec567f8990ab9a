//go:build !bug_discard_stays

package planted

// DiscardStays: --discard-my-data counts for later connections too.
const DiscardStays = false
