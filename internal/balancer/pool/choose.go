package pool

import (
	"fmt"
	"hash/fnv"
)

// Mode says which parts of a connection choose its backend: Azure's distribution modes.
type Mode int

// The modes: Default hashes the 5-tuple, SourceIP source and destination address, SourceIPProtocol those and the protocol.
const (
	Default Mode = iota
	SourceIP
	SourceIPProtocol
)

// ParseMode reads a distribution's name; empty is Default.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "", "Default":
		return Default, nil
	case "SourceIP":
		return SourceIP, nil
	case "SourceIPProtocol":
		return SourceIPProtocol, nil
	}
	return Default, fmt.Errorf("distribution %q is not known: it is Default, SourceIP or SourceIPProtocol", s)
}

// Flow identifies a connection. Addresses are 16 bytes, IPv4 ones mapped.
type Flow struct {
	Source, Dest         [16]byte
	SourcePort, DestPort uint16
	Protocol             uint8 // 6 is TCP
}

// key hashes what the mode looks at.
func (m Mode) key(f Flow) uint64 {
	h := fnv.New64a()
	h.Write(f.Source[:])
	h.Write(f.Dest[:])
	if m == SourceIPProtocol || m == Default {
		h.Write([]byte{f.Protocol})
	}
	if m == Default {
		h.Write([]byte{byte(f.SourcePort >> 8), byte(f.SourcePort), byte(f.DestPort >> 8), byte(f.DestPort)})
	}
	return h.Sum64()
}

// Choose picks one of the open backends' addresses for a flow: the one with the highest weight for it (rendezvous hashing),
// so that a backend that opens or closes moves only the flows it gains or loses. The order of open does not matter. It
// returns -1 when there is none.
func Choose(m Mode, f Flow, open []string) int {
	key, best, at := m.key(f), uint64(0), -1
	for i, addr := range open {
		w := weight(key, addr)
		if at < 0 || w > best || w == best && addr < open[at] {
			best, at = w, i
		}
	}
	return at
}

// weight mixes a flow's key with a backend's address; the mixing is splitmix64's finalizer.
func weight(key uint64, addr string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(addr))
	x := key ^ mix(h.Sum64())
	return mix(x)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
