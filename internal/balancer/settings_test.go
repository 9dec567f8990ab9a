package balancer

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/balancer/pool"
)

func TestCheck(t *testing.T) {
	good := func() api.BalancerRule {
		return api.BalancerRule{Name: "mysql", Frontend: "10.0.1.10:3306", AddAddress: true, Distribution: "SourceIP", Follow: "mysqlr0",
			Backends: []api.BalancerBackend{{Node: "db1", Addr: "10.0.1.4:3306"}, {Node: "db2", Addr: "10.0.1.5:3306"}}}
	}
	s, err := Check(good())
	if err != nil {
		t.Fatal(err)
	}
	if s.Mode != pool.SourceIP || s.Interval != time.Second || s.Timeout != time.Second || s.Fall != 2 || s.Rise != 1 ||
		s.Hold != 30*time.Second || s.HoldMax != 512 || s.Idle != 4*time.Minute {
		t.Errorf("defaults: %+v", s)
	}
	cases := []struct {
		name   string
		change func(*api.BalancerRule)
		want   string
	}{
		{"no name", func(r *api.BalancerRule) { r.Name = "" }, "rule name"},
		{"name with a slash", func(r *api.BalancerRule) { r.Name = "a/b" }, "rule name"},
		{"frontend without port", func(r *api.BalancerRule) { r.Frontend = "10.0.1.10" }, "is not ADDRESS:PORT"},
		{"frontend by name", func(r *api.BalancerRule) { r.Frontend = "db:3306" }, "is not ADDRESS:PORT"},
		{"port 0", func(r *api.BalancerRule) { r.Frontend = "10.0.1.10:0" }, "is not ADDRESS:PORT"},
		{"any address on lo", func(r *api.BalancerRule) { r.Frontend = "0.0.0.0:80" }, "needs an address of its own"},
		{"distribution", func(r *api.BalancerRule) { r.Distribution = "roundrobin" }, "SourceIPProtocol"},
		{"no backends", func(r *api.BalancerRule) { r.Backends = nil }, "0 backends"},
		{"backend without port", func(r *api.BalancerRule) { r.Backends[0].Addr = "10.0.1.4" }, "backend \"10.0.1.4\""},
		{"backend twice", func(r *api.BalancerRule) { r.Backends[1].Addr = r.Backends[0].Addr }, "named twice"},
		{"follow without node", func(r *api.BalancerRule) { r.Backends[1].Node = "" }, "names no node"},
		{"admin", func(r *api.BalancerRule) { r.Backends[1].Admin = "off" }, "admin state"},
		{"probe", func(r *api.BalancerRule) { r.Probe.Kind = "icmp" }, "probe \"icmp\""},
		{"path of a tcp probe", func(r *api.BalancerRule) { r.Probe = api.BalancerProbe{Kind: "tcp", Path: "/"} }, "a path belongs"},
		{"path with a line break", func(r *api.BalancerRule) { r.Probe = api.BalancerProbe{Kind: "http", Path: "/a\r\nX: y"} }, "blanks"},
		{"interval", func(r *api.BalancerRule) { r.Probe.IntervalMS = 50 }, "probe interval 50ms"},
		{"timeout", func(r *api.BalancerRule) { r.Probe.TimeoutMS = -1 }, "probe timeout"},
		{"fall", func(r *api.BalancerRule) { r.Probe.Fall = -1 }, "fall -1"},
		{"hold", func(r *api.BalancerRule) { r.HoldSeconds = 100000 }, "hold of"},
		{"hold max", func(r *api.BalancerRule) { r.HoldMax = 1 << 20 }, "can be held"},
		{"idle", func(r *api.BalancerRule) { r.IdleSeconds = -1 }, "idle time"},
	}
	for _, c := range cases {
		r := good()
		c.change(&r)
		if _, err := Check(r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}
