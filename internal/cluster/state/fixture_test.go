package state

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

// fixture is a machine with the log's counters.
type fixture struct {
	t     testing.TB
	m     *Machine
	index uint64
	term  uint64
}

// founded is a cluster of two data members, a and b, and a witness w, each with lease session 1.
func founded(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, m: New(), term: 1}
	f.must(&ClusterInit{Name: "c", UUID: "u", Members: []Member{person("a", Data, 1), person("b", Data, 2), person("w", Witness, 3)}, UnixSeconds: 1})
	for i, n := range []string{"a", "b", "w"} {
		f.must(&LeaseStart{Node: n, Incarnation: uint64(i + 1), Session: 1})
	}
	return f
}

func person(name string, kind Kind, id uint64) Member {
	return Member{Name: name, Kind: kind, Incarnation: id, Voter: kind != Follower, Addrs: []string{"10.0.0.1"}}
}

// apply applies c through its encoding, as the log does.
func (f *fixture) apply(c Command) Result {
	f.t.Helper()
	data, err := Encode(ID{}, c)
	if err != nil {
		f.t.Fatal(err)
	}
	f.index++
	r := f.m.Apply(f.index, f.term, data)
	if r.Unsupported != "" {
		f.t.Fatalf("%s: %s", Verb(c), r.Unsupported)
	}
	return r
}

func (f *fixture) must(c Command) Result {
	f.t.Helper()
	r := f.apply(c)
	if err := r.Err(); err != nil {
		f.t.Fatal(err)
	}
	return r
}

// refuses demands that c is refused for a reason containing want, and that nothing but the index changes.
func (f *fixture) refuses(c Command, want string) {
	f.t.Helper()
	before := f.shape()
	r := f.apply(c)
	if !strings.Contains(r.Refused, want) || r.Refused == "" {
		f.t.Errorf("%s: refused with %q, want %q", Verb(c), r.Refused, want)
	}
	if after := f.shape(); before != after {
		f.t.Errorf("%s was refused and changed the state\nbefore %s\nafter  %s", Verb(c), before, after)
	}
}

// shape is the state without the index and the proposals seen.
func (f *fixture) shape() string {
	v := *f.m.View()
	v.Index = 0
	m := Machine{view: &v}
	return string(m.Snapshot())
}

func replica(node, generation string) api.Replica {
	return api.Replica{Node: node, DeviceUUID: "dev-" + node, Generation: generation}
}

// adopted is founded with a volume r on a and b at generation G0.
func adopted(t testing.TB) *fixture {
	t.Helper()
	f := founded(t)
	f.must(&VolumeAdopt{Name: "r", U: []api.Replica{replica("b", "G0"), replica("a", "G0")}})
	return f
}

// promoted is adopted with a Primary in epoch 2.
func promoted(t testing.TB) *fixture {
	t.Helper()
	f := adopted(t)
	f.must(f.promote("a", "G0", "G1"))
	return f
}

func (f *fixture) volume() Volume { return f.m.View().Volumes["r"] }

// promote is the command node would send now.
func (f *fixture) promote(node, generation, fresh string) *VolumePromote {
	v := f.volume()
	return &VolumePromote{Name: "r", Node: node, Session: f.m.View().Leases[node].Session, DeviceUUID: "dev-" + node,
		Generation: generation, NewGeneration: fresh, Epoch: v.Epoch, Version: v.Version}
}

func (f *fixture) expire(node string) *LeaseExpire {
	return &LeaseExpire{Node: node, Session: f.m.View().Leases[node].Session, Term: f.term}
}

// restart begins the next session of a node whose last one is over.
func (f *fixture) restart(node string) {
	f.t.Helper()
	f.must(&LeaseStart{Node: node, Incarnation: f.m.View().Members[node].Incarnation, Session: f.m.View().Leases[node].Session + 1})
}
