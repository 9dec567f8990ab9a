package state

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
)

// ClusterInit founds the cluster: the first command of a log. Members' NodeIDs are given here, in the order listed, to
// data members. CIB is the first document; empty makes one with the properties pcs sets.
type ClusterInit struct {
	Name        string   `json:"name"`
	UUID        string   `json:"uuid"`
	TokenMS     int      `json:"token_ms,omitempty"`
	Members     []Member `json:"members"`
	CIB         string   `json:"cib,omitempty"`
	UnixSeconds int64    `json:"unix_seconds"`
}

func (c *ClusterInit) verb() string { return "cluster.init" }

func (c *ClusterInit) apply(t *tx) (Result, error) {
	if t.Cluster.UUID != "" {
		return refuse("the cluster %s exists already", t.Cluster.Name)
	}
	if err := checkName("cluster", c.Name); err != nil {
		return Result{}, err
	}
	if c.UUID == "" || len(c.Members) == 0 {
		return refuse("a cluster needs a UUID and at least one member")
	}
	if err := checkToken(c.TokenMS); err != nil {
		return Result{}, err
	}
	t.Cluster = Cluster{Name: c.Name, UUID: c.UUID, TokenMS: c.TokenMS}
	for _, m := range c.Members {
		if err := t.addMember(m); err != nil {
			return Result{}, err
		}
	}
	return t.initCIB(c.CIB, c.UnixSeconds)
}

// ClusterSettings changes settings of a running cluster.
type ClusterSettings struct {
	TokenMS int `json:"token_ms"`
}

func (c *ClusterSettings) verb() string { return "cluster.settings" }

func (c *ClusterSettings) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	if err := checkToken(c.TokenMS); err != nil {
		return Result{}, err
	}
	// A running holder counts with the L it was granted: shortening L under it would fence it too early.
	for _, n := range t.MemberNames() {
		if t.Leases[n].State == LeaseActive {
			return refuse("%s holds a lease of the present length; stop the cluster's resources on every node first (cluster stop --all), then change the token", n)
		}
	}
	t.Cluster.TokenMS = c.TokenMS
	return Result{}, nil
}

// ClusterLead names the voter that shall lead when it can; empty means a witness.
type ClusterLead struct {
	Node string `json:"node,omitempty"`
}

func (c *ClusterLead) verb() string { return "cluster.lead" }

func (c *ClusterLead) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	if c.Node != "" {
		m, err := t.member(c.Node)
		if err != nil {
			return Result{}, err
		}
		if m.Kind == Follower {
			return refuse("%s is a follower and cannot lead", c.Node)
		}
	}
	t.Cluster.Lead = c.Node
	return Result{}, nil
}

// MemberAdd records a new member. Its Raft membership is changed apart (raftlog), before it votes. Voter is as given.
type MemberAdd struct {
	Member Member `json:"member"`
}

func (c *MemberAdd) verb() string { return "member.add" }

func (c *MemberAdd) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	if err := t.addMember(c.Member); err != nil {
		return Result{}, err
	}
	return Result{}, t.cibNode(t.Members[c.Member.Name], true)
}

// MemberUpdate changes what a member says of itself; empty fields stay.
type MemberUpdate struct {
	Name        string   `json:"name"`
	Addrs       []string `json:"addrs,omitempty"`
	Fingerprint string   `json:"fingerprint,omitempty"`
	Version     string   `json:"version,omitempty"`
}

func (c *MemberUpdate) verb() string { return "member.update" }

func (c *MemberUpdate) apply(t *tx) (Result, error) {
	m, err := t.member(c.Name)
	if err != nil {
		return Result{}, err
	}
	if len(c.Addrs) > cluster.MaxAddrs {
		return refuse("%s has %d addresses, more than %d", c.Name, len(c.Addrs), cluster.MaxAddrs)
	}
	if len(c.Addrs) > 0 {
		m.Addrs = slices.Clone(c.Addrs)
	}
	if c.Fingerprint != "" {
		m.Fingerprint = c.Fingerprint
	}
	if c.Version != "" {
		m.Version = c.Version
	}
	t.setMember(m)
	return Result{}, nil
}

// MemberIncarnation records the Raft ID a member has now and whether that one votes. Another incarnation than before
// means that the log of the member is new: whatever the old one promised is void. Raft's own configuration decides who
// votes; this record follows it.
type MemberIncarnation struct {
	Name        string `json:"name"`
	Incarnation uint64 `json:"incarnation"`
	Voter       bool   `json:"voter"`
}

func (c *MemberIncarnation) verb() string { return "member.incarnation" }

func (c *MemberIncarnation) apply(t *tx) (Result, error) {
	m, err := t.member(c.Name)
	if err != nil {
		return Result{}, err
	}
	if c.Incarnation == 0 {
		return refuse("an incarnation cannot be 0")
	}
	if other, ok := t.MemberByIncarnation(c.Incarnation); ok && other.Name != c.Name {
		return refuse("incarnation %x is that of %s", c.Incarnation, other.Name)
	}
	if c.Voter && m.Kind == Follower {
		return refuse("%s is a follower and has no vote", c.Name)
	}
	m.Incarnation, m.Voter = c.Incarnation, c.Voter
	t.setMember(m)
	return Result{}, nil
}

// MemberRemove forgets a member. It must run nothing: its lease is over and it holds no volume.
type MemberRemove struct {
	Name string `json:"name"`
}

func (c *MemberRemove) verb() string { return "member.remove" }

func (c *MemberRemove) apply(t *tx) (Result, error) {
	m, err := t.member(c.Name)
	if err != nil {
		return Result{}, err
	}
	if t.Leases[c.Name].State == LeaseActive {
		return refuse("%s still holds its lease; stop it first (cluster stop %s)", c.Name, c.Name)
	}
	for _, n := range t.VolumeNames() {
		if _, in := t.Volumes[n].Replica(c.Name); in {
			return refuse("%s holds an up-to-date replica of volume %s; forget it first (holdfast drbd forget --node=%s %s)", c.Name, n, c.Name, n)
		}
	}
	if err := t.cibNode(m, false); err != nil {
		return Result{}, err
	}
	// The lease record stays: sessions of a name are never counted from the start again, its guard would refuse them.
	t.Members = without(t.Members, c.Name)
	if t.Cluster.Lead == c.Name {
		t.Cluster.Lead = ""
	}
	return Result{}, nil
}

// addMember checks m and adds it, with the next node id if it is a CIB node.
func (t *tx) addMember(m Member) error {
	if err := checkName("member", m.Name); err != nil {
		return err
	}
	switch {
	case len(t.Members) >= cluster.MaxMembers:
		return fmt.Errorf("a cluster has at most %d members", cluster.MaxMembers)
	case m.Kind != Data && m.Kind != Witness && m.Kind != Follower:
		return fmt.Errorf("%s is of no kind known here: %q", m.Name, m.Kind)
	case m.Kind == Follower && m.Voter:
		return fmt.Errorf("%s is a follower and has no vote", m.Name)
	case m.Incarnation == 0:
		return fmt.Errorf("%s has no incarnation", m.Name)
	case len(m.Addrs) == 0 || len(m.Addrs) > cluster.MaxAddrs:
		return fmt.Errorf("%s has %d addresses, not 1 to %d", m.Name, len(m.Addrs), cluster.MaxAddrs)
	}
	if _, ok := t.Members[m.Name]; ok {
		return fmt.Errorf("%s is a member already", m.Name)
	}
	if other, ok := t.MemberByIncarnation(m.Incarnation); ok {
		return fmt.Errorf("incarnation %x is that of %s", m.Incarnation, other.Name)
	}
	m.NodeID = 0
	if m.Kind == Data {
		t.Cluster.LastNodeID++
		m.NodeID = t.Cluster.LastNodeID
	}
	m.Addrs = slices.Clone(m.Addrs)
	t.setMember(m)
	return nil
}

func (t *tx) needCluster() error {
	if t.Cluster.UUID == "" {
		return fmt.Errorf("the cluster is not set up yet")
	}
	return nil
}

func (t *tx) member(name string) (Member, error) {
	m, ok := t.Members[name]
	if !ok {
		return Member{}, fmt.Errorf("%.255q is no member of the cluster", name)
	}
	return m, nil
}

// BalancerSet adds a rule or replaces the one of its name.
type BalancerSet struct {
	Rule api.BalancerRule `json:"rule"`
}

func (c *BalancerSet) verb() string { return "balancer.set" }

func (c *BalancerSet) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	if err := checkName("rule", c.Rule.Name); err != nil {
		return Result{}, err
	}
	if _, ok := t.Rules[c.Rule.Name]; !ok && len(t.Rules) >= cluster.MaxBalancerRules {
		return refuse("a cluster has at most %d balancer rules", cluster.MaxBalancerRules)
	}
	if c.Rule.Frontend == "" || len(c.Rule.Backends) == 0 {
		return refuse("rule %s needs a frontend and at least one backend", c.Rule.Name)
	}
	for _, h := range c.Rule.Hosts {
		if _, err := t.member(h); err != nil {
			return refuse("rule %s: %s", c.Rule.Name, err)
		}
	}
	t.Rules = with(t.Rules, c.Rule.Name, c.Rule)
	return Result{}, nil
}

// BalancerRemove removes a rule.
type BalancerRemove struct {
	Name string `json:"name"`
}

func (c *BalancerRemove) verb() string { return "balancer.remove" }

func (c *BalancerRemove) apply(t *tx) (Result, error) {
	if _, ok := t.Rules[c.Name]; !ok {
		return refuse("there is no balancer rule %.255q", c.Name)
	}
	t.Rules = without(t.Rules, c.Name)
	return Result{}, nil
}

// OperatorNote records something an operator did against advice.
type OperatorNote struct {
	By          string `json:"by"`
	What        string `json:"what"`
	Text        string `json:"text"`
	UnixSeconds int64  `json:"unix_seconds"`
}

func (c *OperatorNote) verb() string { return "operator.note" }

func (c *OperatorNote) apply(t *tx) (Result, error) {
	if c.What == "" || c.Text == "" {
		return refuse("a note needs a kind and a text")
	}
	t.note(OperatorRecord{By: c.By, What: c.What, Text: c.Text, UnixSeconds: c.UnixSeconds})
	return Result{}, nil
}

func (t *tx) note(r OperatorRecord) {
	r.Index = t.Index
	kept := t.Operator
	if len(kept) >= cluster.MaxOperatorRecords {
		kept = kept[len(kept)-cluster.MaxOperatorRecords+1:]
	}
	t.Operator = append(slices.Clone(kept), r)
}

// checkName accepts what can be a host name, an XML id and part of a file name.
func checkName(what, name string) error {
	if name == "" || len(name) > cluster.MaxName {
		return fmt.Errorf("a %s name has 1 to %d characters, not %d", what, cluster.MaxName, len(name))
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) || name[0] == '-' || name[0] == '.' {
		return fmt.Errorf("%.255q is no %s name: letters, digits, '.', '_' and '-' only, beginning with a letter, digit or '_'", name, what)
	}
	return nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

func checkToken(ms int) error {
	low, high := cluster.MinToken.Milliseconds(), cluster.MaxToken.Milliseconds()
	if ms != 0 && (int64(ms) < low || int64(ms) > high) {
		return fmt.Errorf("a token of %d ms is not between %d and %d", ms, low, high)
	}
	return nil
}
