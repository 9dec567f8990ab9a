package balancer

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/balancer/pool"
)

// Settings is a rule, checked and with every default filled in.
type Settings struct {
	Rule              api.BalancerRule
	Frontend          netip.AddrPort
	Mode              pool.Mode
	Interval, Timeout time.Duration
	Fall, Rise        int
	Hold, Idle        time.Duration
	HoldMax           int
}

// Check reads a rule. The error says which part is wrong and what it should be.
func Check(r api.BalancerRule) (Settings, error) {
	s := Settings{Rule: r}
	var err error
	if !validName(r.Name) {
		return s, fmt.Errorf("rule name %q: use letters, digits, '-', '_' and '.'", r.Name)
	}
	if s.Frontend, err = netip.ParseAddrPort(r.Frontend); err != nil || s.Frontend.Port() == 0 {
		return s, fmt.Errorf("rule %s: frontend %q is not ADDRESS:PORT, such as 10.0.1.10:3306", r.Name, r.Frontend)
	}
	if r.AddAddress && (s.Frontend.Addr().IsUnspecified() || s.Frontend.Addr().IsLoopback()) {
		return s, fmt.Errorf("rule %s: add-address needs an address of its own, not %s", r.Name, s.Frontend.Addr())
	}
	if s.Mode, err = pool.ParseMode(r.Distribution); err != nil {
		return s, fmt.Errorf("rule %s: %w", r.Name, err)
	}
	if err := checkBackends(r); err != nil {
		return s, fmt.Errorf("rule %s: %w", r.Name, err)
	}
	if err := s.probe(r.Probe); err != nil {
		return s, fmt.Errorf("rule %s: %w", r.Name, err)
	}
	if err := s.limits(r); err != nil {
		return s, fmt.Errorf("rule %s: %w", r.Name, err)
	}
	return s, nil
}

func validName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

func checkBackends(r api.BalancerRule) error {
	if len(r.Backends) == 0 || len(r.Backends) > MaxBackends {
		return fmt.Errorf("it has %d backends; 1 to %d are possible", len(r.Backends), MaxBackends)
	}
	seen := map[string]bool{}
	for _, b := range r.Backends {
		host, port, err := net.SplitHostPort(b.Addr)
		if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
			return fmt.Errorf("backend %q is not ADDRESS:PORT", b.Addr)
		}
		if seen[b.Addr] {
			return fmt.Errorf("backend %s is named twice", b.Addr)
		}
		seen[b.Addr] = true
		if r.Follow != "" && b.Node == "" {
			return fmt.Errorf("backend %s names no node, which a rule that follows the volume %s needs: write NODE=%s", b.Addr, r.Follow, b.Addr)
		}
		if !slices.Contains([]string{"", "up", "down", "drain"}, b.Admin) {
			return fmt.Errorf("backend %s: admin state %q is not up, down or drain", b.Addr, b.Admin)
		}
	}
	return nil
}

func (s *Settings) probe(p api.BalancerProbe) error {
	if !slices.Contains([]string{"", "tcp", "http", "mysql"}, p.Kind) {
		return fmt.Errorf("probe %q is not known: it is tcp, http or mysql", p.Kind)
	}
	if p.Path != "" && p.Kind != "http" {
		return fmt.Errorf("a path belongs to an http probe, not to %q", p.Kind)
	}
	if strings.ContainsAny(p.Path, " \r\n\t") {
		return fmt.Errorf("probe path %q holds blanks", p.Path)
	}
	s.Interval, s.Fall, s.Rise = DefaultInterval, orDefault(p.Fall, DefaultFall), orDefault(p.Rise, DefaultRise)
	if p.IntervalMS != 0 {
		s.Interval = time.Duration(p.IntervalMS) * time.Millisecond
	}
	s.Timeout = s.Interval
	if p.TimeoutMS != 0 {
		s.Timeout = time.Duration(p.TimeoutMS) * time.Millisecond
	}
	switch {
	case s.Interval < MinInterval || s.Interval > MaxInterval:
		return fmt.Errorf("probe interval %s is not between %s and %s", s.Interval, MinInterval, MaxInterval)
	case s.Timeout <= 0 || s.Timeout > MaxInterval:
		return fmt.Errorf("probe timeout %s is not between 1ms and %s", s.Timeout, MaxInterval)
	case s.Fall < 1 || s.Fall > MaxFallRise || s.Rise < 1 || s.Rise > MaxFallRise:
		return fmt.Errorf("probe thresholds fall %d, rise %d are not between 1 and %d", s.Fall, s.Rise, MaxFallRise)
	}
	return nil
}

func (s *Settings) limits(r api.BalancerRule) error {
	s.Hold, s.Idle, s.HoldMax = DefaultHold, DefaultIdle, orDefault(r.HoldMax, DefaultHoldMax)
	if r.HoldSeconds != 0 {
		s.Hold = time.Duration(r.HoldSeconds) * time.Second
	}
	if r.IdleSeconds != 0 {
		s.Idle = time.Duration(r.IdleSeconds) * time.Second
	}
	switch {
	case s.Hold < 0 || s.Hold > MaxHold:
		return fmt.Errorf("hold of %s is not between 0 and %s", s.Hold, MaxHold)
	case s.HoldMax < 0 || s.HoldMax > MaxHoldMax:
		return fmt.Errorf("at most %d connections can be held, not %d", MaxHoldMax, s.HoldMax)
	case s.Idle <= 0 || s.Idle > MaxIdle:
		return fmt.Errorf("idle time of %s is not between 1s and %s", s.Idle, MaxIdle)
	}
	return nil
}

func orDefault(n, dflt int) int {
	if n == 0 {
		return dflt
	}
	return n
}
