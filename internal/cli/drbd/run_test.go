package drbd

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/api"
	"holdfast/internal/block/metadata"
	"holdfast/internal/drbdutils"
	"holdfast/internal/paths"
)

// host is a root directory with a configuration, and maybe a daemon.
type host struct {
	root paths.Root
	disk string
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{root: paths.Root(dir), disk: filepath.Join(dir, "disk")}
	h.write(t, "etc/drbd.d/mysqlr0.res", strings.ReplaceAll(`resource mysqlr0 {
protocol C;
        on lqi1ecmy01 {
                device /dev/drbd1;
                disk DISK;
                address 10.0.1.4:7788;
                meta-disk internal;
        }
        on lqi1ecmy02 {
                device /dev/drbd1;
                disk /dev/sdc;
                address 10.0.1.5:7788;
                meta-disk internal;
        }
}
`, "DISK", h.disk))
	h.resize(t, 64<<20)
	return h
}

func (h *host) write(t *testing.T, name, text string) {
	t.Helper()
	p := filepath.Join(string(h.root), name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// resize makes a new, empty disk.
func (h *host) resize(t *testing.T, size int64) {
	t.Helper()
	h.write(t, "disk", "")
	if err := os.Truncate(h.disk, size); err != nil {
		t.Fatal(err)
	}
}

// result is what a command printed and its exit code.
type result struct {
	out, err string
	code     int
}

// run types a command line on the host; stdin non-empty makes it a terminal.
func (h *host) run(line, stdin string) result {
	var out, errs bytes.Buffer
	env := Env{Root: h.root, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Hostname: "lqi1ecmy01",
		Terminal: stdin != "", Now: func() time.Time { return time.Unix(1795364752, 0).UTC() }}
	code := Run(strings.Fields(line), env)
	clean := strings.NewReplacer(string(h.root), "ROOT")
	return result{clean.Replace(out.String()), clean.Replace(errs.String()), code}
}

func (r result) want(t *testing.T, out, errs string, code int) {
	t.Helper()
	if d := cmp.Diff(result{out, errs, code}, r, cmp.AllowUnexported(result{})); d != "" {
		t.Errorf("(- want, + got)\n%s", d)
	}
}

const created = "initializing activity log\nWriting meta data...\nNew drbd meta data block successfully created.\n"

// TestWithoutDaemon checks what needs no daemon, and what is said where one is needed.
func TestWithoutDaemon(t *testing.T) {
	h := newHost(t)
	down := "the holdfast daemon does not answer on ROOT/run/holdfast/holdfast.sock: start it with 'systemctl start holdfast' (no such file or directory)\n"
	for _, c := range []struct {
		line, out, err string
		code           int
	}{
		{"sh-resources", "mysqlr0\n", "", 0},
		{"sh-resources x", "mysqlr0\n", "This command will ignore resource names!\n", 0},
		{"sh-dev mysqlr0", "/dev/drbd1\n", "", 0},
		{"sh-dev all", "/dev/drbd1\n", "", 0},
		{"sh-dev mysqlr0/0", "/dev/drbd1\n", "", 0},
		{"sh-dev mysqlr0/1", "", "'mysqlr0/1' not defined in your config (for this host).\n", 1},
		{"sh-minor mysqlr0", "1\n", "", 0},
		{"sh-ll-dev mysqlr0", "ROOT/disk\n", "", 0},
		{"sh-md-dev mysqlr0", "ROOT/disk\n", "", 0},
		{"sh-md-idx mysqlr0", "internal\n", "", 0},
		{"sh-ip mysqlr0", "10.0.1.4\n", "", 0},
		{"nosuch mysqlr0", "", "drbdadm: Unknown command 'nosuch'\n", 1},
		{"up nosuchres", "", "'nosuchres' not defined in your config (for this host).\n", 1},
		{"up mysqlr0 --nosuch", "", "drbdadm: unrecognized option '--nosuch'\n", 1},
		{"up", "", "USAGE: drbdadm up [OPTION...] {all|RESOURCE...}\n\nNo resource names specified\n", 1},
		{"up mysqlr0 -c", "", "drbdadm: option '-c' requires an argument\n", 1},
		{"up mysqlr0", "", down, 20},
		{"role mysqlr0", "", down, 20},
		{"proc", "", down, 20},
		{"overview", "", down, 20},
		{"dstate mysqlr0", "", "No valid meta data found on ROOT/disk of resource mysqlr0: drbdadm create-md mysqlr0\n", 1},
		{"get-gi mysqlr0", "", "No valid meta data found on ROOT/disk of resource mysqlr0: drbdadm create-md mysqlr0\n", 1},
		{"wipe-md mysqlr0", "", "There appears to be no drbd meta data to wipe out?\n", 0},
		{"create-md mysqlr0", created, "initializing bitmap (4 KB) to all zero\n", 0},
		{"dstate mysqlr0", "Inconsistent\n", "", 0},
		{"get-gi mysqlr0", "0000000000000004:0000000000000000:0000000000000000:0000000000000000:0:0:0:0:0:0:0\n", "", 0},
	} {
		t.Run(c.line, func(t *testing.T) { h.run(c.line, "").want(t, c.out, c.err, c.code) })
	}
}

// TestWrongConfiguration: the file and the line are named, nothing is changed.
func TestWrongConfiguration(t *testing.T) {
	h := newHost(t)
	h.write(t, "etc/drbd.d/bad.res", "resource bad {\n on lqi1ecmy01 {\n  device /dev/drbd2 disk /dev/sdd;\n }\n}\n")
	for _, line := range []string{"create-md mysqlr0", "up all", "dump", "sh-resources"} {
		h.run(line, "").want(t, "", "/etc/drbd.d/bad.res:3: Parse error: 'minor | ;' expected,\n\tbut got 'disk'\n", 10)
	}
	if p, err := os.ReadFile(h.disk); err != nil || len(bytes.Trim(p, "\x00")) != 0 {
		t.Error("the disk was written to")
	}
	if err := os.Remove(filepath.Join(string(h.root), "etc/drbd.d/bad.res")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(h.disk); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"create-md mysqlr0", "up mysqlr0"} {
		h.run(line, "").want(t, "", "open(ROOT/disk) failed: no such file or directory\n"+
			"disk of resource mysqlr0, defined at /etc/drbd.d/mysqlr0.res:3: attach the disk, or correct the file\n", 20)
	}
}

func TestCreateMDOverMetadata(t *testing.T) {
	h := newHost(t)
	h.run("create-md mysqlr0", "").want(t, created, "initializing bitmap (4 KB) to all zero\n", 0)
	first := h.metadata(t)
	there := "You want me to create a v08 style flexible-size internal meta data block.\n" +
		"There appears to be a v08 flexible-size internal meta data block\nalready in place on ROOT/disk at byte offset 67104768\n"
	question := "\nDo you really want to overwrite the existing meta-data?\n"
	h.run("create-md mysqlr0", "").want(t, there+"Operation cancelled.\n", question+"stdin not a TTY, not waiting for confirmation\n", 1)
	h.run("create-md mysqlr0", "y\n").want(t, there+"Operation cancelled.\n", question+"[need to type 'yes' to confirm] \n", 1)
	if !bytes.Equal(first, h.metadata(t)) {
		t.Error("a refused create-md changed the metadata")
	}
	h.run("create-md mysqlr0", "yes\n").want(t, there+created, question+"[need to type 'yes' to confirm] \ninitializing bitmap (4 KB) to all zero\n", 0)
	second := h.metadata(t)
	if bytes.Equal(first, second) {
		t.Error("the new metadata has the old device UUID")
	}
	h.run("create-md mysqlr0 --force", "").want(t, there+created, question+"*** confirmation forced via --force option ***\ninitializing bitmap (4 KB) to all zero\n", 0)
	if r := h.run("wipe-md --force mysqlr0", ""); r.code != 0 {
		t.Errorf("wipe-md: %+v", r)
	}
	if len(bytes.Trim(h.metadata(t), "\x00")) != 0 {
		t.Error("the superblock is still there")
	}
}

// metadata is the superblock.
func (h *host) metadata(t *testing.T) []byte {
	t.Helper()
	p, err := os.ReadFile(h.disk)
	if err != nil {
		t.Fatal(err)
	}
	return p[len(p)-4096:]
}

func (h *host) writeAt(t *testing.T, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(h.disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

func TestCreateMDOverFilesystem(t *testing.T) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("mkfs.ext4 is not installed")
	}
	h := newHost(t)
	mkfs := func(size ...string) {
		if out, err := exec.Command("mkfs.ext4", append([]string{"-q", "-F", h.disk}, size...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	mkfs()
	where := "md_offset 67104768\nal_offset 67072000\nbm_offset 67067904\n\nFound ext4 filesystem\n"
	h.run("create-md --force mysqlr0", "").want(t, where+"       65536 kB data area apparently used\n       65496 kB left usable by current configuration\n"+truncated, "", 40)
	h.resize(t, 64<<20)
	mkfs("60M")
	used := where + "       61440 kB data area apparently used\n       65496 kB left usable by current configuration\n" + guess
	h.run("create-md mysqlr0", "").want(t, used+"Operation canceled.\n", "\nDo you want to proceed?\nstdin not a TTY, not waiting for confirmation\n", 1)
	h.run("create-md mysqlr0", "yes\n").want(t, used+created, "\nDo you want to proceed?\n[need to type 'yes' to confirm] \ninitializing bitmap (4 KB) to all zero\n", 0)
	if out, err := exec.Command("e2fsck", "-fn", h.disk).CombinedOutput(); err != nil {
		t.Errorf("the filesystem was damaged: %v\n%s", err, out)
	}
	h.resize(t, 32<<10)
	if r := h.run("create-md mysqlr0", ""); r.code != 10 || !strings.HasPrefix(r.err, "ROOT/disk is only 32768 bytes. That's not enough.\n") {
		t.Errorf("a small disk: %+v", r)
	}
}

// TestMetadataLikeDrbdmeta has the real tool read what create-md wrote, and compares its dump with ours.
func TestMetadataLikeDrbdmeta(t *testing.T) {
	tool, err := exec.LookPath("drbdmeta")
	if err != nil {
		t.Skip("drbdmeta is not installed")
	}
	h := newHost(t)
	if r := h.run("create-md mysqlr0", ""); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	for _, verb := range []string{"dump-md", "show-gi", "get-gi"} {
		real, err := exec.Command(tool, "--force", drbdutils.Minor(), "v08", h.disk, "internal", verb).Output()
		if err != nil {
			t.Fatalf("drbdmeta %s: %v", verb, err)
		}
		ours := h.run(verb+" mysqlr0", "")
		if d := cmp.Diff(withoutHead(string(real)), withoutHead(ours.out)); d != "" || ours.code != 0 {
			t.Errorf("%s (- drbdmeta, + ours) code %d\n%s", verb, ours.code, d)
		}
	}
}

// TestDumpOfAnyBitmap compares the dumps of a random bitmap over several pages.
func TestDumpOfAnyBitmap(t *testing.T) {
	tool, err := exec.LookPath("drbdmeta")
	if err != nil {
		t.Skip("drbdmeta is not installed")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		h := newHost(t)
		size := int64(500+rng.IntN(1000)) << 20
		h.resize(t, size)
		l, err := metadata.NewLayout(metadata.Internal, size, 0, metadata.DefaultStripes())
		if err != nil {
			t.Fatal(err)
		}
		sb := metadata.NewSuperblock(l, rng.Uint64())
		sb.LastAgreedSize = uint64(l.Data / metadata.SectorSize)
		sb.Flags, sb.PeerMaxBIO = metadata.ALClean|metadata.Flags(rng.IntN(0x80)), rng.Uint32()>>1
		bits := metadata.NewBitmap(l.Data)
		for range rng.IntN(40) {
			bits.Set(rng.Uint64N(bits.Bits()), rng.Uint64N(2000))
		}
		p := make([]byte, metadata.BlockSize)
		for i := range bits.Pages() {
			bits.EncodePage(i, p)
			h.writeAt(t, l.Bitmap+int64(i)*metadata.BlockSize, string(p))
		}
		metadata.EncodeALInitial(p)
		for at := l.AL; at < l.AL+l.ALSize; at += metadata.BlockSize {
			h.writeAt(t, at, string(p))
		}
		sb.Encode(p)
		h.writeAt(t, l.Superblock, string(p))
		for _, verb := range []string{"dump-md", "show-gi"} {
			real, err := exec.Command(tool, "--force", drbdutils.Minor(), "v08", h.disk, "internal", verb).Output()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(withoutHead(string(real)), withoutHead(h.run(verb+" mysqlr0", "").out)); d != "" {
				t.Errorf("%s of %d bytes (- drbdmeta, + ours)\n%s", verb, size, d)
			}
		}
	}
}

// withoutHead drops the lines with date and command.
func withoutHead(text string) string {
	return regexp.MustCompile(`(?m)^# (\d{4}-|.*> drbdmeta).*\n`).ReplaceAllString(text, "")
}

// TestRecordedImages dumps the metadata the kernel wrote, in every state that was recorded.
func TestRecordedImages(t *testing.T) {
	const size, tail = 64 << 20, 132 << 10
	for _, name := range []string{"6-primary-mounted-nodeA", "11-oos-nodeB", "14-oos-after-down-nodeB", "16-primary-lost-peer-nodeA", "17-splitbrain-nodeB", "3-both-up-nodeA"} {
		h := newHost(t)
		h.resize(t, size)
		h.writeAt(t, size-tail, recorded(t, "meta/"+name+".tail132k.bin"))
		text := recorded(t, "meta/"+name+".dump-md.txt")
		_, want, _ := strings.Cut(text, "version \"v08\";")
		want, _, _ = strings.Cut(want, "# rc=0")
		_, got, _ := strings.Cut(h.run("dump-md mysqlr0", "").out, "version \"v08\";")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s dump-md (- recorded, + ours)\n%s", name, d)
		}
		_, want, _ = strings.Cut(text, "# rc=0\n")
		_, want, _ = strings.Cut(want, "512 Byte\n")
		if d := cmp.Diff(want, h.run("show-gi mysqlr0", "").out); d != "" {
			t.Errorf("%s show-gi (- recorded, + ours)\n%s", name, d)
		}
	}
}

func TestVerbs(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	d.volumes = []api.VolumeStatus{{Resource: "mysqlr0", Minor: 1, Disk: "UpToDate"}}
	for line, want := range map[string]api.VolumeDo{
		"up mysqlr0":                 {Verb: api.VolumeUp},
		"up all":                     {Verb: api.VolumeUp},
		"adjust all":                 {Verb: api.VolumeAdjust},
		"down mysqlr0":               {Verb: api.VolumeDown},
		"primary mysqlr0 --force":    {Verb: api.VolumePrimary, Force: true},
		"-- --force primary mysqlr0": {Verb: api.VolumePrimary, Force: true},
		"--overwrite-data-of-peer primary mysqlr0": {Verb: api.VolumePrimary, Force: true},
		"primary --force=no mysqlr0":               {Verb: api.VolumePrimary},
		"secondary mysqlr0":                        {Verb: api.VolumeSecondary},
		"connect --discard-my-data mysqlr0":        {Verb: api.VolumeConnect, DiscardMyData: true},
		"disconnect mysqlr0":                       {Verb: api.VolumeDisconnect},
		"invalidate mysqlr0":                       {Verb: api.VolumeInvalidate},
		"outdate mysqlr0":                          {Verb: api.VolumeOutdate},
		"disk-options --rate=10M mysqlr0":          {Verb: api.VolumeRate, RateKiB: 10240},
		"disk-options --c-max-rate=500 mysqlr0":    {Verb: api.VolumeRate, RateKiB: 500},
		"verify mysqlr0":                           {Verb: api.VolumeVerify},
		"attach mysqlr0":                           {Verb: api.VolumeAttach},
		"detach mysqlr0":                           {Verb: api.VolumeDetach},
	} {
		d.asked = nil
		h.run(line, "").want(t, "", "", 0)
		if d := cmp.Diff([]api.VolumeDoRequest{{Resource: "mysqlr0", Do: want}}, d.asked); d != "" {
			t.Errorf("%s: %s", line, d)
		}
	}
}

// TestRefusals compares with the recorded refusals of the real thing.
func TestRefusals(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	for line, c := range map[string]struct{ reply, want string }{
		"primary mysqlr0": {"1: State change failed: (-1) Multiple primaries not allowed by config",
			"1: State change failed: (-1) Multiple primaries not allowed by config\nCommand 'drbdsetup-84 primary 1' terminated with exit code 11\n"},
		"secondary mysqlr0": {"1: State change failed: (-12) Device is held open by someone",
			"1: State change failed: (-12) Device is held open by someone\nCommand 'drbdsetup-84 secondary 1' terminated with exit code 11\n"},
	} {
		d.reply = api.VolumeReply{Code: 11, Error: c.reply}
		h.run(line, "").want(t, "", c.want, 11)
		if !strings.Contains(recorded(t, "ref-proc-drbd.txt"), c.want+"rc=11\n") {
			t.Errorf("%s was recorded otherwise", line)
		}
		r := h.run(line+" --output-format json", "")
		var reply struct {
			Resource, Error string
			Code            int
		}
		if err := json.Unmarshal([]byte(r.out), &reply); err != nil || reply.Resource != "mysqlr0" || reply.Code != 11 || r.code != 11 {
			t.Errorf("%s as JSON: %v %+v", line, err, r)
		}
	}
	d.reply = api.VolumeReply{Code: 10, Error: "1: Failure: (119) No valid meta-data signature found."}
	h.run("up mysqlr0", "").want(t, "", "1: Failure: (119) No valid meta-data signature found.\n"+
		"Command 'drbdsetup-84 attach 1 ROOT/disk ROOT/disk internal' terminated with exit code 10\n", 10)
}

func TestStates(t *testing.T) {
	h := newHost(t)
	d := h.serve(t)
	for line, want := range map[string]string{"role mysqlr0": "Unconfigured\n", "cstate mysqlr0": "Unconfigured\n", "dstate mysqlr0": "Unconfigured\n",
		"status": "# No currently configured DRBD found.\n", "overview": "  1:mysqlr0/0 Unconfigured\n"} {
		h.run(line, "").want(t, want, "", 0)
	}
	h.run("status mysqlr0", "").want(t, "", "mysqlr0: No such resource\nCommand 'drbdsetup-84 status mysqlr0' terminated with exit code 10\n", 10)
	d.volumes = []api.VolumeStatus{{Resource: "mysqlr0", Minor: 1, Conn: "Connected", Role: "Primary", PeerRole: "Secondary", Disk: "UpToDate",
		PeerDisk: "UpToDate", Protocol: "C", CurrentUUID: "ab5bcae773e17b43", BitmapUUID: "0", History: [2]string{"1060B1FA946E597F", "105FB1FA946E597F"}}}
	for line, want := range map[string]string{
		"role mysqlr0":                      "Primary/Secondary\n",
		"cstate mysqlr0":                    "Connected\n",
		"dstate mysqlr0":                    "UpToDate/UpToDate\n",
		"role mysqlr0 --output-format json": "{\n  \"resource\": \"mysqlr0\",\n  \"role\": \"Primary/Secondary\"\n}\n",
		"get-gi mysqlr0":                    "AB5BCAE773E17B43:0000000000000000:1060B1FA946E597F:105FB1FA946E597F:1:1:1:1:0:0:0\n",
	} {
		h.run(line, "").want(t, want, "", 0)
	}
	if gi := h.run("show-gi mysqlr0", "").out; !strings.Contains(recorded(t, "ref-proc-drbd.txt"), gi) {
		t.Errorf("show-gi of a running volume was recorded otherwise than\n%s", gi)
	}
	h.run("create-md mysqlr0", "").want(t, "", strings.ReplaceAll("Device '1' is configured!\nCommand 'drbdmeta 1 v08 ROOT/disk internal create-md' terminated with exit code 20\n", "\t", ""), 20)
	for _, line := range []string{"wait-connect mysqlr0", "wait-sync all"} {
		h.run(line, "").want(t, "", "", 0)
	}
	d.volumes[0].Conn, d.volumes[0].PeerDisk = "WFConnection", "DUnknown"
	h.run("wait-connect --timeout 0.01 mysqlr0", "").want(t, "", "mysqlr0 is not connected after 10ms: WFConnection UpToDate/DUnknown\n", 5)
	d.volumes[0].Conn, d.volumes[0].Reason = "StandAlone", "Split-Brain detected"
	h.run("wait-sync mysqlr0", "").want(t, "", "mysqlr0 is not in sync: it is StandAlone (Split-Brain detected)\n", 5)
}

// TestHelp: every verb is listed and findable.
func TestHelp(t *testing.T) {
	h := newHost(t)
	help := h.run("--help", "")
	hidden := h.run("hidden-commands", "")
	for _, v := range verbs() {
		if list := map[bool]string{false: help.out, true: hidden.out}[v.hidden]; !strings.Contains(list, " "+v.name+" ") {
			t.Errorf("%s is not in the help", v.name)
		}
	}
	if help.code != 0 || h.run("", "").code != 1 {
		t.Error("exit codes of help")
	}
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(verbs()) {
		t.Error("a verb is listed twice")
	}
}
