package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/cluster/state"
)

// outside is what a decision depends on beside the results of our own operations: when it changes, whatever was planned
// is out of date.
type outside struct {
	text string
	// held are history entries and failure counts: that one has gone matters, that one has come is our own doing.
	held map[string]bool
}

func lookOutside(view *state.View) outside {
	var b strings.Builder
	if view.CIB == nil {
		return outside{}
	}
	v := view.CIB.Version()
	fmt.Fprintln(&b, "configuration", v.AdminEpoch, v.Epoch)
	for _, n := range view.MemberNames() {
		l := view.Leases[n]
		fmt.Fprintln(&b, "node", n, view.Members[n].Kind, l.State, l.Session)
	}
	for _, f := range forbid(view, nil) {
		fmt.Fprintln(&b, "forbidden", f.Resource, f.Node, f.Why)
	}
	held := historyKeys(view)
	for _, n := range view.MemberNames() {
		attrs := view.CIB.TransientAttributes(n)
		for _, name := range slices.Sorted(maps.Keys(attrs)) {
			if strings.HasPrefix(name, "fail-count-") || strings.HasPrefix(name, "last-failure-") {
				held[n+"\x00#"+name] = true
				continue
			}
			fmt.Fprintln(&b, "attribute", n, name, attrs[name])
		}
	}
	return outside{b.String(), held}
}

// changed tells whether the world is another one than before.
func (o outside) changed(before outside) bool {
	if o.text != before.text {
		return true
	}
	for key := range before.held {
		if !o.held[key] {
			return true
		}
	}
	return false
}

// historyKeys are NODE\x00RESOURCE of every history entry.
func historyKeys(view *state.View) map[string]bool {
	keys := map[string]bool{}
	for _, st := range view.CIB.Status().ChildrenNamed("node_state") {
		for _, rsc := range st.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource") {
			keys[st.Get("uname")+"\x00"+rsc.ID()] = true
		}
	}
	return keys
}
