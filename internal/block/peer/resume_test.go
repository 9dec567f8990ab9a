package peer

import (
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
)

func TestResumedPrimary(t *testing.T) {
	at := upToDate(generation.Set{Current: gen | 1}, 0xa1, metadata.PrimaryInd)
	both := []api.Replica{replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)}
	for _, c := range []struct {
		name    string
		view    api.VolumeView
		primary bool
		want    string // of Remove
	}{
		{"no cluster", api.VolumeView{}, true, ""},
		{"same epoch, alone", api.VolumeView{Bound: true, Adopted: true, Epoch: 3, Primary: "a", U: both[:1]}, true, ""},
		{"same epoch, with a replica", api.VolumeView{Bound: true, Adopted: true, Epoch: 3, Primary: "a", U: both}, true, "b"},
		{"later epoch", api.VolumeView{Bound: true, Adopted: true, Epoch: 4, Primary: "a", U: both}, false, ""},
		{"another branch of the log", api.VolumeView{Bound: true, Adopted: true, Branch: 1 << 40, Epoch: 3, Primary: "a", U: both[:1]}, false, ""},
		{"lease expired", api.VolumeView{Bound: true, Adopted: true, Epoch: 3, U: both}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newSim(t, first(equal()), second(equal()))
			m := New(Settings{Node: "a", PeerNode: "b"}, 3)
			p.a.m = m
			m.Attached(p.a.env(), at, &Resume{Epoch: 3, Bound: c.view.Bound})
			p.a.run()
			if !m.Resuming() || !p.a.held || p.a.sb.Flags&metadata.PrimaryInd == 0 {
				t.Fatal("does not wait for the log")
			}
			m.View(p.a.env(), c.view)
			p.a.run()
			if m.IsPrimary() != c.primary || (p.a.broken == "") != c.primary {
				t.Errorf("state %s, broken %q", p.a.state(), p.a.broken)
			}
			w := m.Want()
			if (w == nil) != (c.want == "") || w != nil && w.Remove != c.want {
				t.Errorf("want %+v", w)
			}
			if p.a.held != (c.want != "") && c.primary {
				t.Errorf("held %v", p.a.held)
			}
		})
	}
}

// The process of a Primary ends between its request to take the peer into U and the answer. The next one knows: it lets
// nothing be acknowledged before the log has decided about that request, and has the peer out again (S5).
func TestResumedPrimaryWithARequestUnderWay(t *testing.T) {
	at := upToDate(generation.Set{Current: gen | 1}, 0xa1, metadata.PrimaryInd)
	self, other := replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)
	view := func(version uint64, u ...api.Replica) api.VolumeView {
		return api.VolumeView{Bound: true, Adopted: true, Epoch: 3, Version: version, Primary: "a", U: u}
	}
	resumed := func(t *testing.T) (*side, *Machine) {
		p := newSim(t, first(equal()), second(equal()))
		m := New(Settings{Node: "a", PeerNode: "b"}, 3)
		p.a.m = m
		m.Attached(p.a.env(), at, &Resume{Epoch: 3, Bound: true, AddDevice: 0xb1, AddVersion: 7})
		m.View(p.a.env(), view(7, self))
		p.a.run()
		if w := m.Want(); !p.a.held || w == nil || w.Add == nil || *w.Add != other || w.Version != 7 {
			t.Fatalf("held %v, want %+v", p.a.held, w)
		}
		if r := m.Resume(3); r.AddDevice != 0xb1 || r.AddVersion != 7 {
			t.Errorf("a third process would know %+v", r)
		}
		return p.a, m
	}
	t.Run("taken in", func(t *testing.T) {
		a, m := resumed(t)
		m.View(a.env(), view(8, self, other))
		a.run()
		if w := m.Want(); !a.held || w == nil || w.Remove != "b" {
			t.Fatalf("held %v, want %+v", a.held, w)
		}
		m.View(a.env(), view(9, self))
		a.run()
		if w := m.Want(); a.held || w != nil || !m.IsPrimary() {
			t.Errorf("held %v, want %+v", a.held, w)
		}
	})
	t.Run("overtaken", func(t *testing.T) {
		a, m := resumed(t)
		m.View(a.env(), view(8, self))
		a.run()
		if w := m.Want(); a.held || w != nil || !m.IsPrimary() {
			t.Errorf("held %v, want %+v", a.held, w)
		}
	})
}
