package drbd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
)

// events2 prints what there is, and then every change, in the words of drbdsetup events2 (drbd-utils 9). Objects that only DRBD 9
// has values for (quorum, promotion scores) are left out; what calls of handlers are about is not told.

// pair is a word of an event.
type pair struct{ key, value string }

// object is one of the things events are about: what names it, its state, and counters.
type object struct {
	kind         string
	names        []pair
	state, stats []pair
}

func (o *object) id() string { return o.kind + words(o.names) }

func words(list []pair) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, " %s:%s", p.key, p.value)
	}
	return b.String()
}

// objectsOf gives the objects of a resource's volumes in the order in which they are told.
func (c *call) objectsOf(list []api.VolumeStatus) []object {
	v := together(list)
	name := pair{"name", v.Resource}
	t, configured := c.configured(v.Resource)
	peer := []pair{name}
	if configured {
		peer = append(peer, pair{"peer-node-id", fmt.Sprint(c.hostNumber(t))}, pair{"conn-name", t.peer.Name()})
	}
	all := []object{
		{kind: "resource", names: []pair{name}, state: []pair{{"role", v.Role}, {"suspended", suspendedWord(v)}}},
		{kind: "connection", names: peer, state: []pair{{"connection", connectionWord(v.Conn)}, {"role", v.PeerRole}}},
	}
	for _, v := range list {
		all = append(all, deviceObject(v, t))
	}
	for _, v := range list {
		all = append(all, peerDeviceObject(v, peer))
	}
	if configured {
		all = append(all, object{kind: "path", names: append(append([]pair(nil), peer...), pair{"local", endpoint(t.self)}, pair{"peer", endpoint(t.peer)}),
			state: []pair{{"established", yesNo(connection(v.Conn) == "")}}})
	}
	return all
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// counted makes words of names and numbers.
func counted(list ...any) (out []pair) {
	for i := 0; i < len(list); i += 2 {
		out = append(out, pair{list[i].(string), fmt.Sprint(list[i+1])})
	}
	return out
}

// deviceObject is a volume on this host; t is empty if it is not configured.
func deviceObject(v api.VolumeStatus, t target) object {
	state := []pair{{"disk", v.Disk}}
	if t.self != nil {
		if vol, ok := t.self.Volume(v.Volume); ok {
			state = []pair{{"backing_dev", backingWord(v, vol)}, {"disk", v.Disk}}
		}
	}
	k := v.Counters
	return object{kind: "device", names: []pair{{"name", v.Resource}, {"volume", fmt.Sprint(v.Volume)}, {"minor", fmt.Sprint(v.Minor)}}, state: state,
		stats: counted("size", v.SizeBytes/1024, "read", k.DR, "written", k.DW, "al-writes", k.AL, "bm-writes", k.BM, "upper-pending", k.AP,
			"lower-pending", k.LO, "al-suspended", "no", "blocked", yesNo(v.Frozen != ""))}
}

// peerDeviceObject is the peer's part of a volume.
func peerDeviceObject(v api.VolumeStatus, peer []pair) object {
	k := v.Counters
	o := object{kind: "peer-device", names: append(append([]pair(nil), peer...), pair{"volume", fmt.Sprint(v.Volume)}),
		state: []pair{{"replication", replicationWord(v.Conn)}, {"peer-disk", v.PeerDisk}, {"resync-suspended", resyncSuspended(v)}},
		stats: counted("received", k.NR, "sent", k.NS, "out-of-sync", k.OOS, "pending", k.PE, "unacked", k.UA)}
	if v.Resync != nil && moving(v.Conn) {
		o.stats = append(o.stats, pair{"done", fmt.Sprintf("%.2f", v.Resync.Percent)})
	}
	return o
}

// configured finds the configuration of a volume that is up.
func (c *call) configured(resource string) (target, bool) {
	conf, err := c.load()
	if err != nil {
		return target{}, false
	}
	t, err := c.target(conf, resource)
	return t, err == nil
}

// hostNumber is the peer's place among the resource's hosts, which 8.4 has no node IDs for.
func (c *call) hostNumber(t target) int {
	for i, h := range t.Hosts {
		if h.Name() == t.peer.Name() {
			return i
		}
	}
	return 0
}

func backingWord(v api.VolumeStatus, vol *resfile.Volume) string {
	if v.Disk == "Diskless" {
		return "none"
	}
	return vol.Disk
}

// suspendedWord is "no", or what holds requests back: "user", "no-data", or "fencing", as DRBD calls the wait until it is certain
// that the peer cannot take over, and here also what else waits for the cluster's log or the peer.
func suspendedWord(v api.VolumeStatus) string {
	switch {
	case v.Frozen == "":
		return "no"
	case strings.Contains(v.Frozen, "no disk with up-to-date data"):
		return "no-data"
	case strings.Contains(v.Frozen, "operator"):
		return "user"
	}
	return "fencing"
}

func connectionWord(conn string) string {
	if w := connection(conn); w != "" {
		return w
	}
	return "Connected"
}

func replicationWord(conn string) string {
	switch {
	case connection(conn) != "":
		return "Off"
	case conn == "Connected":
		return "Established"
	}
	return conn
}

// resyncSuspended reads the flags of /proc/drbd.
func resyncSuspended(v api.VolumeStatus) string {
	var by []string
	for i, word := range []string{"dependency", "peer", "user"} {
		if len(v.Flags) > i+1 && v.Flags[i+1] != '-' {
			by = append(by, word)
		}
	}
	if len(by) == 0 {
		return "no"
	}
	return strings.Join(by, ",")
}

// eventWriter prints events about what it has seen last.
type eventWriter struct {
	c     *call
	out   io.Writer
	only  map[string]bool               // resources; nil for all
	last  map[string][]api.VolumeStatus // of known resources, by number of the volume
	known map[string][]object
	order []string // of known resources, as they came
}

func (c *call) set(name string) bool { return c.values[name] != "" }

// line prints one event.
func (w *eventWriter) line(event, kind string, list []pair) error {
	if w.c.json {
		m := map[string]string{"event": event, "object": kind}
		for _, p := range list {
			m[p.key] = p.value
		}
		if w.c.set("--timestamps") {
			m["time"] = w.stamp()
		}
		text, err := json.Marshal(m)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w.out, "%s\n", text)
		return err
	}
	stamp := ""
	if w.c.set("--timestamps") {
		stamp = w.stamp() + " "
	}
	_, err := fmt.Fprintf(w.out, "%s%s %s%s\n", stamp, event, kind, words(list))
	return err
}

func (w *eventWriter) stamp() string { return w.c.now().Format("2006-01-02T15:04:05.000000-07:00") }

// all is every word about an object.
func (w *eventWriter) all(o *object) []pair {
	list := append(append([]pair(nil), o.names...), o.state...)
	if w.c.set("--statistics") {
		list = append(list, o.stats...)
	}
	return list
}

// hear takes in what a volume says of itself.
func (w *eventWriter) hear(v api.VolumeStatus) {
	list := slices.DeleteFunc(slices.Clone(w.last[v.Resource]), func(o api.VolumeStatus) bool { return o.Volume == v.Volume })
	list = append(list, v)
	slices.SortFunc(list, func(a, b api.VolumeStatus) int { return a.Volume - b.Volume })
	w.last[v.Resource] = list
}

// see prints what is new about a resource: create or exists for new objects, change for others.
func (w *eventWriter) see(resource, word string) error {
	if w.only != nil && !w.only[resource] {
		return nil
	}
	was, before := w.known[resource]
	now := w.c.objectsOf(w.last[resource])
	w.known[resource] = now
	if !before {
		w.order = append(w.order, resource)
	}
	for i := range now {
		var err error
		old := slices.IndexFunc(was, func(o object) bool { return o.id() == now[i].id() })
		if old < 0 {
			err = w.line(word, now[i].kind, w.all(&now[i]))
		} else if list := w.changes(&was[old], &now[i]); list != nil {
			err = w.line("change", now[i].kind, list)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changes are the words of a change; nil if there is none.
func (w *eventWriter) changes(was, now *object) []pair {
	list := differing(was.state, now.state, w.c.set("--diff"))
	if w.c.set("--statistics") {
		list = append(list, differing(was.stats, now.stats, w.c.set("--diff"))...)
	}
	switch {
	case list == nil:
		return nil
	case w.c.set("--full") && !w.c.set("--diff"):
		return w.all(now)
	}
	return append(append([]pair(nil), now.names...), list...)
}

func differing(was, now []pair, both bool) (list []pair) {
	old := map[string]string{}
	for _, p := range was {
		old[p.key] = p.value
	}
	for _, p := range now {
		before, had := old[p.key]
		switch {
		case had && before == p.value:
			continue
		case had && both:
			p.value = before + "->" + p.value
		}
		list = append(list, p)
	}
	return list
}

// gone prints that a volume is not up any more: its parts first.
func (w *eventWriter) gone(resource string) error {
	list := w.known[resource]
	delete(w.known, resource)
	delete(w.last, resource)
	for i, name := range w.order {
		if name == resource {
			w.order = append(w.order[:i], w.order[i+1:]...)
			break
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		if err := w.line("destroy", list[i].kind, list[i].names); err != nil {
			return err
		}
	}
	return nil
}

// whole takes in the state of all volumes there are.
func (w *eventWriter) whole(all []api.VolumeStatus, word string) error {
	up := map[string]bool{}
	for _, list := range byResource(byMinor(all)) {
		name := list[0].Resource
		up[name] = true
		for _, v := range list {
			w.hear(v)
		}
		if err := w.see(name, word); err != nil {
			return err
		}
	}
	for _, name := range append([]string(nil), w.order...) {
		if !up[name] {
			if err := w.gone(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// take prints what a reply tells.
func (w *eventWriter) take(r api.VolumeWatchReply) error {
	if r.Whole {
		return w.whole(r.Volumes, "create")
	}
	for _, e := range r.Events {
		var err error
		if e.Status == nil {
			err = w.gone(e.Resource)
		} else {
			w.hear(*e.Status)
			err = w.see(e.Status.Resource, "create")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// events2 prints until it is ended, or, with --now, what there is.
func (c *call) events2() error {
	w := &eventWriter{c: c, out: c.Stdout, last: map[string][]api.VolumeStatus{}, known: map[string][]object{}}
	if len(c.resources) > 0 {
		targets, err := c.targets()
		if err != nil {
			return err
		}
		w.only = map[string]bool{}
		for _, t := range targets {
			w.only[t.Name] = true
		}
	}
	reply, err := c.watch(api.VolumeWatchRequest{Now: true})
	if err == nil {
		err = w.whole(reply.Volumes, "exists")
	}
	if err == nil {
		err = w.line("exists", "-", nil)
	}
	for err == nil && !c.set("--now") {
		if reply, err = c.watch(api.VolumeWatchRequest{After: reply.Number}); err == nil {
			err = w.take(reply)
		}
	}
	return err
}

// watch asks the daemon what has happened; while one is being replaced, it waits for the next.
func (c *call) watch(r api.VolumeWatchRequest) (out api.VolumeWatchReply, err error) {
	for deadline := time.Now().Add(askTimeout); ; time.Sleep(pollEvery) {
		err = c.ask("volume.watch", r, &out)
		if r.Now || !isNoDaemon(err) || errors.Is(err, context.Canceled) || time.Now().After(deadline) {
			return out, err
		}
	}
}
