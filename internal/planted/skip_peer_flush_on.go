//go:build bug_skip_peer_flush

package planted

// SkipPeerFlush: a flush does not reach the peer.
const SkipPeerFlush = true
