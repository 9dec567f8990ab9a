//go:build bug_old_epoch_connects

package planted

// OldEpochConnects: a connection of another epoch is accepted.
const OldEpochConnects = true
