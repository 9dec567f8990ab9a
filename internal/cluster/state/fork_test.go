package state

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

// ignoring is a CIB with no-quorum-policy=ignore.
func ignoring(xml string) string {
	const end = "</cluster_property_set>"
	return strings.Replace(xml, end, `<nvpair id="nqp" name="no-quorum-policy" value="ignore"/>`+end, 1)
}

// drbd is the volume r in a CIB.
const drbd = `<resources><primitive id="d" class="ocf" provider="linbit" type="drbd"><instance_attributes id="d-ia"><nvpair id="d-r" name="drbd_resource" value="r"/></instance_attributes></primitive></resources>`

// pair is a cluster of two data members and a follower, with the volume r in U of both, and no-quorum-policy=ignore.
func pair(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, m: New(), term: 1}
	f.must(&ClusterInit{Name: "c", UUID: "u", Members: []Member{person("a", Data, 1), person("b", Data, 2), person("f", Follower, 9)}, UnixSeconds: 1})
	f.must(&CIBReplace{XML: ignoring(string(f.m.View().CIB.Bytes())), UnixSeconds: 1})
	for i, n := range []string{"a", "b"} {
		f.must(&LeaseStart{Node: n, Incarnation: uint64(i + 1), Session: 1})
	}
	f.must(&VolumeAdopt{Name: "r", U: []api.Replica{replica("b", "G0"), replica("a", "G0")}})
	return f
}

// fork opens a branch by itself for survivor, and returns why it did not.
func (f *fixture) fork(survivor string, branch uint64) error {
	f.index++
	f.term++
	return f.m.Branch(f.index, f.term, &ClusterBranch{Survivor: survivor, Branch: branch, Incarnation: 700 + branch - FirstBranch, Fork: true, By: "ignore"})
}

func TestMayFork(t *testing.T) {
	for name, test := range map[string]struct {
		change func(f *fixture)
		node   string
		want   string
	}{
		"two hosts and a follower": {func(*fixture) {}, "a", ""},
		"the policy is another": {func(f *fixture) {
			f.must(&CIBReplace{XML: strings.Replace(string(f.m.View().CIB.Bytes()), `"ignore"`, `"stop"`, 1), UnixSeconds: 1})
		}, "a", "is not ignore"},
		"a witness is to vote": {func(f *fixture) {
			f.must(&MemberAdd{Member: Member{Name: "w", Kind: Witness, Incarnation: 3, Addrs: []string{"x"}}})
		}, "a", "w is to vote, too"},
		"a third host":               {func(f *fixture) { f.must(&MemberAdd{Member: person("c", Data, 3)}) }, "a", "exactly two voters"},
		"the peer is being taken in": {func(f *fixture) { f.must(&MemberIncarnation{Name: "b", Incarnation: 5}) }, "a", "b is to vote, too"},
		"the follower":               {func(*fixture) {}, "f", "is not one of exactly two voters"},
		"its disk has left U": {func(f *fixture) {
			f.must(f.promote("b", "G0", "G1"))
			f.must(&VolumeRemove{Name: "r", Node: "b", Epoch: f.volume().Epoch, Version: f.volume().Version, Remove: "a", NewGeneration: "G2"})
		}, "a", "no disk of a is up to date (volume r: b)"},
		"the other one's has": {func(f *fixture) {
			f.must(f.promote("a", "G0", "G1"))
			f.must(&VolumeRemove{Name: "r", Node: "a", Epoch: f.volume().Epoch, Version: f.volume().Version, Remove: "b", NewGeneration: "G2"})
		}, "a", ""},
		"a volume that is not in the log": {func(f *fixture) {
			f.must(&VolumeForget{Name: "r", By: "root"})
			const end = "<resources/>"
			f.must(&CIBReplace{XML: strings.Replace(string(f.m.View().CIB.Bytes()), end, drbd, 1), UnixSeconds: 1})
		}, "a", "volume r is not in the cluster's log yet"},
		"no volume": {func(f *fixture) { f.must(&VolumeForget{Name: "r", By: "root"}) }, "a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := pair(t)
			test.change(f)
			err := f.m.View().MayFork(test.node)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			before := f.m.View().Cluster.Lineage
			if got := f.fork(test.node, FirstBranch); (got == nil) != (err == nil) {
				t.Errorf("the branch itself: %v", got)
			}
			if after := f.m.View().Cluster.Lineage; (after.Branch == before.Branch) != (err != nil) {
				t.Errorf("branch %+v after %+v", after, before)
			}
		})
	}
}

// One host goes on alone. What its peer was Primary of ended uncleanly, so that the next promotion takes the peer out of U; the
// peer comes back as another incarnation and is no more told apart from anybody else.
func TestForkOfTwo(t *testing.T) {
	f := pair(t)
	f.must(f.promote("b", "G0", "G1"))
	if err := f.fork("a", FirstBranch); err != nil {
		t.Fatal(err)
	}
	v := f.m.View()
	if (Lineage{}).Judge(v.Cluster.Lineage) != GivenUp || (Lineage{}).MustRetire(v.Cluster.Lineage, true) || !(Lineage{}).MustRetire(v.Cluster.Lineage, false) {
		t.Errorf("the lineage is %+v", v.Cluster.Lineage)
	}
	if v.Voters() != 1 || v.MayFork("a") == nil {
		t.Errorf("%d voters; a second fork: %v", v.Voters(), v.MayFork("a"))
	}
	f.must(&LeaseStart{Node: "a", Incarnation: v.Members["a"].Incarnation, Session: v.Leases["a"].Session + 1})
	f.must(f.promote("a", "G0", "G5"))
	if u := f.volume().U; len(u) != 1 || u[0].Node != "a" || u[0].Generation != "G5" {
		t.Errorf("U is %+v", u)
	}
	f.must(&MemberIncarnation{Name: "b", Incarnation: 55})
	f.must(&MemberIncarnation{Name: "b", Incarnation: 55, Voter: true})
	if err := f.m.View().MayFork("b"); err == nil {
		t.Error("the peer's old disk is good enough to go on alone")
	}
	if err := f.m.View().MayFork("a"); err != nil {
		t.Errorf("together again: %v", err)
	}
}

// A node that has had sessions in another branch begins with one its guard has not seen.
func TestLeaseSkip(t *testing.T) {
	f := pair(t)
	f.refuses(&LeaseSkip{Node: "a", Incarnation: 1, Session: 9}, "still has session 1")
	f.must(&LeaseEnd{Node: "a", Session: 1})
	f.refuses(&LeaseSkip{Node: "a", Incarnation: 4, Session: 9}, "must be taken in again")
	f.refuses(&LeaseSkip{Node: "a", Incarnation: 1, Session: 1}, "has had session 1 already")
	next, skip := f.m.View().Leases["a"].Next(10)
	if next != 10 || !skip {
		t.Errorf("next is %d, %v", next, skip)
	}
	f.must(&LeaseSkip{Node: "a", Incarnation: 1, Session: next - 1})
	if l := f.m.View().Leases["a"]; l.State != LeaseEnded || l.Session != 9 {
		t.Errorf("the lease is %+v", l)
	}
	if next, skip := f.m.View().Leases["a"].Next(10); next != 10 || skip {
		t.Errorf("next is %d, %v", next, skip)
	}
	f.must(&LeaseStart{Node: "a", Incarnation: 1, Session: 10})
	f.must(&MemberAdd{Member: person("g", Follower, 12)})
	f.must(&LeaseSkip{Node: "g", Incarnation: 12, Session: 3})
	f.must(&LeaseStart{Node: "g", Incarnation: 12, Session: 4})
}
