package drbd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// TestResize: what the volume is asked, in bytes, and what is noted of the disk.
func TestResize(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	d.volumes = []api.VolumeStatus{{Resource: "mysqlr0", Minor: 1, Disk: "UpToDate", DeviceUUID: "00000000000000A1"}}
	for line, want := range map[string]api.VolumeDo{
		"resize mysqlr0":                                 {},
		"resize --size=10M mysqlr0":                      {SizeBytes: 10 << 20},
		"-- --size=20480 resize mysqlr0":                 {SizeBytes: 10 << 20},
		"resize mysqlr0 --assume-peer-has-space":         {AssumePeerHasSpace: true},
		"-- --assume-clean --size=20480s resize mysqlr0": {SizeBytes: 10 << 20, AssumeClean: true},
	} {
		d.asked = nil
		h.run(line, "").want(t, "", "", 0)
		want.Verb = api.VolumeResize
		if len(d.asked) != 1 || d.asked[0].Do != want {
			t.Errorf("%s: asked %+v, want %+v", line, d.asked, want)
		}
	}
	note, err := os.ReadFile(filepath.Join(string(h.root), "var/lib/drbd/drbd-minor-1.lkbd"))
	if want := "67108864\t" + h.disk + "\nuuid:\t00000000000000A1\n"; err != nil || string(note) != want {
		t.Errorf("noted %q, want %q: %v", note, want, err)
	}
	for line, words := range map[string]string{
		"resize --size=much mysqlr0":       "is not a size",
		"resize --al-stripes=2 mysqlr0":    "option '--al-stripes' is not supported",
		"resize --size=0 --size=0 mysqlr0": "is not a size",
	} {
		if r := h.run(line, ""); r.code != exitUsage || !strings.Contains(r.err, words) {
			t.Errorf("%s: %+v", line, r)
		}
	}
	d.reply = api.VolumeReply{Code: 10, Error: "1: Failure: (131) Need one Primary node to resize."}
	if r := h.run("resize --size=10M mysqlr0", ""); r.code != 10 || !strings.Contains(r.err, "Command 'drbdsetup-84 resize 1 --size=10M' terminated with exit code 10") {
		t.Errorf("%+v", r)
	}
}
