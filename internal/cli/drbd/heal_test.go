package drbd

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/saved"
)

// healCase is a command line, what the volume's state is, and what comes of it.
type healCase struct {
	line     string
	state    api.VolumeStatus
	after    func(*daemon, api.VolumeDo)
	asked    []api.VolumeDo
	out, err string
	code     int
}

func healCases(root string) []healCase {
	file := "ROOT/var/lib/holdfast/saved/mysqlr0-lqi1ecmy01-20261122T162552Z.side"
	real := strings.ReplaceAll(file, "ROOT", root)
	alone := api.VolumeStatus{Resource: "mysqlr0", Minor: 1, Disk: "UpToDate", Conn: "StandAlone"}
	ends := func(s api.HealStatus) func(*daemon, api.VolumeDo) {
		return func(d *daemon, do api.VolumeDo) {
			if do.Verb == api.VolumeHeal || do.Verb == api.VolumeHealUndo {
				v := alone
				s.File = do.File
				v.Heal = &s
				d.volumes = []api.VolumeStatus{v}
			}
		}
	}
	undo := "To take that back: drbdadm disconnect mysqlr0; holdfast drbd heal --undo="
	return []healCase{
		{"heal --keep lqi1ecmy01 mysqlr0", alone, nil, []api.VolumeDo{{Verb: api.VolumeConnect}},
			"mysqlr0: the data of lqi1ecmy01 is kept; it waits for lqi1ecmy02. There: holdfast drbd heal --keep=lqi1ecmy01 mysqlr0\n", "", 0},
		{"heal --keep=lqi1ecmy01 -d mysqlr0", alone, nil, nil,
			"mysqlr0: the data of lqi1ecmy01 is kept; it would wait for lqi1ecmy02. There: holdfast drbd heal --keep=lqi1ecmy01 mysqlr0\n", "", 0},
		{"heal --keep=lqi1ecmy01 mysqlr0", api.VolumeStatus{Resource: "mysqlr0", Conn: "Connected"}, nil, nil,
			"", "mysqlr0 is connected (Connected): there is no split brain\n", 10},
		{"heal --keep=lqi1ecmy01 mysqlr0", api.VolumeStatus{Resource: "mysqlr0", Conn: "StandAlone", Bound: true, Adopted: true}, nil, nil,
			"", "mysqlr0 is in a cluster's log, which says which replica is good: there is nothing to heal\n", 10},
		{"heal --keep=lqi1ecmy02 mysqlr0", alone, ends(api.HealStatus{Phase: api.HealDone}), []api.VolumeDo{{Verb: api.VolumeHeal, File: real}},
			"mysqlr0: healed. " + undo + file + " mysqlr0\n", "", 0},
		{"heal --whole --save=/x/y --keep=lqi1ecmy02 mysqlr0", alone, ends(api.HealStatus{Phase: api.HealDone}),
			[]api.VolumeDo{{Verb: api.VolumeHeal, File: "/x/y", Whole: true}}, "mysqlr0: healed. " + undo + "/x/y mysqlr0\n", "", 0},
		{"heal --dry-run --keep=lqi1ecmy02 mysqlr0", alone, ends(api.HealStatus{Phase: api.HealFound, Least: 4e6, Most: 9e6}),
			[]api.VolumeDo{{Verb: api.VolumeHeal, File: real, Look: true}},
			"mysqlr0: split brain. Of lqi1ecmy01, 4.0 MB to 9.0 MB would be saved in " + file + " and replaced by the data of lqi1ecmy02. Nothing was changed.\n", "", 0},
		{"heal --keep=lqi1ecmy02 mysqlr0", alone, ends(api.HealStatus{Phase: api.HealFailed, Error: "not healed: no space"}),
			[]api.VolumeDo{{Verb: api.VolumeHeal, File: real}}, "", "mysqlr0: not healed: no space\n", 10},
		{"heal --keep=lqi1ecmy02 --timeout 0.2 mysqlr0", alone, ends(api.HealStatus{Phase: api.HealWaiting}),
			[]api.VolumeDo{{Verb: api.VolumeHeal, File: real}, {Verb: api.VolumeDisconnect}}, "mysqlr0: waiting for lqi1ecmy02\n",
			"mysqlr0: lqi1ecmy02 has not answered for 200ms, nothing was changed. There: holdfast drbd heal --keep=lqi1ecmy02 mysqlr0" +
				" (a kernel module: drbdadm connect mysqlr0), then here again\n", 10},
		{"heal --undo=/x/y mysqlr0", alone, ends(api.HealStatus{Phase: api.HealUndone}), []api.VolumeDo{{Verb: api.VolumeHealUndo, File: "/x/y"}},
			"mysqlr0: the disk is again what it was before the heal. The two sides are in a split brain again; to keep this one, on both hosts: " +
				"holdfast drbd heal --keep=lqi1ecmy01 mysqlr0\n", "", 0},
		{"heal --undo=/x/y -d mysqlr0", alone, ends(api.HealStatus{Phase: api.HealFound, Most: 5e6}),
			[]api.VolumeDo{{Verb: api.VolumeHealUndo, File: "/x/y", Look: true}},
			"mysqlr0: 5.0 MB would be written back; the disk would be again what it was before the heal. Nothing was changed.\n", "", 0},
		{"heal --keep=other mysqlr0", alone, nil, nil, "",
			"drbdadm: heal --keep='other': the name of the host whose data stays is expected, lqi1ecmy01 or lqi1ecmy02\n", 1},
		{"heal --output-format=json --keep=lqi1ecmy02 mysqlr0", alone, ends(api.HealStatus{Phase: api.HealDone, Bytes: 7}),
			[]api.VolumeDo{{Verb: api.VolumeHeal, File: real}},
			"{\n  \"resource\": \"mysqlr0\",\n  \"phase\": \"done\",\n  \"file\": \"" + file + "\",\n  \"bytes\": 7,\n  \"total\": 0\n}\n", "", 0},
	}
}

// TestHeal: the same words on both hosts; each does its part.
func TestHeal(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	for _, c := range healCases(string(h.root)) {
		t.Run(c.line, func(t *testing.T) {
			d.volumes, d.after, d.asked = []api.VolumeStatus{c.state}, c.after, nil
			h.run(c.line, "").want(t, c.out, c.err, c.code)
			var asked []api.VolumeDo
			for _, a := range d.asked {
				asked = append(asked, a.Do)
			}
			if !slices.Equal(asked, c.asked) {
				t.Errorf("asked for %+v", asked)
			}
		})
	}
	d.reply = api.VolumeReply{Code: 11, Error: "1: State change failed: (-2) it is connected"}
	h.run("heal --keep=lqi1ecmy02 mysqlr0", "").want(t, "", d.reply.Error+"\n", 11)
	if r := h.run("heal --keep=lqi1ecmy02", ""); r.code != 1 || !strings.HasPrefix(r.err, "USAGE: holdfast drbd heal ") {
		t.Errorf("%+v", r)
	}
}

// TestHealFile: a file can be looked at and put onto a copy of the disk; a damaged one changes nothing.
func TestHealFile(t *testing.T) {
	h := newHost(t)
	var b bytes.Buffer
	w, err := saved.NewWriter(&b, saved.Header{ID: "1", Resource: "mysqlr0", Node: "lqi1ecmy01", Peer: "lqi1ecmy02", DeviceUUID: 0xa1, Size: 1 << 20, At: 1795364752e9})
	for _, step := range []func() error{
		func() error { return w.Add(4096, bytes.Repeat([]byte{7}, 8192)) }, func() error { return w.Add(64<<10, make([]byte, 4096)) }, w.End,
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, "good.side", b.String())
	h.write(t, "cut.side", b.String()[:b.Len()-9])
	copied := bytes.Repeat([]byte{1}, 1<<20)
	h.write(t, "copy", string(copied))
	h.write(t, "small", "x")
	path := func(name string) string { return filepath.Join(string(h.root), name) }

	h.run("heal --show="+path("good.side"), "").want(t, "mysqlr0 of lqi1ecmy01, given up for lqi1ecmy02 at 2026-11-22T16:25:52Z: the blocks that differed, 0.0 MB of 1.0 MB, in 2 pieces\n"+
		"disk 00000000000000A1, generations 0000000000000000:0000000000000000:0000000000000000:0000000000000000\n", "", 0)
	broken := "ROOT/cut.side: the file was broken off while it was written: the disk it was to save has not been changed\n"
	h.run("heal --show="+path("cut.side"), "").want(t, "", broken, 10)
	h.run("heal --extract="+path("cut.side")+" --onto="+path("copy"), "").want(t, "", broken, 10)
	h.run("heal --extract="+path("good.side"), "").want(t, "", "drbdadm: heal --extract needs --onto=PATH, a copy of the disk\n", 1)
	h.run("heal --extract="+path("good.side")+" --onto="+path("small"), "").want(t, "",
		"ROOT/small has 1 bytes, the volume had 1048576: a copy of the whole disk is expected\n", 10)
	h.run("heal --extract="+path("good.side")+" --onto="+h.disk, "").want(t, "",
		"ROOT/disk belongs to mysqlr0 on this host: a copy of it is expected, or holdfast drbd heal --undo\n", 10)
	h.run("heal -d --extract="+path("good.side")+" --onto="+path("copy"), "").want(t, "0.0 MB would be written onto ROOT/copy. Nothing was changed.\n", "", 0)
	if got, err := os.ReadFile(path("copy")); err != nil || !bytes.Equal(got, copied) {
		t.Error("the copy was changed")
	}
	h.run("heal --extract="+path("good.side")+" --onto="+path("copy"), "").want(t, "0.0 MB written onto ROOT/copy\n", "", 0)
	copy(copied[4096:], bytes.Repeat([]byte{7}, 8192))
	clear(copied[64<<10 : 68<<10])
	if got, err := os.ReadFile(path("copy")); err != nil || !bytes.Equal(got, copied) {
		t.Error("the copy does not hold the saved blocks")
	}
}
