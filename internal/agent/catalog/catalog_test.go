package catalog

import (
	"testing"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
	"holdfast/internal/agent/lsb"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/systemd"
	"holdfast/internal/agent/volume"
)

func TestWhoCarriesOutWhat(t *testing.T) {
	root := agenttest.NewRoot(t)
	var none struct{ volume.Volumes }
	full, bare := New(root, none, nil), New(root, nil, nil)
	if a, err := full.Agent(volume.Spec()); err != nil || !is[*volume.Agent](a) {
		t.Errorf("drbd: %T %v", a, err)
	}
	if _, err := bare.Agent(volume.Spec()); err == nil {
		t.Error("drbd without volumes")
	}
	if a, err := full.Agent(agent.Spec{Class: "ocf", Provider: "heartbeat", Type: "Dummy"}); err != nil || !is[*ocf.Agent](a) {
		t.Errorf("ocf: %T %v", a, err)
	}
	if a, err := full.Agent(agent.Spec{Class: "systemd", Type: "x"}); err != nil || !is[*systemd.Agent](a) {
		t.Errorf("systemd: %T %v", a, err)
	}
	if a, err := full.Agent(agent.Spec{Class: "lsb", Type: "x"}); err != nil || !is[*lsb.Agent](a) {
		t.Errorf("lsb: %T %v", a, err)
	}
	if a, err := full.Agent(agent.Spec{Class: "service", Type: "no-such-unit-anywhere"}); err != nil || !is[*lsb.Agent](a) {
		t.Errorf("service without a unit: %T %v", a, err)
	}
	if _, err := full.Agent(agent.Spec{Class: "nagios", Type: "x"}); err == nil {
		t.Error("a class nobody knows")
	}
}

func is[T any](a agent.Agent) bool {
	_, ok := a.(T)
	return ok
}
