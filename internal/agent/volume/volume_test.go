package volume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/api"
)

// node is a host's volumes as the daemon would give them.
type node struct {
	defined bool
	up      bool
	status  api.VolumeStatus
	epoch   uint64 // what Promote returns
	refuse  int    // how often Promote says "not yet"
	fail    map[string]error
	calls   []string
	scores  []string
	// connects is how many looks it takes until the peer is there; negative: never.
	connects int
}

func newNode() *node {
	return &node{defined: true, epoch: 7, fail: map[string]error{},
		status: api.VolumeStatus{Role: "Secondary", Disk: "UpToDate", PeerDisk: "UpToDate", PeerRole: "Secondary", Epoch: 6}}
}

func (n *node) call(what string) error {
	n.calls = append(n.calls, what)
	return n.fail[what]
}

func (n *node) Status(context.Context, string) (api.VolumeStatus, error) {
	switch {
	case !n.defined:
		return api.VolumeStatus{}, fmt.Errorf("look: %w", ErrNotDefined)
	case !n.up:
		return api.VolumeStatus{}, ErrNotUp
	}
	st := n.status
	if n.connects != 0 {
		n.connects--
		st.PeerRole, st.PeerDisk = "Unknown", "DUnknown"
	}
	return st, n.fail["status"]
}

func (n *node) Up(context.Context, string) error {
	err := n.call("up")
	n.up = err == nil
	return err
}

func (n *node) Down(context.Context, string) error {
	err := n.call("down")
	n.up = err != nil
	return err
}

func (n *node) Promote(context.Context, string) (uint64, error) {
	if err := n.call("promote"); err != nil {
		return 0, err
	}
	if n.refuse > 0 {
		n.refuse--
		return 0, fmt.Errorf("the lease of db1 is not over: %w", ErrNotYet)
	}
	n.status.Role, n.status.Epoch = "Primary", n.epoch
	return n.epoch, nil
}

func (n *node) Demote(context.Context, string) error {
	err := n.call("demote")
	if err == nil {
		n.status.Role = "Secondary"
	}
	return err
}

func (n *node) score(instance string, score int, set bool) {
	n.scores = append(n.scores, fmt.Sprintf("%s=%d,%v", Attribute(instance), score, set))
}

func (n *node) last() string {
	if len(n.scores) == 0 {
		return ""
	}
	return n.scores[len(n.scores)-1]
}

func (n *node) run(t *testing.T, action string, params ...string) agent.Result {
	t.Helper()
	op := agent.Operation{Resource: "drbd_ha:1", Spec: Spec(), Action: action, Timeout: 2 * time.Second, Params: map[string]string{"drbd_resource": "r0"}}
	for i := 0; i+1 < len(params); i += 2 {
		op.Params[params[i]] = params[i+1]
	}
	ctx, cancel := context.WithTimeout(t.Context(), op.Timeout)
	defer cancel()
	return New(n, n.score).Run(ctx, op)
}

func (n *node) expect(t *testing.T, action string, code agent.Code, reason string, params ...string) {
	t.Helper()
	r := n.run(t, action, params...)
	if r.Code != code || r.Status != agent.Done || !strings.Contains(r.ExitReason, reason) {
		t.Errorf("%s: %+v, want code %d and %q", action, r, code, reason)
	}
}

func TestContract(t *testing.T) {
	n := newNode()
	n.expect(t, "monitor", agent.NotRunning, "")
	n.expect(t, "start", agent.OK, "")
	if n.last() != "master-drbd_ha=10000,true" {
		t.Errorf("score after start: %s", n.last())
	}
	n.expect(t, "start", agent.OK, "")
	n.expect(t, "monitor", agent.OK, "")
	n.expect(t, "notify", agent.OK, "")
	n.expect(t, "promote", agent.OK, "")
	n.expect(t, "monitor", agent.RunningPromoted, "")
	n.expect(t, "start", agent.RunningPromoted, "already Primary")
	n.expect(t, "demote", agent.OK, "")
	n.expect(t, "demote", agent.OK, "")
	n.expect(t, "monitor", agent.OK, "")
	n.expect(t, "stop", agent.OK, "")
	if n.last() != "master-drbd_ha=0,false" {
		t.Errorf("score after stop: %s", n.last())
	}
	n.expect(t, "stop", agent.OK, "")
	n.expect(t, "monitor", agent.NotRunning, "")
	n.expect(t, "demote", agent.NotRunning, "not up")
	if got := strings.Join(n.calls, " "); got != "up promote demote down" {
		t.Errorf("calls: %s", got)
	}
}

func TestStopDemotesFirst(t *testing.T) {
	n := newNode()
	n.up, n.status.Role = true, "Primary"
	n.expect(t, "stop", agent.OK, "")
	if got := strings.Join(n.calls, " "); got != "demote down" {
		t.Errorf("calls: %s", got)
	}
}

func TestFailuresAreToldWithWhatWasAttempted(t *testing.T) {
	busy := errors.New("held open by process 7 (mariadbd)")
	for action, call := range map[string]string{"start": "up", "stop": "down", "promote": "promote", "demote": "demote"} {
		n := newNode()
		n.up = action != "start"
		if action == "demote" {
			n.status.Role = "Primary"
		}
		n.fail[call] = busy
		n.expect(t, action, agent.ErrGeneric, action+" volume r0: held open by process 7")
	}
}

func TestUndefinedVolume(t *testing.T) {
	n := newNode()
	n.defined = false
	n.fail["up"], n.fail["promote"], n.fail["demote"] = ErrNotDefined, ErrNotDefined, ErrNotDefined
	n.expect(t, "monitor", agent.NotRunning, "") // a probe on a node without it
	n.expect(t, "stop", agent.OK, "")
	n.expect(t, "start", agent.ErrInstalled, "no such volume")
	n.expect(t, "promote", agent.ErrInstalled, "no such volume")
	n.expect(t, "validate-all", agent.ErrInstalled, "no such volume")
}

func TestParameters(t *testing.T) {
	n := newNode()
	n.expect(t, "start", agent.ErrConfigured, "drbd_resource is not set", "drbd_resource", "")
	n.expect(t, "validate-all", agent.ErrConfigured, "four numbers", "adjust_master_score", "1 2 3")
	n.expect(t, "validate-all", agent.OK, "")
	n.expect(t, "migrate_to", agent.ErrUnimplemented, "migrate_to")
	if r := n.run(t, "meta-data"); r.Code != agent.OK || !strings.Contains(string(r.Stdout), `name="drbd_resource"`) {
		t.Errorf("meta-data: %+v", r)
	}
}

// A promotion that is refused for now is repeated until it is granted, or the operation's time is over.
func TestPromotionWaits(t *testing.T) {
	n := newNode()
	n.up, n.refuse = true, 3
	n.expect(t, "promote", agent.OK, "")
	if len(n.calls) != 4 {
		t.Errorf("%d attempts", len(n.calls))
	}
	n = newNode()
	n.up, n.refuse = true, 1<<30
	if r := n.run(t, "promote"); r.Status != agent.TimedOut || !strings.Contains(r.ExitReason, "lease of db1") {
		t.Errorf("%+v", r)
	}
}

func TestNoPromotionWithoutItsEpoch(t *testing.T) {
	n := newNode()
	n.up, n.epoch = true, 0
	n.expect(t, "promote", agent.ErrGeneric, "no epoch")
	n = newNode()
	n.up = true
	lying := &lazy{n}
	r := New(lying, nil).Run(t.Context(), agent.Operation{Action: "promote", Params: map[string]string{"drbd_resource": "r0"}})
	if r.Code != agent.ErrGeneric || !strings.Contains(r.ExitReason, "Secondary in epoch 6") {
		t.Errorf("a volume that is not Primary was taken for promoted: %+v", r)
	}
}

// lazy says it has promoted and has not.
type lazy struct{ *node }

func (l *lazy) Promote(context.Context, string) (uint64, error) { return 7, nil }

func TestStartWaitsForThePeer(t *testing.T) {
	n := newNode()
	n.connects = 3
	n.expect(t, "start", agent.OK, "")
	if n.last() != "master-drbd_ha=10000,true" {
		t.Errorf("score %s: start did not wait for the peer", n.last())
	}
	// A disk in U does not wait long for a peer that may be dead: with this timeout the test would never end.
	n = newNode()
	n.connects, n.status.Bound = -1, true
	n.expect(t, "start", agent.OK, "", "wfc_timeout", "86400")
	n = newNode()
	n.connects = -1
	n.expect(t, "start", agent.OK, "", "wfc_timeout", "")
	if n.last() != "master-drbd_ha=1000,true" {
		t.Errorf("score without a peer: %s", n.last())
	}
}

func TestScore(t *testing.T) {
	for _, c := range []struct {
		disk, role, peerDisk, adjust string
		want                         int
		ok                           bool
	}{
		{"UpToDate", "Secondary", "UpToDate", "", 10000, true},
		{"UpToDate", "Secondary", "Inconsistent", "", 10000, true},
		{"UpToDate", "Secondary", "DUnknown", "", 1000, true},
		{"UpToDate", "Secondary", "", "", 1000, true},
		{"UpToDate", "Primary", "DUnknown", "", 10000, true},
		{"Consistent", "Secondary", "DUnknown", "", 0, false},
		{"Consistent", "Secondary", "DUnknown", "5 10 1000 10000", 5, true},
		{"Outdated", "Secondary", "UpToDate", "", 0, false},
		{"Inconsistent", "Secondary", "UpToDate", "", 0, false},
		{"Diskless", "Secondary", "UpToDate", "", 0, false},
		{"Diskless", "Primary", "UpToDate", "", 0, false},
		{"Failed", "Primary", "UpToDate", "", 0, false},
		{"UpToDate", "Secondary", "UpToDate", "1 2 3 4", 4, true},
		{"UpToDate", "Secondary", "UpToDate", "4 3 2 1", 0, false},
		{"UpToDate", "Secondary", "UpToDate", "x", 0, false},
	} {
		score, ok := Score(map[string]string{"adjust_master_score": c.adjust}, &api.VolumeStatus{Disk: c.disk, Role: c.role, PeerDisk: c.peerDisk})
		if score != c.want || ok != c.ok {
			t.Errorf("%s %s peer %s (%q): %d, %v", c.disk, c.role, c.peerDisk, c.adjust, score, ok)
		}
	}
}

func TestAttribute(t *testing.T) {
	for in, want := range map[string]string{"drbd": "master-drbd", "drbd:0": "master-drbd", "a:b:12": "master-a:b", "x:y": "master-x:y"} {
		if got := Attribute(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func FuzzScores(f *testing.F) {
	f.Add("0 10 1000 10000")
	f.Add("-1 -1 0 x")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := Scores(map[string]string{"adjust_master_score": s}); err == nil && (v[0] > v[1] || v[1] > v[2] || v[2] > v[3]) {
			t.Errorf("%q: %v", s, v)
		}
	})
}
