package peer

import (
	"testing"

	"holdfast/internal/api"
)

// A replica in U comes back with a blank disk before the Primary has missed it: the log still means the old disk, which
// must leave U first, or the new one could never be taken in.
func TestReplacedDiskThatIsBackAtOnce(t *testing.T) {
	p := newSim(t, first(equal()), fresh(0xb9))
	p.view(api.VolumeView{Epoch: 1, Version: 1, Primary: "a", U: []api.Replica{replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)}})
	for _, s := range []*side{p.a, p.b} {
		s.m.Connect(s.env(), false)
	}
	if r := p.a.primary(false, 1); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	p.link(false)
	w := p.a.m.Want()
	if w == nil || w.Remove != "b" || !p.a.held {
		t.Fatalf("want %+v, held %v: the Primary goes on as if the blank disk were the one in U", w, p.a.held)
	}
	if p.a.linked || p.b.linked {
		t.Error("the connection was kept while b is to leave U")
	}
}
