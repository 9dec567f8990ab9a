package liveness

import (
	"maps"
	"slices"
	"time"

	"holdfast/internal/clock"
)

// Beat is a heartbeat, as it travels on every link.
type Beat struct {
	// Hears lists the members the sender has heard from within token, sorted.
	Hears []string `json:"hears,omitempty"`
	// Renew is the sender's lease renewal; only the leader looks at it.
	Renew *Renewal `json:"renew,omitempty"`
}

// EventKind is what happened to a member or link.
type EventKind string

// The events, named as in the failover timeline.
const (
	Suspect  EventKind = "node.suspect" // nothing was heard for token, on no link
	Alive    EventKind = "node.alive"   // heard again
	LinkDown EventKind = "link.down"    // nothing was heard on this link for token, but on another
	LinkUp   EventKind = "link.up"
	OneWay   EventKind = "link.one-way" // we hear the member, but it does not hear us
	BothWays EventKind = "link.both-ways"
)

// Event is a change in what is heard.
type Event struct {
	Kind EventKind
	Node string
	// Link is the number of the link for link events, else 0.
	Link int
	// Since is when the member or link was last heard; for OneWay, when it last reported hearing us.
	Since clock.Boottime
}

// Peers is the account of what this node hears. A process that stops hearing everybody at once has more likely stopped
// listening itself: see Pause.
type Peers struct {
	self  string
	token time.Duration
	peers map[string]*peer
	last  clock.Boottime // last Tick
}

type peer struct {
	links    map[int]*link
	heard    clock.Boottime
	hearsUs  clock.Boottime
	suspect  bool
	oneWay   bool
	reported bool // it has said at least once that it hears us
}

type link struct {
	heard clock.Boottime
	down  bool
}

// NewPeers opens the account of the node self.
func NewPeers(self string, token time.Duration) *Peers {
	return &Peers{self: self, token: token, peers: make(map[string]*peer)}
}

// SetToken changes how long silence is no suspicion.
func (p *Peers) SetToken(token time.Duration) { p.token = token }

// Expect names the other members. New ones count as heard now, so that they are suspected a token later; those no longer
// named are forgotten.
func (p *Peers) Expect(nodes []string, now clock.Boottime) {
	for node := range p.peers {
		if !slices.Contains(nodes, node) {
			delete(p.peers, node)
		}
	}
	for _, node := range nodes {
		if node != p.self && p.peers[node] == nil {
			p.peers[node] = &peer{links: make(map[int]*link), heard: now, hearsUs: now}
		}
	}
}

// Heard takes in a heartbeat. Beats of nodes not expected are ignored.
func (p *Peers) Heard(node string, onLink int, beat Beat, now clock.Boottime) {
	e := p.peers[node]
	if e == nil {
		return
	}
	l := e.links[onLink]
	if l == nil {
		l = &link{}
		e.links[onLink] = l
	}
	l.heard, e.heard = max(l.heard, now), max(e.heard, now)
	if slices.Contains(beat.Hears, p.self) {
		e.hearsUs, e.reported = max(e.hearsUs, now), true
	}
}

// Tick returns what has changed, sorted by node and link. If the process itself was paused for token or longer since the
// last Tick, silence proves nothing: everyone gets another token, and paused says how long it was.
func (p *Peers) Tick(now clock.Boottime) (events []Event, paused time.Duration) {
	if p.last != 0 && now.Sub(p.last) >= p.token {
		paused = now.Sub(p.last)
		p.grace(now)
	}
	p.last = now
	for _, node := range slices.Sorted(maps.Keys(p.peers)) {
		events = append(events, p.peers[node].tick(node, now, p.token)...)
	}
	return events, paused
}

// grace treats everyone not yet suspected as heard now.
func (p *Peers) grace(now clock.Boottime) {
	for _, e := range p.peers {
		if e.suspect {
			continue
		}
		e.heard, e.hearsUs = now, now
		for _, l := range e.links {
			if !l.down {
				l.heard = now
			}
		}
	}
}

func (e *peer) tick(node string, now clock.Boottime, token time.Duration) []Event {
	var events []Event
	silent := now.Sub(e.heard) >= token
	switch {
	case silent && !e.suspect:
		events = append(events, Event{Kind: Suspect, Node: node, Since: e.heard})
	case !silent && e.suspect:
		events = append(events, Event{Kind: Alive, Node: node, Since: e.heard})
	}
	e.suspect = silent
	events = append(events, e.tickLinks(node, now, token)...)
	oneWay := !silent && e.reported && now.Sub(e.hearsUs) >= token
	switch {
	case oneWay && !e.oneWay:
		events = append(events, Event{Kind: OneWay, Node: node, Since: e.hearsUs})
	case !oneWay && e.oneWay && !silent:
		events = append(events, Event{Kind: BothWays, Node: node, Since: e.hearsUs})
	}
	e.oneWay = oneWay
	return events
}

func (e *peer) tickLinks(node string, now clock.Boottime, token time.Duration) []Event {
	var events []Event
	for _, i := range slices.Sorted(maps.Keys(e.links)) {
		l := e.links[i]
		down := now.Sub(l.heard) >= token
		switch {
		case down && !l.down && !e.suspect:
			events = append(events, Event{Kind: LinkDown, Node: node, Link: i, Since: l.heard})
		case !down && l.down:
			events = append(events, Event{Kind: LinkUp, Node: node, Link: i, Since: l.heard})
		}
		l.down = down
	}
	return events
}

// Hears lists the members heard from within token, sorted: the content of the next Beat.
func (p *Peers) Hears(now clock.Boottime) []string {
	var out []string
	for _, node := range slices.Sorted(maps.Keys(p.peers)) {
		if e := p.peers[node]; len(e.links) > 0 && now.Sub(e.heard) < p.token {
			out = append(out, node)
		}
	}
	return out
}

// Online tells whether node was heard from within token; this node itself always is.
func (p *Peers) Online(node string, now clock.Boottime) bool {
	e := p.peers[node]
	return node == p.self || e != nil && len(e.links) > 0 && now.Sub(e.heard) < p.token
}

// LastHeard is when node was last heard, 0 when never.
func (p *Peers) LastHeard(node string) clock.Boottime {
	if e := p.peers[node]; e != nil && len(e.links) > 0 {
		return e.heard
	}
	return 0
}
