package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// cut is a pair of hosts whose packets do not pass, in one direction.
type cut struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// cutTable is the name of the router's nftables table.
const cutTable = "holdfast_lab"

// Everyone in place of a host's name stands for all hosts but the other one.
const Everyone = "all"

// Cut stops all packets from host a to host b and, unless oneWay, from b to a. Either may be Everyone. The hosts notice
// nothing but silence.
func (l *Lab) Cut(a, b string, oneWay bool) error {
	return l.dir.update(func(s *state) error {
		cuts, err := s.cutsBetween(a, b, oneWay)
		if err != nil {
			return err
		}
		s.Cuts = addCuts(s.Cuts, cuts)
		return applyCuts(s)
	})
}

// Heal removes every cut.
func (l *Lab) Heal() error {
	return l.dir.update(func(s *state) error {
		s.Cuts = nil
		return applyCuts(s)
	})
}

func (s *state) cutsBetween(a, b string, oneWay bool) ([]cut, error) {
	from, err := s.expand(a, b)
	if err != nil {
		return nil, err
	}
	to, err := s.expand(b, a)
	if err != nil {
		return nil, err
	}
	var cuts []cut
	for _, f := range from {
		for _, t := range to {
			if f == t {
				continue
			}
			cuts = append(cuts, cut{f, t})
			if !oneWay {
				cuts = append(cuts, cut{t, f})
			}
		}
	}
	if len(cuts) == 0 {
		return nil, fmt.Errorf("cut %s from %s: name two different hosts", a, b)
	}
	return cuts, nil
}

// expand gives the hosts a name stands for.
func (s *state) expand(name, except string) ([]string, error) {
	if name != Everyone {
		if _, ok := s.Topology.host(name); !ok {
			return nil, unknownHost(s, name)
		}
		return []string{name}, nil
	}
	var all []string
	for _, h := range s.Topology.Hosts {
		if h.Name != except {
			all = append(all, h.Name)
		}
	}
	return all, nil
}

func addCuts(have, more []cut) []cut {
	known := map[cut]bool{}
	for _, c := range have {
		known[c] = true
	}
	for _, c := range more {
		if !known[c] {
			known[c] = true
			have = append(have, c)
		}
	}
	return have
}

// applyCuts replaces the router's rules by those of the state, all at once.
func applyCuts(s *state) error {
	r, err := openRouter(s)
	if err != nil {
		return err
	}
	defer r.close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(r.ns)))
	if err != nil {
		return fmt.Errorf("reach the router's packet filter: %w", err)
	}
	table := &nftables.Table{Name: cutTable, Family: nftables.TableFamilyBridge}
	conn.AddTable(table) // so that deleting it cannot fail
	conn.DelTable(table)
	conn.AddTable(table)
	chain := conn.AddChain(&nftables.Chain{
		Name: "cuts", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter,
	})
	for _, c := range s.Cuts {
		to, _ := s.Topology.host(c.To) // checked when the cut was made
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: dropRule(c.From, to.Address)})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("change the router's packet filter: %w", err)
	}
	return nil
}

// dropRule is `iifname FROM ether type ip ip daddr TO counter drop`. A link has its host's name.
func dropRule(from string, to netip.Addr) []expr.Any {
	name := make([]byte, 16) // IFNAMSIZ, padded with zeros
	copy(name, from)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x08, 0x00}}, // ETH_P_IP
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}
