package drbd

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

// severalHost has a resource with the volumes 0 and 2, and a daemon that says they are up.
func severalHost(t *testing.T) (*host, *daemon) {
	t.Helper()
	h := newHost(t)
	h.write(t, "etc/drbd.d/mysqlr0.res", strings.ReplaceAll(`resource r0 {
  volume 0 { device /dev/drbd10; disk DISK; meta-disk internal; }
  volume 2 { device /dev/drbd12; disk DISK2; meta-disk internal; }
  on lqi1ecmy01 { address 10.0.1.4:7788; }
  on lqi1ecmy02 { address 10.0.1.5:7788; }
}
`, "DISK", h.disk))
	h.write(t, "disk2", strings.Repeat("\x00", 1<<20))
	d := h.serve(t)
	up := api.VolumeStatus{Resource: "r0", Minor: 10, Device: "/dev/drbd10", Conn: "Connected", Role: "Primary", PeerRole: "Secondary", Disk: "UpToDate", PeerDisk: "UpToDate",
		Protocol: "C", CurrentUUID: "A0"}
	second := up
	second.Volume, second.Minor, second.Device, second.CurrentUUID = 2, 12, "/dev/drbd12", "B0"
	second.Conn, second.PeerDisk, second.Resync = "SyncSource", "Inconsistent", &api.ResyncStatus{Percent: 25, LeftKiB: 768, TotalKiB: 1024}
	second.Counters.OOS = 768
	d.volumes = []api.VolumeStatus{up, second}
	return h, d
}

// TestSeveralVolumesAreShown: what tells of a resource tells of each of its volumes.
func TestSeveralVolumesAreShown(t *testing.T) {
	h, _ := severalHost(t)
	for _, c := range []struct {
		line, out string
		code      int
	}{
		{"role r0", "Primary/Secondary\nPrimary/Secondary\n", 0},
		{"cstate r0", "Connected\nSyncSource\n", 0},
		{"cstate r0/2", "SyncSource\n", 0},
		{"dstate minor-12", "UpToDate/Inconsistent\n", 0},
		{"sh-dev r0", "/dev/drbd10\n/dev/drbd12\n", 0},
		{"sh-minor r0/2", "12\n", 0},
		{"sh-ll-dev all", "ROOT/disk\nROOT/disk2\n", 0},
		{"status r0", "r0 role:Primary\n  volume:0 disk:UpToDate\n  volume:2 disk:UpToDate\n  peer role:Secondary\n" +
			"    volume:0 replication:Established peer-disk:UpToDate\n    volume:2 replication:SyncSource peer-disk:Inconsistent done:25.00\n\n", 0},
		{"status r0/2", "r0 role:Primary\n  volume:2 disk:UpToDate\n  peer role:Secondary\n    volume:2 replication:SyncSource peer-disk:Inconsistent done:25.00\n\n", 0},
		{"overview", " 10:r0/0 Connected  Primary/Secondary UpToDate/UpToDate     C r-----\n" +
			" 12:r0/2 SyncSource Primary/Secondary UpToDate/Inconsistent C r-----\n" +
			"\t[===================>] sync'ed:100.0% (768/1024)K\n\tfinish: 0:00:00 speed: 0 (0) K/sec\n", 0},
		{"get-gi r0", "00000000000000A0:0000000000000000:0000000000000000:0000000000000000:1:1:1:1:0:0:0\n" +
			"00000000000000B0:0000000000000000:0000000000000000:0000000000000000:1:1:1:1:0:1:0\n", 0},
		{"role --output-format json r0/2", "{\n  \"resource\": \"r0\",\n  \"role\": \"Primary/Secondary\",\n  \"volume\": \"2\"\n}\n", 0},
		{"events2 --now r0", "", exitFailed},
	} {
		r := h.run(c.line, "")
		if c.out == "" {
			continue
		}
		r.want(t, c.out, "", c.code)
	}
	if r := h.run("proc", ""); !strings.Contains(r.out, "\n10: cs:Connected ") || !strings.Contains(r.out, "\n12: cs:SyncSource ") {
		t.Errorf("/proc/drbd: %s", r.out)
	}
	if r := h.run("role r0/1", ""); r.code != exitUsage || !strings.Contains(r.err, "'r0/1' not defined") {
		t.Errorf("a volume that is not there: %+v", r)
	}
}

// TestSeveralVolumesAreAsked: a verb goes to the resource, or to the volume that is named.
func TestSeveralVolumesAreAsked(t *testing.T) {
	h, d := severalHost(t)
	for line, want := range map[string][]int{"primary r0": {-1}, "detach r0/2": {2}, "verify minor-10": {0}, "invalidate r0": {0, 2}, "resize r0/2": {2}, "down all": {-1}} {
		d.asked = nil
		if r := h.run(line, ""); r.code != 0 {
			t.Errorf("%s: %+v", line, r)
		}
		var got []int
		for _, q := range d.asked {
			n := -1
			if q.Do.Volume != nil {
				n = *q.Do.Volume
			}
			got = append(got, n)
		}
		if len(got) != len(want) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("%s: asked for the volumes %v, want %v", line, got, want)
		}
	}
	d.reply = api.VolumeReply{Code: 17, Error: "12: State change failed: (-2) Need access to UpToDate data"}
	if r := h.run("primary r0", ""); r.code != 17 || !strings.HasSuffix(r.err, "\nCommand 'drbdsetup-84 primary 12' terminated with exit code 17\n") {
		t.Errorf("%+v", r)
	}
	if r := h.run("heal --keep=lqi1ecmy02 r0", ""); r.code != exitFailed || !strings.Contains(r.err, "--discard-my-data r0") {
		t.Errorf("%+v", r)
	}
}

// TestSeveralVolumesAreWaitedFor: all of them.
func TestSeveralVolumesAreWaitedFor(t *testing.T) {
	h, d := severalHost(t)
	if r := h.run("wait-connect r0", ""); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if r := h.run("wait-sync r0/0", ""); r.code != 0 {
		t.Errorf("%+v", r)
	}
	d.volumes[1].Conn, d.volumes[1].Reason = "StandAlone", "split brain"
	if r := h.run("wait-sync r0", ""); r.code != 5 || !strings.Contains(r.err, "split brain") {
		t.Errorf("%+v", r)
	}
}

// TestEventsOfSeveralVolumes: one resource and connection, and objects of each volume.
func TestEventsOfSeveralVolumes(t *testing.T) {
	h, d := severalHost(t)
	failed := d.volumes[1]
	failed.Disk = "Diskless"
	d.watches = []api.VolumeWatchReply{
		{Number: 7, Whole: true, Volumes: d.volumes},
		{Number: 8, Events: []api.VolumeEvent{{Number: 8, Resource: "r0", Status: &failed}}},
		{Number: 9, Events: []api.VolumeEvent{{Number: 9, Resource: "r0"}}},
	}
	peer := "name:r0 peer-node-id:1 conn-name:lqi1ecmy02"
	path := peer + " local:ipv4:10.0.1.4:7788 peer:ipv4:10.0.1.5:7788"
	want := `exists resource name:r0 role:Primary suspended:no
exists connection ` + peer + ` connection:Connected role:Secondary
exists device name:r0 volume:0 minor:10 backing_dev:ROOT/disk disk:UpToDate
exists device name:r0 volume:2 minor:12 backing_dev:ROOT/disk2 disk:UpToDate
exists peer-device ` + peer + ` volume:0 replication:Established peer-disk:UpToDate resync-suspended:no
exists peer-device ` + peer + ` volume:2 replication:SyncSource peer-disk:Inconsistent resync-suspended:no
exists path ` + path + ` established:yes
exists -
change device name:r0 volume:2 minor:12 backing_dev:none disk:Diskless
destroy path ` + path + `
destroy peer-device ` + peer + ` volume:2
destroy peer-device ` + peer + ` volume:0
destroy device name:r0 volume:2 minor:12
destroy device name:r0 volume:0 minor:10
destroy connection ` + peer + `
destroy resource name:r0
`
	if r := h.run("events2 r0", ""); r.out != want {
		t.Errorf("got\n%s\nwant\n%s", r.out, want)
	}
}
