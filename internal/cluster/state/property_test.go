package state

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"holdfast/internal/api"
)

// walk drives a machine with random commands, many of them sensible, and checks after each what must always hold. It
// plays the hosts honestly enough to know which disks hold every acknowledged write.
type walk struct {
	*fixture
	rt   *rapid.T
	gens int
}

func (w *walk) generation() string {
	w.gens++
	return fmt.Sprintf("N%d", w.gens)
}

func (w *walk) draw() Command {
	node := rapid.SampledFrom([]string{"a", "b", "w", "x"}).Draw(w.rt, "node")
	v, view := w.volume(), w.m.View()
	l := view.Leases[node]
	off := rapid.SampledFrom([]uint64{0, 0, 0, 1}).Draw(w.rt, "off")
	gen := "G0"
	if len(v.U) > 0 {
		r := rapid.SampledFrom(v.U).Draw(w.rt, "replica")
		gen = rapid.SampledFrom([]string{r.Generation, r.PrevGeneration, "G9"}).Draw(w.rt, "generation")
	}
	other := rapid.SampledFrom([]string{"a", "b"}).Draw(w.rt, "other")
	commands := []func() Command{
		func() Command {
			return &LeaseStart{Node: node, Incarnation: view.Members[node].Incarnation, Session: l.Session + 1 - off}
		},
		func() Command { return &LeaseExpire{Node: node, Session: l.Session - off, Term: w.term - off} },
		func() Command { return &LeaseEnd{Node: node, Session: l.Session} },
		func() Command {
			return &VolumeAdopt{Name: "r", Version: v.Version, Primary: v.Primary, U: []api.Replica{replica("a", "G0"), replica(other, "G0")}}
		},
		func() Command {
			return &VolumePromote{Name: "r", Node: node, Session: l.Session, DeviceUUID: "dev-" + node, Generation: gen,
				NewGeneration: w.generation(), Epoch: v.Epoch - off, Version: v.Version}
		},
		func() Command {
			return &VolumeDemote{Name: "r", Node: v.Primary, Session: v.PrimarySession, Epoch: v.Epoch - off}
		},
		func() Command {
			return &VolumeRemove{Name: "r", Node: node, Epoch: v.Epoch, Version: v.Version - off, Remove: other, NewGeneration: w.generation()}
		},
		func() Command {
			return &VolumeAdd{Name: "r", Node: node, Epoch: v.Epoch - off, Version: v.Version, Add: replica(other, gen)}
		},
		func() Command {
			return &VolumeConfirm{Name: "r", Node: other, DeviceUUID: "dev-" + other, Generation: gen}
		},
		func() Command {
			return &VolumeForget{Name: "r", Node: rapid.SampledFrom([]string{"", other}).Draw(w.rt, "forget"), NewGeneration: w.generation()}
		},
		func() Command {
			return &VolumeSurvivor{Name: "r", Node: other, DeviceUUID: "dev-" + other, Generation: gen, NewGeneration: w.generation(), AcceptLoss: off == 1}
		},
		func() Command {
			return &MemberIncarnation{Name: node, Incarnation: uint64(w.index) + 10, Voter: off == 0}
		},
		func() Command { return &MemberRemove{Name: node} },
		func() Command { return &MemberAdd{Member: person(node, Data, w.index+10)} },
		func() Command {
			r := op("start", int(off))
			r.Node = node
			return &CIBStatus{Edits: []StatusEdit{{Op: &OpEdit{Session: l.Session - off, Record: r}}}}
		},
		func() Command {
			r := op("monitor", 7)
			r.Node = node
			return &CIBStatus{Reports: []ReportEdits{{Node: node, Session: l.Session - off, Seq: l.Reported + 1 - off, Edits: []StatusEdit{{Op: &OpEdit{Record: r}}}}}}
		},
		func() Command {
			doc := view.CIB.Clone()
			doc.SetProperty("p", fmt.Sprint(w.index))
			return &CIBReplace{Base: doc.Version().String(), XML: string(doc.Bytes())}
		},
	}
	return rapid.SampledFrom(commands).Draw(w.rt, "command")()
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &walk{fixture: adopted(rt2tb{t, rt}), rt: rt}
		twin := New()
		if err := twin.Restore(w.m.Snapshot()); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.IntRange(0, 9).Draw(rt, "election") == 0 {
				w.term++
			}
			before := w.m.View()
			cmd := w.draw()
			data, err := Encode(ID{Origin: 1, Seq: w.index + 1, After: w.index}, cmd)
			if err != nil {
				rt.Fatal(err)
			}
			w.index++
			r, r2 := w.m.Apply(w.index, w.term, data), twin.Apply(w.index, w.term, data)
			if r != r2 {
				rt.Fatalf("%s: two machines answered %+v and %+v", Verb(cmd), r, r2)
			}
			w.check(before, cmd, r)
			if rapid.IntRange(0, 4).Draw(rt, "snapshot") == 0 {
				w.checkSnapshot(twin)
			}
		}
		w.checkSnapshot(twin)
	})
}

// rt2tb lets fixtures fail a rapid test.
type rt2tb struct {
	testing.TB
	rt *rapid.T
}

func (r rt2tb) Fatal(args ...any)                 { r.rt.Fatal(args...) }
func (r rt2tb) Fatalf(format string, args ...any) { r.rt.Fatalf(format, args...) }

func (w *walk) checkSnapshot(twin *Machine) {
	snap := w.m.Snapshot()
	if !bytes.Equal(snap, twin.Snapshot()) {
		w.rt.Fatalf("two machines with the same log differ\n%s\n%s", snap, twin.Snapshot())
	}
	m := New()
	if err := m.Restore(snap); err != nil {
		w.rt.Fatal(err)
	}
	if again := m.Snapshot(); !bytes.Equal(snap, again) {
		w.rt.Fatalf("a snapshot changes when restored\n%s\n%s", snap, again)
	}
	*twin = *m // go on from the restored one
}

// check is the list of invariants.
func (w *walk) check(before *View, cmd Command, r Result) {
	v, old := w.volume(), before.Volumes["r"]
	view := w.m.View()
	fail := func(format string, args ...any) {
		w.rt.Fatalf("%s (%+v): %s\nbefore %+v\nafter  %+v", Verb(cmd), r, fmt.Sprintf(format, args...), old, v)
	}
	if v.Epoch < old.Epoch || v.Version < old.Version {
		fail("epoch or version went back")
	}
	if v.Adopted != (len(v.U) > 0) {
		fail("adopted and U do not go together")
	}
	if v.Primary != "" && !view.LeaseLive(v.Primary, v.PrimarySession) {
		fail("a Primary without a live lease")
	}
	if v.Primary != old.Primary && v.Primary != "" {
		w.checkPromotion(before, cmd, fail)
	}
	if fmt.Sprint(v.U) != fmt.Sprint(old.U) && v.Version == old.Version {
		if _, ok := cmd.(*VolumeConfirm); !ok {
			fail("U changed without its version")
		}
	}
	for i, m := range v.U {
		if m.Generation == "" || m.DeviceUUID == "" || i > 0 && (v.U[i-1].Node >= m.Node || v.U[i-1].Generation != m.Generation) {
			fail("U is not in order")
		}
	}
	for node, l := range view.Leases {
		if l.Session < before.Leases[node].Session {
			fail("the session of %s went back", node)
		}
	}
	if view.CIB.Version().Compare(before.CIB.Version()) < 0 {
		fail("the CIB's version went back")
	}
	if r.Refused == "" && bytes.Equal(view.CIB.Bytes(), before.CIB.Bytes()) != (view.CIB.Version() == before.CIB.Version()) {
		fail("the CIB changed without its version, or the other way round")
	}
	w.checkNodes(view, fail)
}

// checkPromotion: whoever becomes Primary was in U, in a new epoch, and nobody else was Primary.
func (w *walk) checkPromotion(before *View, cmd Command, fail func(string, ...any)) {
	v, old := w.volume(), before.Volumes["r"]
	if old.Primary != "" {
		fail("a second Primary")
	}
	if v.Epoch != old.Epoch+1 {
		fail("a promotion without a new epoch")
	}
	if _, was := old.Replica(v.Primary); !was && old.Adopted {
		fail("a Primary from outside U")
	}
	if c, ok := cmd.(*VolumePromote); ok && !old.Holds(c.Node, c.DeviceUUID, c.Generation) {
		fail("a Primary with another disk than U names")
	}
	if old.Unclean && len(v.U) != 1 {
		fail("after an unclean end the other side is still in U")
	}
	if !old.Unclean && len(v.U) != len(old.U) && old.Adopted {
		fail("a clean promotion changed U")
	}
}

// checkNodes: the CIB has a node online exactly while its lease is active.
func (w *walk) checkNodes(view *View, fail func(string, ...any)) {
	for name, m := range view.Members {
		if m.Kind != Data {
			continue
		}
		s, _ := view.CIB.NodeState(name)
		if s.Online != (view.Leases[name].State == LeaseActive) {
			fail("%s is online %v with lease %+v", name, s.Online, view.Leases[name])
		}
		if n := view.CIB.Node(name); n == nil || n.ID() != nodeID(m) {
			fail("%s is not in the CIB", name)
		}
	}
}
