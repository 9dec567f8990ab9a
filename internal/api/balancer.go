package api

// BalancerRule is one rule: a frontend address and port, and the pool behind it. It is kept in the cluster's log.
type BalancerRule struct {
	Name string `json:"name"`
	// Frontend is ADDRESS:PORT. With AddAddress the address is put on lo as a /32 on every serving host.
	Frontend   string `json:"frontend"`
	AddAddress bool   `json:"add_address,omitempty"`
	// Hosts serve the rule: member names.
	Hosts    []string          `json:"hosts"`
	Backends []BalancerBackend `json:"backends"`
	// Distribution: Default (5-tuple), SourceIP (2-tuple), SourceIPProtocol (3-tuple).
	Distribution string        `json:"distribution"`
	Probe        BalancerProbe `json:"probe"`
	// Follow names a volume: only the backend that is its Primary, with a good probe, is open. Empty: every backend
	// with a good probe.
	Follow string `json:"follow,omitempty"`
	// HoldSeconds and HoldMax bound new connections kept waiting while no backend is open; 0 means the defaults (30, 512).
	HoldSeconds int `json:"hold_seconds,omitempty"`
	HoldMax     int `json:"hold_max,omitempty"`
	// IdleSeconds resets a connection without traffic; 0 means the default (240).
	IdleSeconds int `json:"idle_seconds,omitempty"`
}

// BalancerBackend is a server of a pool.
type BalancerBackend struct {
	Node string `json:"node"` // member name, for Follow and for cluster state; may be empty
	Addr string `json:"addr"` // ADDRESS:PORT
	// Backup: used only while no other backend is open.
	Backup bool `json:"backup,omitempty"`
	// Admin is the operator's word: up (or empty), down, drain. A draining backend gets no new connection; those it has are
	// reset DrainSeconds after each host has learned of it (0: the default of 60).
	Admin        string `json:"admin,omitempty"`
	DrainSeconds int    `json:"drain_seconds,omitempty"`
}

// BalancerProbe is how a backend is checked. Times in milliseconds; 0 means the default (interval 1000, fall 2, rise 1,
// timeout = interval).
type BalancerProbe struct {
	Kind       string `json:"kind"` // tcp, http, mysql
	Path       string `json:"path,omitempty"`
	IntervalMS int    `json:"interval_ms,omitempty"`
	TimeoutMS  int    `json:"timeout_ms,omitempty"`
	Fall       int    `json:"fall,omitempty"`
	Rise       int    `json:"rise,omitempty"`
}

// BalancerRules lists the rules.
type BalancerRules struct {
	Rules []BalancerRule `json:"rules"`
}

// BalancerUpdate is pushed by the daemon to the balancer process over paths.Root.BalancerSocket (frames of frame.go)
// whenever something changed, and at least every 200 ms while the view is confirmed. The process answers each with a
// BalancerStatus. It keeps forwarding without a daemon until the view is older than the lease.
type BalancerUpdate struct {
	Version int            `json:"version"` // 1
	Rules   []BalancerRule `json:"rules"`   // those this host serves
	// Primary maps a volume to the node that is its Primary with a live lease; absent when none.
	Primary map[string]string `json:"primary"`
	// Epoch of each volume in Primary.
	Epoch map[string]uint64 `json:"epoch"`
	// Lost are members whose lease has expired.
	Lost []string `json:"lost,omitempty"`
	// ConfirmedUntil is the CLOCK_BOOTTIME nanoseconds until which this view may be used for pools that follow a role:
	// the time a confirmed renewal was sent, plus L.
	ConfirmedUntil int64 `json:"confirmed_until"`
}

// BalancerStatus is the balancer's state.
type BalancerStatus struct {
	Rules []BalancerRuleStatus `json:"rules"`
}

// BalancerRuleStatus is the state of one rule on this host.
type BalancerRuleStatus struct {
	Name     string                  `json:"name"`
	Frontend string                  `json:"frontend"`
	Error    string                  `json:"error,omitempty"` // why it is not served
	Held     int                     `json:"held"`            // connections waiting now
	Backends []BalancerBackendStatus `json:"backends"`
	Accepted uint64                  `json:"accepted"`
	Resets   uint64                  `json:"resets"` // connections reset because their backend died or was demoted
	Refused  uint64                  `json:"refused"`
}

// BalancerBackendStatus is the state of a backend on this host.
type BalancerBackendStatus struct {
	Node        string `json:"node"`
	Addr        string `json:"addr"`
	Open        bool   `json:"open"`
	Reason      string `json:"reason"` // why closed: probe failed, not Primary, node lost, view too old
	Connections int    `json:"connections"`
}
