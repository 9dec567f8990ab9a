package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/api"
)

// TestStatusesOfSeveralVolumes: each volume of a resource has its own, and a replacement is news once all have their roles again.
func TestStatusesOfSeveralVolumes(t *testing.T) {
	root := agenttest.NewRoot(t)
	v := supervise(t, root)
	told := make(chan api.VolumeStatus, 8)
	v.onMessage = func(_ string, m api.VolumeMessage) {
		if m.Status != nil {
			told <- *m.Status
		}
	}
	s := serveVolume(t, root, "r")
	l, err := dialVolume(root, "r", quiet())
	agenttest.Must(t, err)
	v.adopt(l)
	say := func(volume int, resuming bool) {
		s.say(api.VolumeMessage{Status: &api.VolumeStatus{Volume: volume, Minor: 10 + volume, Resuming: resuming}})
	}
	say(1, true)
	say(0, true)
	agenttest.Until(t, "both statuses", func() bool { return len(v.states("r")) == 2 })
	l.broughtUp()
	say(0, false)
	agenttest.Until(t, "volume 0", func() bool { return !v.status("r").Resuming })
	if len(told) != 0 {
		t.Errorf("told %+v while volume 1 has not got its role", <-told)
	}
	say(1, false)
	for number := range 2 {
		if st := <-told; st.Volume != number || st.Resuming {
			t.Errorf("told %+v of volume %d", st, number)
		}
	}
	if all := v.states("r"); all[0].Minor != 10 || all[1].Minor != 11 {
		t.Errorf("the statuses are %+v, %+v", all[0], all[1])
	}
}

// TestClusterHoldsResourcesOfOneVolume: the error says where the resource is defined, and what to do.
func TestClusterHoldsResourcesOfOneVolume(t *testing.T) {
	root := agenttest.NewRoot(t)
	d := &Daemon{root: root, node: "a"}
	agenttest.Must(t, os.MkdirAll(root.DRBDDir(), 0o755))
	text := strings.Replace(resFile, "resource r", "resource one", 1) + `
resource two {
  volume 0 { device minor 20; disk /dev/x; meta-disk internal; }
  volume 1 { device minor 21; disk /dev/y; meta-disk internal; }
  on a { address 127.0.0.1:17790; }
  on b { address 127.0.0.2:17790; }
}
`
	agenttest.Must(t, os.WriteFile(filepath.Join(root.DRBDDir(), "r.res"), []byte(text), 0o644))
	if peer, err := d.peerInCluster("one"); err != nil || peer != "b" {
		t.Errorf("one volume: %q, %v", peer, err)
	}
	if err := d.holdable("two"); err == nil || !strings.Contains(err.Error(), "2 volumes") || !strings.Contains(err.Error(), "a resource of its own") {
		t.Errorf("two volumes: %v", err)
	}
	if err := d.inCluster("two"); err != nil {
		t.Errorf("no cluster runs: %v", err)
	}
}
