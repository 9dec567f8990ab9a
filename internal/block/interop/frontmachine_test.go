package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel/frontend"
)

// frontFlavour has a kernel with ublk, NBD and FUSE.
const frontFlavour = "bpo"

// frontDisk is the size of the machine's disk, in bytes.
const frontDisk = 96 << 20

// frontMeta is the size of the machine's disk for external metadata, /dev/vdd, in bytes: room for an indexed one.
const frontMeta = 130 << 20

// frontKind is the machine for the front ends: the real holdfast runs inside, on /dev/vdb. tools is an image with fio.
func frontKind(tools, meta string) kind {
	return kind{name: "front", flavour: frontFlavour, address: "10.77.0.2/24", mac: "52:54:00:77:00:02", tap: "tapB",
		env: []string{"DISK_MB=96", "MODS=loop,ext4", "MEM=768", "SMP=2"},
		extra: []string{"-drive", "file=" + tools + ",format=raw,if=none,id=t,readonly=on", "-device", "virtio-blk-pci,drive=t,addr=0x7",
			"-drive", "file=" + meta + ",format=raw,if=none,id=m", "-device", "virtio-blk-pci,drive=m,addr=0x8"}}
}

// frontMachine is started by the first test that needs it.
var frontMachine *machine //nolint:gochecknoglobals // one machine a run

// guest is the machine with holdfast running inside.
type guest struct {
	*machine
	t     testing.TB
	front string
}

// needFront gives the machine with volume r0 Primary on a front end, or skips the test.
func needFront(t testing.TB, front string) *guest {
	t.Helper()
	if why := missing(); why != "" {
		t.Skip(why)
	}
	if !built(frontFlavour) {
		t.Skip("the virtual machine with ublk and NBD is not built: scripts/setup-interop does it")
	}
	if frontMachine == nil {
		frontMachine = &machine{kind: frontKind(makeTools(t), makeMeta(t)), state: stateDir()}
	}
	if frontMachine.conn == nil {
		frontMachine.boot(t)
		frontMachine.run(t, guestSetup)
		(&guest{machine: frontMachine, t: t}).fresh(aloneText)
	}
	g := &guest{machine: frontMachine, t: t, front: front}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := g.try(t, "tail -n 30 /var/log/holdfast/volume-r0.log /var/log/holdfast/guard.log /tmp/daemon.log; dmesg | tail -n 30; ps; timeout 10 hf status r0")
			t.Log(out)
		}
	})
	g.use(front)
	return g
}

// guestSetup starts the daemon, makes a volume without a peer, and leaves functions for the tests' scripts in /lib.sh.
const guestSetup = `set -e
mount -t cgroup2 none /sys/fs/cgroup
modprobe loop max_loop=8; modprobe ext4
mkdir -p /etc/drbd.d /etc/holdfast /tools /data
mount -t ext4 -o ro,noload /dev/vdc /tools
echo 'include "drbd.d/*.res";' > /etc/drbd.conf
cat > /lib.sh <<'EOF'
hf() { holdfast drbd "$@"; }
process() { for p in /proc/[0-9]*; do case "$(tr '\0' ' ' < $p/cmdline)" in *"holdfast $1"*) echo ${p#/proc/}; return;; esac; done 2>/dev/null; }
fio() { /tools/ld.so --library-path /tools/lib /tools/fio "$@"; }
await() { for i in $(seq 600); do eval "$1" && return; sleep 0.1; done; echo "waited in vain for: $1"; return 1; }
device() { readlink /dev/drbd1; }
queue() { cat /sys/block/$(basename $(device))/queue/$1; }
EOF
(setsid holdfast daemon > /tmp/daemon.log 2>&1 &)
. /lib.sh
await '[ -S /run/holdfast/holdfast.sock ]'
`

// aloneText is a volume whose peer does not exist.
const aloneText = `resource r0 {
  protocol C;
  on front { device /dev/drbd1; disk /dev/vdb; address 10.77.0.2:7788; meta-disk internal; }
  on absent { device /dev/drbd1; disk /dev/vdb; address 10.77.0.77:7788; meta-disk internal; }
}`

// fresh makes the volume anew from a configuration, and Primary.
func (g *guest) fresh(text string) {
	g.t.Helper()
	g.sh("[ ! -f /etc/drbd.d/r0.res ] || timeout 60 holdfast drbd down r0 || true\ncat > /etc/drbd.d/r0.res <<'EOF'\n" + text + `
EOF
hf create-md --force r0
timeout 60 holdfast drbd up r0
timeout 60 holdfast drbd primary --force r0`)
}

// sh runs a script that must succeed, in a shell of its own that knows the functions.
func (g *guest) sh(script string) string {
	g.t.Helper()
	return g.run(g.t, ". /lib.sh\nset -e\n"+script)
}

// use makes the device anew with a front end.
func (g *guest) use(front string) {
	g.t.Helper()
	g.choose(front)
	g.sh(`front clear
umount /data 2>/dev/null || true
timeout 60 holdfast drbd down r0
timeout 60 holdfast drbd up r0
timeout 60 holdfast drbd primary r0`)
	if st := g.status(); st.Front != front && front != frontend.Auto {
		g.t.Fatalf("the front end is %q on %s, want %s", st.Front, st.Kernel, front)
	}
}

// choose writes the configuration.
func (g *guest) choose(front string) {
	g.t.Helper()
	g.sh(fmt.Sprintf(`echo '{"frontend": "%s"}' > /etc/holdfast/volume.json`, front))
}

func (g *guest) status() api.VolumeStatus {
	g.t.Helper()
	var reply api.VolumesReply
	text := g.sh("timeout 30 holdfast drbd status --output-format json r0")
	if err := json.Unmarshal([]byte(text), &reply); err != nil || len(reply.Volumes) != 1 {
		g.t.Fatalf("status: %v: %s", err, text)
	}
	return reply.Volumes[0]
}

// makeTools makes an image with fio and its libraries; without fio on this host it has neither.
func makeTools(t testing.TB) string {
	t.Helper()
	dir, image := t.TempDir(), filepath.Join(stateDir(), "tools.img")
	must(t, os.MkdirAll(filepath.Join(dir, "lib"), 0o755))
	script := `set -e
if fio=$(command -v fio); then
  cp -L "$fio" "$1/fio"
  ldd "$fio" | awk '{for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i}' | sort -u | while read -r l; do
    case $l in */ld-linux*) cp -L "$l" "$1/ld.so";; *) cp -L "$l" "$1/lib/";; esac
  done
fi
rm -f "$2"
mke2fs -q -t ext4 -O ^has_journal -d "$1" "$2" 160M`
	if out, err := exec.Command("bash", "-c", script, "tools", dir, image).CombinedOutput(); err != nil {
		t.Fatalf("make the image with fio: %v: %s", err, out)
	}
	return image
}

// frontMetaFile is the machine's disk for external metadata, on this host.
func frontMetaFile() string { return filepath.Join(stateDir(), "meta.img") }

// makeMeta makes it, blank.
func makeMeta(t testing.TB) string {
	t.Helper()
	f, err := os.Create(frontMetaFile())
	must(t, err)
	must(t, f.Truncate(frontMeta))
	must(t, f.Close())
	return frontMetaFile()
}

// needFio skips a test where the host had no fio to give.
func (g *guest) needFio() {
	g.t.Helper()
	if !strings.Contains(g.sh("ls /tools"), "fio") {
		g.t.Skip("fio is not installed on this host: scripts/setup-interop does it")
	}
}
