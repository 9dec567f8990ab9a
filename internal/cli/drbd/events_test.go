package drbd

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

// watched is a volume's status in the course of a story.
func watched(f func(*api.VolumeStatus)) *api.VolumeStatus {
	st := &api.VolumeStatus{Resource: "mysqlr0", Minor: 1, Conn: "WFConnection", Role: "Secondary", PeerRole: "Unknown", Disk: "UpToDate",
		PeerDisk: "DUnknown", Flags: "r-----", SizeBytes: 8 << 20}
	if f != nil {
		f(st)
	}
	return st
}

func story() []api.VolumeWatchReply {
	connected := func(s *api.VolumeStatus) {
		s.Conn, s.PeerRole, s.PeerDisk = "SyncSource", "Secondary", "Inconsistent"
	}
	primary := func(s *api.VolumeStatus) {
		connected(s)
		s.Role, s.Disk, s.Counters.NS = "Primary", "Diskless", 12
	}
	return []api.VolumeWatchReply{
		{Number: 7, Whole: true, Volumes: []api.VolumeStatus{*watched(nil)}},
		{Number: 9, Events: []api.VolumeEvent{
			{Number: 8, Resource: "mysqlr0", Status: watched(nil)}, // nothing that is told
			{Number: 9, Resource: "mysqlr0", Status: watched(connected)},
		}},
		{Number: 9},
		{Number: 10, Events: []api.VolumeEvent{{Number: 10, Resource: "mysqlr0", Status: watched(primary)}}},
		{Number: 11, Events: []api.VolumeEvent{{Number: 11, Resource: "mysqlr0"}}},
		{Number: 30, Whole: true, Volumes: []api.VolumeStatus{*watched(nil)}},
	}
}

const (
	atPeer  = "name:mysqlr0 peer-node-id:1 conn-name:lqi1ecmy02"
	atPath  = atPeer + " local:ipv4:10.0.1.4:7788 peer:ipv4:10.0.1.5:7788"
	existed = `exists resource name:mysqlr0 role:Secondary suspended:no
exists connection ` + atPeer + ` connection:Connecting role:Unknown
exists device name:mysqlr0 volume:0 minor:1 backing_dev:ROOT/disk disk:UpToDate
exists peer-device ` + atPeer + ` volume:0 replication:Off peer-disk:DUnknown resync-suspended:no
exists path ` + atPath + ` established:no
exists -
`
)

func TestEvents2(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	created := strings.ReplaceAll(strings.TrimSuffix(existed, "exists -\n"), "exists ", "create ")
	for line, want := range map[string]string{
		"events2 --now": existed,
		"events2 mysqlr0": existed + `change connection ` + atPeer + ` connection:Connected role:Secondary
change peer-device ` + atPeer + ` volume:0 replication:SyncSource peer-disk:Inconsistent
change path ` + atPath + ` established:yes
change resource name:mysqlr0 role:Primary
change device name:mysqlr0 volume:0 minor:1 backing_dev:none disk:Diskless
destroy path ` + atPath + `
destroy peer-device ` + atPeer + ` volume:0
destroy device name:mysqlr0 volume:0 minor:1
destroy connection ` + atPeer + `
destroy resource name:mysqlr0
` + created,
	} {
		d.watches = story()
		r := h.run(line, "")
		if got := strings.ReplaceAll(r.out, string(h.root), "ROOT"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", line, got, want)
		}
	}
	for line, want := range map[string]string{
		"events2 --diff all":                         "change resource name:mysqlr0 role:Secondary->Primary\n",
		"events2 --full":                             "change resource name:mysqlr0 role:Primary suspended:no\n",
		"events2 --statistics":                       "resync-suspended:no received:0 sent:0 out-of-sync:0 pending:0 unacked:0\n",
		"events2 --statistics mysqlr0":               "change peer-device " + atPeer + " volume:0 sent:12\n",
		"events2 --output-format json --now":         `{"event":"exists","name":"mysqlr0","object":"resource","role":"Secondary","suspended":"no"}` + "\n",
		"events2 --timestamps --now all":             "2026-11-22T16:25:52.000000+00:00 exists -\n",
		"events2 --output-format json --now mysqlr0": `{"event":"exists","object":"-"}` + "\n",
	} {
		d.watches = story()
		if r := h.run(line, ""); !strings.Contains(r.out, want) {
			t.Errorf("%s: %q is not in\n%s", line, want, r.out)
		}
	}
	d.watches = story()
	if r := h.run("events2 nosuch", ""); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}
