package interop

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel/frontend"
)

// everyFront runs a test with each front end. FUSE + loop, which other packages test without a machine, is for the long version.
func everyFront(t *testing.T, f func(t *testing.T, g *guest)) {
	t.Helper()
	fronts := []string{api.FrontUBLK, api.FrontNBD}
	if long() {
		fronts = append(fronts, api.FrontFUSE)
	}
	for _, front := range fronts {
		t.Run(front, func(t *testing.T) { f(t, needFront(t, front)) })
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatalf("no number: %q", text)
	}
	return n
}

// The kernel is told of a write-back cache, and what it then asks for reaches the disk: each fsync and each O_DSYNC write makes
// the volume flush its backing disk (field 16 of the disk's stat).
func TestFrontFlushAndFUA(t *testing.T) {
	everyFront(t, func(t *testing.T, g *guest) {
		if got := strings.TrimSpace(g.sh("queue write_cache")); got != "write back" {
			t.Errorf("write cache: %s", got)
		}
		if fua := number(t, g.sh("queue fua")); (fua == 1) != (g.status().Front != api.FrontFUSE) {
			t.Errorf("fua: %d", fua)
		}
		flushes := func() int { return number(t, g.sh("awk '{print $16}' /sys/block/vdb/stat")) }
		for _, how := range []string{"fsync", "dsync"} {
			before := flushes()
			g.sh("front sync $(device) " + how + " 10")
			if got := flushes() - before; got < 10 {
				t.Errorf("%d flushes of the disk for 10 times %s", got, how)
			}
		}
	})
}

func TestFrontDiscardAndZeroes(t *testing.T) {
	everyFront(t, func(t *testing.T, g *guest) {
		g.sh("front zeroes $(device) 4194304 1048576")
		g.sh("front zeroes $(device) 8192 4096")
	})
}

func TestFrontVerifiesWithFio(t *testing.T) {
	everyFront(t, func(t *testing.T, g *guest) {
		g.needFio()
		g.sh(`fio --name=v --filename=$(device) --rw=randwrite --bsrange=4k-1m --size=48m --direct=1 --ioengine=libaio --iodepth=32 \
  --fsync=16 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --serialize_overlap=1 --output=/tmp/fio.log || { cat /tmp/fio.log; exit 1; }`)
		g.sh("front flood $(device) 160") // more at a time than the device has tags
	})
}

func killRounds() int {
	if long() {
		return 20
	}
	return 2
}

// forLong skips what takes minutes on an emulated processor.
func forLong(t *testing.T) {
	t.Helper()
	if !long() {
		t.Skip("takes minutes: make interop INTEROP=full plays it")
	}
}

// killVolume kills the volume's process after a second, and waits for the next to be Primary.
func (g *guest) killVolume() {
	g.t.Helper()
	pid := g.status().PID
	g.sh(fmt.Sprintf("sleep 1; kill -9 %d; await '[ -n \"$(process \"volume r0\")\" ] && [ \"$(process \"volume r0\")\" != %d ]'", pid, pid))
	g.await(g.t, "timeout 30 holdfast drbd role r0", "Primary/")
	g.await(g.t, "timeout 30 holdfast drbd status --output-format json r0", `"front":`) // a device nobody used is made anew
}

// endVerify stops the program that reads back what it has written, which must have seen no error.
func (g *guest) endVerify() string {
	g.t.Helper()
	out := g.sh(`await 'kill -0 $(cat /tmp/verify.pid)'; sleep 1; touch /tmp/stop; await '! kill -0 $(cat /tmp/verify.pid) 2>/dev/null'; cat /tmp/verify.log`)
	if !regexp.MustCompile(`^writes [1-9]\d* reads [1-9]\d* flushes [1-9]\d* longest \d+ ms\s*$`).MatchString(out) {
		g.t.Errorf("the program above saw an error: %s", out)
	}
	return out
}

// The volume's process is killed again and again under a file system and a program that reads back what it has written.
func TestFrontProcessIsKilled(t *testing.T) {
	everyFront(t, func(t *testing.T, g *guest) {
		rounds := killRounds()
		g.sh("mkfs.ext4 -q $(device); mount -t ext4 $(device) /data; dd if=/dev/zero of=/data/file bs=1M count=40 2>/dev/null")
		g.sh("rm -f /tmp/stop; front verify /data/file /tmp/stop 7 > /tmp/verify.log 2>&1 & echo $! > /tmp/verify.pid")
		device := g.status().Kernel
		for range rounds {
			g.killVolume()
		}
		out := g.endVerify()
		t.Logf("%d kills: %s", rounds, strings.TrimSpace(out))
		if st := g.status(); st.Kernel != device {
			t.Errorf("the device became %s, was %s", st.Kernel, device)
		}
		if out, code := g.try(t, "timeout 60 holdfast drbd secondary r0; timeout 60 holdfast drbd down r0"); code == 0 || !strings.Contains(out, "mounted on /data") {
			t.Errorf("down of a mounted device: %d: %s", code, out)
		}
		g.sh("umount /data; e2fsck -f -n $(device)")
	})
}

// The same with a peer: what a dead process had sent, or not, and what its successor is given again, leaves both replicas alike.
func TestFrontReplicates(t *testing.T) {
	forLong(t)
	everyFront(t, func(t *testing.T, g *guest) {
		dir := shortDir(t)
		text := fmt.Sprintf(`resource r0 {
  protocol C;
  disk { resync-rate 100M; c-plan-ahead 0; }
  on front { device /dev/drbd1; disk /dev/vdb; address 10.77.0.2:7788; meta-disk internal; }
  on nodeB { device /dev/drbd1; disk %s; address 10.77.0.254:7788; meta-disk internal; }
}`, filepath.Join(dir, "disk"))
		t.Cleanup(func() { g.fresh(aloneText) })
		n := newNode(t, dir, text, frontDisk)
		n.up()
		g.fresh(text)
		n.state("Connected", "UpToDate", "UpToDate")
		g.sh("rm -f /tmp/stop; front verify $(device) /tmp/stop 9 > /tmp/verify.log 2>&1 & echo $! > /tmp/verify.pid")
		for range killRounds() {
			g.killVolume()
			n.state("Connected", "UpToDate", "UpToDate")
		}
		t.Log(strings.TrimSpace(g.endVerify()))
		n.state("Connected", "UpToDate", "UpToDate")
		g.sh("timeout 60 holdfast drbd secondary r0")
		n.identical(g.machine)
	})
}

// The process is killed while it has as many requests as the kernel gives it, and answers none: the next one gets them all.
func TestFrontProcessIsKilledWithItsHandsFull(t *testing.T) {
	forLong(t)
	everyFront(t, func(t *testing.T, g *guest) {
		before := g.status().PID
		g.sh(fmt.Sprintf(`timeout 60 holdfast drbd suspend-io r0
front flood $(device) 200 > /tmp/flood.log 2>&1 & F=$!
await '[ $(awk "{print \$1 + \$2}" /sys/block/$(basename $(device))/inflight) -ge 100 ]'
kill -9 %d
await '[ -n "$(process "volume r0")" ] && [ "$(process "volume r0")" != %d ]'
await 'timeout 30 holdfast drbd role r0 | grep -q Primary/'
timeout 60 holdfast drbd resume-io r0 || true
await "! kill -0 $F 2>/dev/null"
wait $F || { cat /tmp/flood.log; exit 1; }`, before, before))
	})
}

// The lease ends while the volume's process lives, stands still, or is dead with nobody to replace it: the guard alone fails the
// device, so that its users do not wait, and nobody serves it until a newer session.
func TestFrontGuardEndsTheDevice(t *testing.T) {
	modes := map[string][2]string{
		"alive":   {"", ""},
		"stopped": {"kill -STOP $P", "kill -CONT $P 2>/dev/null || true"},
		"killed":  {"kill -STOP $D; kill -9 $P", "kill -CONT $D"},
	}
	everyFront(t, func(t *testing.T, g *guest) {
		for name, m := range modes {
			t.Run(name, func(t *testing.T) {
				g := needFront(t, g.front)
				out := g.sh(`P=$(process "volume r0"); D=$(process daemon)
front wait $(device) > /tmp/wait.log 2>&1 & W=$!
await 'grep -q open /tmp/wait.log'
` + m[0] + `
timeout 90 front lease 300 || { cat /tmp/wait.log; exit 1; }
await "! kill -0 $W 2>/dev/null" || { cat /proc/$W/stack; exit 1; }
` + m[1] + `
cat /tmp/wait.log`)
				if !strings.Contains(out, "failed as it must") || !strings.Contains(out, "enforced") {
					t.Errorf("the device's user: %s", out)
				}
				t.Log(strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
				if out, code := g.try(t, "timeout 60 holdfast drbd down r0 >/dev/null 2>&1; timeout 60 holdfast drbd up r0 2>&1"); code == 0 || !strings.Contains(out, "lease has ended") {
					t.Errorf("up after the lease's end: %d: %s", code, out)
				}
			})
		}
	})
}

// With auto the kernel is asked: ublk if there is a driver, NBD if there is not, FUSE if there is neither. A device in
// use keeps its front end whatever the configuration says meanwhile.
func TestFrontIsChosen(t *testing.T) {
	g := needFront(t, api.FrontFUSE)
	hide := func(module string) string {
		return fmt.Sprintf("for m in $(find /lib/modules -name %s.ko); do mv $m $m.hidden; done; rmmod %s; true\n", module, module)
	}
	t.Cleanup(func() {
		g.t = t
		g.sh("for m in $(find /lib/modules -name '*.ko.hidden'); do mv $m ${m%.hidden}; done")
	})
	for _, c := range []struct{ hide, want string }{{"", api.FrontUBLK}, {"ublk_drv", api.FrontNBD}, {"nbd", api.FrontFUSE}} {
		g.sh("timeout 60 holdfast drbd down r0")
		if c.hide != "" {
			g.sh(hide(c.hide))
		}
		g.use(frontend.Auto)
		if st := g.status(); st.Front != c.want {
			t.Errorf("with %q hidden too: %s on %s, want %s", c.hide, st.Front, st.Kernel, c.want)
		}
	}
	g.choose(api.FrontUBLK)
	before := g.status()
	g.killVolume()
	if st := g.status(); st.Kernel != before.Kernel || st.Front != api.FrontFUSE {
		t.Errorf("a new process has %s on %s; before: %s on %s", st.Front, st.Kernel, before.Front, before.Kernel)
	}
	if out, code := g.try(t, "timeout 60 holdfast drbd secondary r0; timeout 60 holdfast drbd down r0; timeout 60 holdfast drbd up r0"); code == 0 || !strings.Contains(out, "configured front end ublk cannot be had") {
		t.Errorf("a front end that is not there: %d: %s", code, out)
	}
}
