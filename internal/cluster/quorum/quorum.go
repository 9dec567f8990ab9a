// Package quorum counts votes, and says which change of the voters comes next when the members recorded in the log and
// Raft's own configuration differ.
package quorum

import (
	"fmt"
	"slices"
	"strings"
)

// Vote is one voter as seen from here.
type Vote struct {
	Node string
	// Witness: it holds no data.
	Witness bool
	// Present: it is this node, or was heard from within token.
	Present bool
}

// Verdict is the count.
type Verdict struct {
	Quorate bool
	// Have votes are present of Voters; Need make a quorum.
	Have, Need, Voters int
	// Text explains the verdict in one sentence.
	Text string
	// Warnings say what is wrong with the set of voters itself.
	Warnings []string
}

// Count counts the votes present. Leader tells whether a Raft leader is known: without one even a majority of present
// voters decides nothing.
func Count(votes []Vote, leader bool) Verdict {
	v := Verdict{Voters: len(votes), Need: len(votes)/2 + 1}
	var absent []string
	for _, vote := range votes {
		if vote.Present {
			v.Have++
		} else {
			absent = append(absent, vote.Node)
		}
	}
	slices.Sort(absent)
	v.Quorate = v.Voters > 0 && v.Have >= v.Need && leader
	v.Text = v.explain(absent, leader)
	v.Warnings = warnings(votes)
	return v
}

func (v Verdict) explain(absent []string, leader bool) string {
	missing := ""
	if len(absent) > 0 {
		missing = "; not heard from: " + strings.Join(absent, ", ")
	}
	switch {
	case v.Voters == 0:
		return "no voter is known: this host has not joined a cluster yet"
	case v.Have < v.Need:
		return fmt.Sprintf("%d of %d votes present, %d needed%s", v.Have, v.Voters, v.Need, missing)
	case !leader:
		return fmt.Sprintf("%d of %d votes present, enough, but no leader is elected yet%s", v.Have, v.Voters, missing)
	}
	return fmt.Sprintf("%d of %d votes present, %d needed%s", v.Have, v.Voters, v.Need, missing)
}

func warnings(votes []Vote) []string {
	witnesses := 0
	for _, v := range votes {
		if v.Witness {
			witnesses++
		}
	}
	switch n := len(votes); {
	case n == 1:
		return []string{"one voter only: there is nothing to fail over to"}
	case n == 2 && witnesses == 0:
		return []string{"two voters only: when either host is lost, the other one stops too (with no-quorum-policy=ignore it goes on alone, also when both live); add a witness on a third host: holdfast witness add HOST"}
	case n > 0 && n%2 == 0:
		return []string{fmt.Sprintf("%d voters tolerate no more losses than %d do; add or remove one", n, n-1)}
	}
	return nil
}
