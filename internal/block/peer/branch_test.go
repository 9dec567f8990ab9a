package peer

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

const branchY = 1 << 40

// The host gave its branch of the log up and is in another: whatever the process was Primary of is over, also where the
// numbers of the two branches coincide or go back, and it connects within the new branch only.
func TestAnotherBranchEndsATenure(t *testing.T) {
	both := []api.Replica{replica("a", 0xa1, gen, 0), replica("b", 0xb1, gen, 0)}
	for name, next := range map[string]api.VolumeView{
		"the same numbers": {Bound: true, Adopted: true, Branch: branchY, Epoch: 7, Version: 2, Primary: "a", U: both[:1]},
		"lower numbers":    {Bound: true, Adopted: true, Branch: branchY, Epoch: 3, Version: 1, Primary: "b", U: both[1:]},
		"not in its log":   {Bound: true, Branch: branchY},
	} {
		t.Run(name, func(t *testing.T) {
			p := newSim(t, first(equal()), second(equal()))
			a := p.a
			a.m.View(a.env(), api.VolumeView{Bound: true, Adopted: true, Epoch: 7, Version: 2, Primary: "a", U: both[:1]})
			a.m.Connect(a.env(), false)
			a.run()
			if r := a.primary(false, 7); r.Code != 0 {
				t.Fatal(r.Error)
			}
			before := a.m.Link()
			a.m.View(a.env(), next)
			a.run()
			if a.m.IsPrimary() || !strings.Contains(a.broken, "another branch") {
				t.Errorf("%s, broken %q", a.state(), a.broken)
			}
			if now := a.m.Link(); now.Branch != branchY || now == before {
				t.Errorf("connects as %+v", now)
			}
			if w := a.m.Want(); w != nil && w.Branch != branchY {
				t.Errorf("wants %+v", w)
			}
		})
	}
}
