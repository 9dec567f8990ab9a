//go:build bug_ack_before_peer

package planted

// AckBeforePeer: a write is acknowledged before the peer has it.
const AckBeforePeer = true
