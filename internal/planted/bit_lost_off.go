//go:build !bug_bit_lost

package planted

// BitLost: the bit of a write the peer lacks is not set.
const BitLost = false
