//go:build bug_keeper_forgets

package planted

// KeeperForgets: the last disk in U does not note that the Primary, which has none, writes to it alone.
const KeeperForgets = true
