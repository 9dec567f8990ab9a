//go:build bug_sent_counts

package planted

// SentCounts: with protocols A and B a write counts when it is sent although there is no disk here.
const SentCounts = true
