package drbd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/api"
)

// recorded finds a file of the recordings of the real thing, or skips the test.
func recorded(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if text, err := os.ReadFile(filepath.Join(dir, "shared/reference/drbd84", name)); err == nil {
			return string(text)
		}
	}
	t.Skipf("recording %s is not here", name)
	return ""
}

// header is what the module and we print first; the second line differs.
var header = regexp.MustCompile(`(?m)\Aversion: 8\.4\.11 \(api:1/proto:86-101\)\nsrcversion: \S+ \n`)

// TestProcLikeTheModule takes every recorded /proc/drbd apart and prints it again, byte for byte.
func TestProcLikeTheModule(t *testing.T) {
	text := recorded(t, "ref-proc-drbd.txt")
	block := regexp.MustCompile(`(?m)^version: 8\.4\.11.*\nsrcversion: .*\n\n ?\d+: cs:.*\n    ns:.*\n(?:\t.*\n)*`)
	all := block.FindAllString(text, -1)
	if len(all) < 30 {
		t.Fatalf("only %d recorded texts", len(all))
	}
	bars := 0
	for _, want := range all {
		v := parseProc(t, want)
		got := procText([]api.VolumeStatus{v})
		if d := cmp.Diff(header.ReplaceAllString(want, ""), header.ReplaceAllString(got, "")); d != "" {
			t.Errorf("(- the module, + ours)\n%s", d)
		}
		if !header.MatchString(got) {
			t.Errorf("first lines of %q", got)
		}
		if v.Resync != nil {
			bars++
		}
	}
	if bars < 3 {
		t.Errorf("only %d recorded texts with a bar", bars)
	}
}

func parseProc(t *testing.T, text string) api.VolumeStatus {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ ?(\d+): cs:(\S+) ro:(\w+)/(\w+) ds:(\w+)/(\w+) (.) (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("not understood: %s", text)
	}
	v := api.VolumeStatus{Minor: number(t, m[1]), Conn: m[2], Role: m[3], PeerRole: m[4], Disk: m[5], PeerDisk: m[6], Protocol: "C", Flags: m[8]}
	c := &v.Counters
	n, err := fmt.Sscanf(text[strings.Index(text, "ns:"):], "ns:%d nr:%d dw:%d dr:%d al:%d bm:%d lo:%d pe:%d ua:%d ap:%d ep:%d wo:%1s oos:%d",
		&c.NS, &c.NR, &c.DW, &c.DR, &c.AL, &c.BM, &c.LO, &c.PE, &c.UA, &c.AP, &c.EP, &c.WO, &c.OOS)
	if n != 13 || err != nil {
		t.Fatalf("%d counters of %s: %v", n, text, err)
	}
	m = regexp.MustCompile(`\((\d+)/(\d+)\)K\n\tfinish: (\d+):(\d+):(\d+) speed: ([\d,]+) \(([\d,]+)\)(?: want: ([\d,]+))? K/sec`).FindStringSubmatch(text)
	if m == nil {
		return v
	}
	u := func(i int) uint64 { return uint64(number(t, strings.ReplaceAll(m[i], ",", ""))) }
	v.Resync = &api.ResyncStatus{LeftKiB: u(1), TotalKiB: u(2), ETASeconds: u(3)*3600 + u(4)*60 + u(5), SpeedKiB: u(6), AverageKiB: u(7)}
	if m[8] != "" {
		v.Resync.WantKiB = u(8)
	}
	return v
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestProcLayout(t *testing.T) {
	up := func(minor int) api.VolumeStatus {
		return api.VolumeStatus{Minor: minor, Conn: "Connected", Role: "Primary", PeerRole: "Secondary", Disk: "UpToDate", PeerDisk: "UpToDate",
			Protocol: "C", Flags: "r-----", Counters: api.VolumeCounters{WO: "f"}}
	}
	syncing := up(12)
	syncing.Conn, syncing.PeerDisk = "SyncSource", "Inconsistent"
	syncing.Resync = &api.ResyncStatus{LeftKiB: 50 << 20, TotalKiB: 100 << 20, SpeedKiB: 1234567, AverageKiB: 7, ETASeconds: 3725}
	text := procText([]api.VolumeStatus{syncing, {Minor: 3, Conn: "StandAlone", Role: "Secondary", Disk: "Diskless"}, up(0), up(1)})
	const zeros = "    ns:0 nr:0 dw:0 dr:0 al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:0 wo:f oos:0\n"
	want := " 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n" + zeros +
		" 1: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n" + zeros +
		"\n 3: cs:Unconfigured\n" +
		"\n12: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n" + zeros +
		"\t[=========>..........] sync'ed: 50.1% (51200/102400)M\n\tfinish: 1:02:05 speed: 1,234,567 (7) K/sec\n"
	if d := cmp.Diff(want, header.ReplaceAllString(text, "")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("", header.ReplaceAllString(procText(nil), "")); d != "" {
		t.Error(d)
	}
}

func TestBar(t *testing.T) {
	for permille, want := range map[uint64]string{
		0:    "[>....................]",
		63:   "[>...................]",
		100:  "[=>..................]",
		999:  "[==================>.]",
		1000: "[===================>]",
	} {
		if got := bar(permille); got != want {
			t.Errorf("%d: %s, want %s", permille, got, want)
		}
	}
}

func TestOverview(t *testing.T) {
	all := []api.VolumeStatus{
		{Resource: "mysqlr0", Minor: 1, Device: "/dev/drbd1", Kernel: "/dev/loop7", Conn: "Connected", Role: "Primary", PeerRole: "Secondary",
			Disk: "UpToDate", PeerDisk: "UpToDate", Protocol: "C", Flags: "r-----"},
		{Resource: "other", Minor: 2, Device: "/dev/drbd2", Kernel: "/dev/loop8", Conn: "SyncTarget", Role: "Secondary", PeerRole: "Primary",
			Disk: "Inconsistent", PeerDisk: "UpToDate", Protocol: "C", Flags: "r-----",
			Resync: &api.ResyncStatus{LeftKiB: 62640, TotalKiB: 65496, ETASeconds: 39, SpeedKiB: 1428, AverageKiB: 1428, WantKiB: 2040}},
		{Resource: "third", Minor: 3, Conn: unconfigured},
	}
	mounts := "/dev/sda / ext4 rw 0 0\n/dev/loop7 /var/lib/my\\040sql ext3 rw 0 0\n"
	got := overviewText(all, mounts, func(dir string) string { return "[" + dir + "] 1.0G 10M 990M 1%" })
	want := "  1:mysqlr0/0 Connected  Primary/Secondary UpToDate/UpToDate     C r----- /var/lib/my sql ext3 [/var/lib/my sql] 1.0G 10M 990M 1%\n" +
		"  2:other/0   SyncTarget Secondary/Primary Inconsistent/UpToDate C r-----\n" +
		"\t[>...................] sync'ed:  6.3% (62640/65496)K\n\tfinish: 0:00:39 speed: 1,428 (1,428) want: 2,040 K/sec\n" +
		"  3:third/0   Unconfigured\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := human(1536 << 10); got != "1.5M" {
		t.Errorf("1.5 MiB is %s", got)
	}
	if usage("/") == "" {
		t.Error("no usage of /")
	}
}

func TestStatusText(t *testing.T) {
	v := api.VolumeStatus{Resource: "mysqlr0", Conn: "Connected", Role: "Primary", PeerRole: "Secondary", Disk: "UpToDate", PeerDisk: "UpToDate"}
	want := "mysqlr0 role:Primary\n  disk:UpToDate\n  peer role:Secondary\n    replication:Established peer-disk:UpToDate\n\n"
	if d := cmp.Diff(want, statusText([]api.VolumeStatus{v})); d != "" {
		t.Error(d)
	}
	if !strings.Contains(recorded(t, "ref-proc-drbd.txt"), want) {
		t.Error("the recorded status is another")
	}
	v.Conn, v.Frozen = "WFConnection", "the peer is gone"
	if d := cmp.Diff("mysqlr0 role:Primary suspended:the peer is gone\n  disk:UpToDate\n  peer connection:Connecting\n\n", statusText([]api.VolumeStatus{v})); d != "" {
		t.Error(d)
	}
	v.Conn, v.Frozen, v.PeerDisk, v.Resync = "SyncSource", "", "Inconsistent", &api.ResyncStatus{Percent: 6.3}
	if d := cmp.Diff("mysqlr0 role:Primary\n  disk:UpToDate\n  peer role:Secondary\n    replication:SyncSource peer-disk:Inconsistent done:6.30\n\n", statusText([]api.VolumeStatus{v})); d != "" {
		t.Error(d)
	}
}
