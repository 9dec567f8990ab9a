package state

import (
	"strings"

	"holdfast/internal/cluster/cib"
)

// MayFork tells why node must not open a branch of the log by itself when it has lost its peer; nil if it may. That is the
// opt-in of two hosts without a witness: no-quorum-policy=ignore is in the log, the two are all that votes or is to vote, and
// node has something to serve. When the peer can no more act under the old branch is for liveness.Alone to say.
func (v *View) MayFork(node string) error {
	if v.CIB == nil || cib.Property(v.CIB, "no-quorum-policy") != "ignore" {
		return refusal("no-quorum-policy is not ignore")
	}
	var voters []string
	for _, name := range v.MemberNames() {
		switch m := v.Members[name]; {
		case m.Kind == Follower:
		case m.Kind == Data && m.Voter:
			voters = append(voters, name)
		default:
			return refusal("%s is to vote, too (%s): a majority is possible without guessing", name, m.Kind)
		}
	}
	if len(voters) != 2 || voters[0] != node && voters[1] != node {
		return refusal("%s is not one of exactly two voters (%s)", node, strings.Join(voters, ", "))
	}
	return v.canServe(node)
}

// canServe tells why node has nothing to serve: there are volumes, in the log or to be in it, and it has no up-to-date replica of any.
func (v *View) canServe(node string) error {
	names := v.VolumeNames()
	for _, p := range cib.VolumePrimitives(v.CIB.Resources()) {
		names = append(names, p.Volume)
	}
	for _, name := range names {
		if _, in := v.Volumes[name].Replica(node); in {
			return nil
		}
	}
	if len(names) == 0 {
		return nil
	}
	if first := v.Volumes[names[0]]; first.Adopted {
		return refusal("no disk of %s is up to date (volume %s: %s): going on alone would serve nothing, or what is old", node, first.Name, first.nodes())
	}
	return refusal("volume %s is not in the cluster's log yet: nobody knows which disk is good", names[0])
}

// Other is the other one of exactly two voters, empty if there are not two.
func (v *View) Other(node string) string {
	other := ""
	for _, name := range v.MemberNames() {
		if name == node || !v.Members[name].Voter {
			continue
		}
		if other != "" {
			return ""
		}
		other = name
	}
	return other
}
