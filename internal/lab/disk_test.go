package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/lab"
	"holdfast/internal/lab/labdisk"
)

// TestDataDiskPowerCut checks that a kill loses what the data disk's cache held, and keeps what had been flushed.
func TestDataDiskPowerCut(t *testing.T) {
	l := up(t, lab.Config{Name: "disk", DiskMiB: 64})
	h := l.Host("lqi1ecmy01")
	if got := sh(t, h, "blockdev --getsize64 /dev/sdc"); got != "67108864" {
		t.Errorf("the data disk has %s bytes", got)
	}
	put := func(text, offset, more string) {
		sh(t, h, "yes "+text+" | head -c 4096 > /tmp/b; dd if=/tmp/b of=/dev/sdc bs=4096 count=1 oflag=direct seek="+offset+" status=none conv=notrunc"+more)
	}
	put("flushed", "0", ",fsync")
	put("cached", "1", "")
	sh(t, h, "mkdir -p /mnt; head -c 14 /dev/sdc >/dev/null")
	if err := h.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, h, "head -c 7 /dev/sdc; dd if=/dev/sdc bs=4096 skip=1 count=1 status=none | tr -d '\\0' | wc -c"); got != "flushed0" {
		t.Errorf("after the power cut: %q; want the flushed block, and zeros for the cached one", got)
	}
	if other := sh(t, l.Host("lqi1ecmy02"), "head -c 4096 /dev/sdc | tr -d '\\0' | wc -c"); other != "0" {
		t.Error("the other host's data disk is not empty")
	}
}

func TestDataDiskFaults(t *testing.T) {
	l := up(t, lab.Config{Name: "faults", DiskMiB: 64})
	h := l.Host("lqi1ecmy01")
	try := func() int {
		r, err := h.Exec(t.Context(), "dd", "if=/dev/zero", "of=/dev/sdc", "bs=4096", "count=1", "oflag=direct")
		if err != nil {
			t.Fatal(err)
		}
		return r.Code
	}
	for _, fault := range []labdisk.Command{{Do: "fail", What: []string{"write"}}, {Do: "full"}} {
		if _, err := h.Disk(t.Context(), fault); err != nil {
			t.Fatal(err)
		}
		if try() == 0 {
			t.Errorf("a write succeeded on a disk with the fault %+v", fault)
		}
		if _, err := h.Disk(t.Context(), labdisk.Command{Do: "heal"}); err != nil {
			t.Fatal(err)
		}
		if try() != 0 {
			t.Error("a write failed on the healed disk")
		}
	}
	if _, err := h.Disk(t.Context(), labdisk.Command{Do: "power-off"}); err == nil {
		t.Error("the disk's power was cut under a running host")
	}
	if _, err := l.Host("client").Disk(t.Context(), labdisk.Command{Do: "full"}); err == nil {
		t.Error("a host without a data disk has one")
	}
}

// loopNames lists what losetup shows as the file of each attached loop device.
func loopNames() []string {
	var names []string
	devices, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is valid
	for _, d := range devices {
		fd, err := unix.Open("/dev/"+strings.Split(d, "/")[3], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if info, err := unix.IoctlLoopGetStatus64(fd); err == nil {
			names = append(names, unix.ByteSliceToString(info.File_name[:]))
		}
		unix.Close(fd)
	}
	return names
}

func TestTopologyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.json")
	check := func(text, wantError string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := lab.LoadTopology(path)
		if wantError == "" && err != nil || wantError != "" && (err == nil || !strings.Contains(err.Error(), wantError) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: error %v, want %q", text, err, wantError)
		}
	}
	const subnets = `"subnets":[{"name":"a","cidr":"10.0.1.0/24"}]`
	check(`{`+subnets+`,"hosts":[{"name":"x","address":"10.0.1.4","role":"database","disk_mib":64}]}`, "")
	check(`{`+subnets+`,"hosts":[]}`, "no hosts")
	check(`{`+subnets+`,"hosts":[{"name":"x","address":"10.9.1.4","role":"web"}]}`, "in none of the subnets")
	check(`{`+subnets+`,"hosts":[{"name":"x","address":"10.0.1.1","role":"web"}]}`, "router's")
	check(`{`+subnets+`,"hosts":[{"name":"keeper","address":"10.0.1.4","role":"web"}]}`, "cannot name a host")
	check(`{`+subnets+`,"hosts":[{"name":"../x","address":"10.0.1.4","role":"web"}]}`, "cannot name a host")
	check(`{`+subnets+`,"hosts":[{"name":"x","address":"10.0.1.4","role":"king"}]}`, "unknown role")
	check(`{`+subnets+`,"hosts":[{"name":"x","address":"10.0.1.4","role":"web"},{"name":"x","address":"10.0.1.5","role":"web"}]}`, "twice")
	check(`{`+subnets+`,"hosts":[{"name":"x","address":"10.0.1.4","role":"web"},{"name":"y","address":"10.0.1.4","role":"web"}]}`, "of host x")
	check(`{"subnets":[{"name":"a","cidr":"10.0.1.0/24"},{"name":"b","cidr":"10.0.1.128/25"}],"hosts":[{"name":"x","address":"10.0.1.4","role":"web"}]}`, "overlap")
	check(`{"hosst":[]}`, "unknown field")
	check(`not json`, "invalid")
}
