//go:build !bug_leaver_acknowledges

package planted

// LeaverAcknowledges: a Primary whose disk has failed acknowledges before the log has taken it out of U.
const LeaverAcknowledges = false
