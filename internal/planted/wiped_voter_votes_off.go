//go:build !bug_wiped_voter_votes

package planted

// WipedVoterVotes: a host that lost its log votes under its former incarnation.
const WipedVoterVotes = false
