package state

import (
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
)

func TestLeaseRules(t *testing.T) {
	f := founded(t)
	f.refuses(&LeaseStart{Node: "a", Incarnation: 1, Session: 2}, "still has session 1")
	f.refuses(&LeaseEnd{Node: "a", Session: 2}, "has session 1, not 2")
	f.refuses(&LeaseEnd{Node: "x", Session: 1}, "no member")
	f.refuses(&LeaseExpire{Node: "a", Session: 2, Term: 1}, "has session 1, not 2")
	// A former leader's count, forwarded to or repeated under the next one.
	f.term = 2
	f.refuses(&LeaseExpire{Node: "a", Session: 1, Term: 1}, "leader of term 1 counted")
	f.must(&LeaseExpire{Node: "a", Session: 1, Term: 2})
	f.refuses(&LeaseExpire{Node: "a", Session: 1, Term: 2}, "is over already (expired)")
	f.refuses(&LeaseEnd{Node: "a", Session: 1}, "is over already")
	f.refuses(&LeaseStart{Node: "a", Incarnation: 9, Session: 2}, "the member is 1")
	f.refuses(&LeaseStart{Node: "a", Incarnation: 1, Session: 1}, "the next one of a is 2")
	f.refuses(&LeaseStart{Node: "a", Incarnation: 1, Session: 3}, "the next one of a is 2")
	if lost := f.m.View().Lost(); len(lost) != 1 || lost[0] != "a" {
		t.Errorf("lost: %v", lost)
	}
	if r := f.must(&LeaseStart{Node: "a", Incarnation: 1, Session: 2}); r.Session != 2 {
		t.Errorf("session %d", r.Session)
	}
	f.must(&LeaseEnd{Node: "a", Session: 2})
	if l := f.m.View().Leases["a"]; l.State != LeaseEnded || l.Since != f.index {
		t.Errorf("%+v", l)
	}
}

// A stranger's session must not end the tenure of a later one.
func TestOldSessionDoesNotTouchTheNewTenure(t *testing.T) {
	f := promoted(t)
	f.must(&VolumeDemote{Name: "r", Node: "a", Session: 1, Epoch: 2})
	f.must(&LeaseEnd{Node: "a", Session: 1})
	f.restart("a")
	f.must(f.promote("a", "G0", "G1"))
	f.refuses(&LeaseEnd{Node: "a", Session: 1}, "has session 2")
	if v := f.volume(); v.Primary != "a" || v.PrimarySession != 2 {
		t.Errorf("%+v", v)
	}
}

func TestMemberRules(t *testing.T) {
	f := adopted(t)
	long := strings.Repeat("x", cluster.MaxName+1)
	add := func(m Member) *MemberAdd { return &MemberAdd{Member: m} }
	tests := []struct {
		name string
		cmd  Command
		want string
	}{
		{"founded twice", &ClusterInit{Name: "d", UUID: "v", Members: []Member{person("z", Data, 9)}}, "exists already"},
		{"same name", add(person("a", Data, 9)), "a member already"},
		{"same incarnation", add(person("z", Data, 2)), "that of b"},
		{"no incarnation", add(person("z", Data, 0)), "no incarnation"},
		{"no kind", add(Member{Name: "z", Incarnation: 9, Addrs: []string{"x"}}), "no kind"},
		{"no address", add(Member{Name: "z", Kind: Data, Incarnation: 9}), "addresses"},
		{"too many addresses", add(Member{Name: "z", Kind: Data, Incarnation: 9, Addrs: make([]string, 9)}), "addresses"},
		{"a voting follower", add(Member{Name: "z", Kind: Follower, Voter: true, Incarnation: 9, Addrs: []string{"x"}}), "no vote"},
		{"a bad name", add(person("a b", Data, 9)), "no member name"},
		{"an empty name", add(person("", Data, 9)), "1 to 255"},
		{"a long name", add(person(long, Data, 9)), "1 to 255"},
		{"update of nobody", &MemberUpdate{Name: "z", Version: "1"}, "no member"},
		{"incarnation of another", &MemberIncarnation{Name: "a", Incarnation: 2}, "that of b"},
		{"incarnation 0", &MemberIncarnation{Name: "a"}, "cannot be 0"},
		{"removal with a lease", &MemberRemove{Name: "a"}, "still holds its lease"},
		{"removal of nobody", &MemberRemove{Name: "z"}, "no member"},
		{"token out of range", &ClusterSettings{TokenMS: 1}, "not between"},
		{"a stranger leads", &ClusterLead{Node: "x"}, "no member"},
		{"token under a lease", &ClusterSettings{TokenMS: 2000}, "holds a lease"},
		{"rule without backend", &BalancerSet{Rule: api.BalancerRule{Name: "db", Frontend: "x:1"}}, "at least one backend"},
		{"rule on a stranger", &BalancerSet{Rule: api.BalancerRule{Name: "db", Frontend: "x:1", Hosts: []string{"z"}, Backends: []api.BalancerBackend{{Addr: "y:1"}}}}, "no member"},
		{"no rule", &BalancerRemove{Name: "db"}, "no balancer rule"},
		{"an empty note", &OperatorNote{By: "root"}, "kind and a text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { f.t = t; f.refuses(tt.cmd, tt.want) })
	}
	f.t = t
	f.must(f.expire("b"))
	f.refuses(&MemberRemove{Name: "b"}, "holds an up-to-date replica of volume r")
}

func TestBeforeFounding(t *testing.T) {
	f := &fixture{t: t, m: New()}
	for _, c := range []Command{&MemberAdd{Member: person("a", Data, 1)}, &CIBReplace{XML: "<cib/>"}, &CIBStatus{}, &BalancerSet{}, &ClusterSettings{}} {
		f.refuses(c, "not set up yet")
	}
	f.refuses(&ClusterInit{Name: "c", UUID: "u"}, "at least one member")
	f.refuses(&ClusterInit{Name: "c", UUID: "u", TokenMS: 5, Members: []Member{person("a", Data, 1)}}, "not between")
	f.refuses(&ClusterInit{Name: "c", UUID: "u", Members: []Member{person("a", Data, 1), person("a", Data, 2)}}, "already")
}

// Sessions and node ids are never counted from the start again.
func TestMemberRemovedAndAddedAgain(t *testing.T) {
	f := founded(t)
	f.must(f.expire("b"))
	f.must(&MemberRemove{Name: "b"})
	if len(f.m.View().Lost()) != 0 {
		t.Error("a removed member counts as lost")
	}
	if f.m.View().CIB.Node("b") != nil {
		t.Error("a removed member is in the CIB")
	}
	f.must(&MemberAdd{Member: person("b", Data, 7)})
	f.refuses(&LeaseStart{Node: "b", Incarnation: 7, Session: 1}, "the next one of b is 2")
	f.must(&LeaseStart{Node: "b", Incarnation: 7, Session: 2})
	if id := f.m.View().Members["b"].NodeID; id != 3 {
		t.Errorf("node id %d, want 3", id)
	}
}

func TestMembersAndRules(t *testing.T) {
	f := founded(t)
	f.must(&MemberUpdate{Name: "a", Addrs: []string{"h1", "h2"}, Fingerprint: "f", Version: "1.0"})
	if m := f.m.View().Members["a"]; len(m.Addrs) != 2 || m.Fingerprint != "f" || m.Version != "1.0" {
		t.Errorf("%+v", m)
	}
	f.must(&MemberIncarnation{Name: "w", Incarnation: 30})
	if v := f.m.View(); v.Voters() != 2 {
		t.Errorf("%d voters with a witness that lost its log", v.Voters())
	}
	f.refuses(&LeaseStart{Node: "w", Incarnation: 3, Session: 2}, "the member is 1e")
	rule := api.BalancerRule{Name: "db", Frontend: "10.0.1.10:3306", Hosts: []string{"w"}, Backends: []api.BalancerBackend{{Node: "a", Addr: "10.0.1.4:3306"}}}
	f.must(&BalancerSet{Rule: rule})
	if names := f.m.View().RuleNames(); len(names) != 1 || names[0] != "db" {
		t.Errorf("rules %v", names)
	}
	f.must(&BalancerRemove{Name: "db"})
	for range cluster.MaxOperatorRecords + 5 {
		f.must(&OperatorNote{By: "root", What: "x", Text: "y"})
	}
	if n := len(f.m.View().Operator); n != cluster.MaxOperatorRecords {
		t.Errorf("%d operator records", n)
	}
}
