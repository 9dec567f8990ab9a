package interop

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	diskSize = 24 << 20
	// patience bounds every wait for a state: the machine is emulated and this host may be busy.
	patience = 4 * time.Minute
	// pollEvery is the pause between two looks at a state of the machine.
	pollEvery = 100 * time.Millisecond
)

// kind is what a machine is made of.
type kind struct {
	name    string // in the kit
	flavour string // of the kit's images
	address string
	mac     string
	tap     string
	env     []string // more settings of the kit
	extra   []string // arguments of QEMU
}

// drbdKind is the machine with the kernel's DRBD.
func drbdKind() kind {
	return kind{name: "nodeA", flavour: "bookworm", address: "10.77.0.1/24", mac: "52:54:00:77:00:01", tap: "tapA",
		env: []string{fmt.Sprintf("DISK_MB=%d", diskSize>>20)}}
}

// machine is a virtual machine, shared by all tests of a run.
type machine struct {
	kind
	state string
	mu    sync.Mutex
	conn  net.Conn // nil while it does not run
	in    *bufio.Reader
	calls int
}

// theMachine is started by the first test that needs it.
var theMachine *machine //nolint:gochecknoglobals // one machine a run

func stateDir() string { return os.Getenv(insideEnv) }

func (v *machine) file(name string) string {
	return filepath.Join(v.state, "run", v.name, name)
}

// need gives the running machine with nothing configured, or skips the test.
func need(t *testing.T) *machine {
	t.Helper()
	if why := missing(); why != "" {
		t.Skip(why)
	}
	if theMachine == nil {
		theMachine = &machine{kind: drbdKind(), state: stateDir()}
	}
	if theMachine.conn == nil {
		theMachine.boot(t)
		return theMachine
	}
	theMachine.run(t, "drbdadm down r0 >/dev/null 2>&1; drbdsetup down r0 >/dev/null 2>&1; true")
	return theMachine
}

func stopMachines() {
	for _, v := range []*machine{theMachine, frontMachine} {
		if v != nil && v.conn != nil {
			v.conn.Close()
			v.kit("vm.sh", "stop", v.name).Run()
		}
	}
}

// kit is one of the kit's scripts with this machine's settings.
func (v *machine) kit(script string, args ...string) *exec.Cmd {
	c := kitCommand(v.state, script, args...)
	c.Env = append(append(c.Env, "FL="+v.flavour), v.env...)
	return c
}

// boot starts the machine and its control channel.
func (v *machine) boot(t testing.TB) {
	t.Helper()
	begun := time.Now()
	extra := v.extra
	if v.flavour == drbdKind().flavour {
		extra = append(v.secondDrive(t), extra...)
	}
	c := v.kit("vm.sh", append([]string{"start", v.name, v.address, v.mac, v.tap}, extra...)...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("start the machine: %v: %s", err, out)
	}
	if out, err := v.kit("vm.sh", "wait", v.name).CombinedOutput(); err != nil {
		log, _ := os.ReadFile(v.file("console.log"))
		t.Fatalf("the machine does not boot: %v: %s\n%s", err, out, log)
	}
	conn, err := net.Dial("unix", v.file("ctl.sock"))
	if err != nil {
		t.Fatal(err)
	}
	v.conn, v.in = conn, bufio.NewReaderSize(conn, 1<<20)
	t.Logf("booted in %v: %s", time.Since(begun).Round(time.Second), v.run(t, "uname -r; cat /proc/drbd 2>/dev/null; true"))
}

// crash is a power cut of the machine; the disk keeps what it was given. It boots again.
func (v *machine) crash(t testing.TB) {
	t.Helper()
	v.conn.Close()
	v.conn = nil
	text, err := os.ReadFile(v.file("pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil || zombie(pid) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the machine does not die")
		}
	}
}

// zombie tells whether a process has ended, with all its threads: while one is on its way, what they had open is still open,
// such as the machine's end of the network.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || !strings.Contains(string(text), ") Z ") {
		return false
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return err != nil || len(threads) <= 1
}

// try runs a script in the machine and gives its output and exit status.
func (v *machine) try(t testing.TB, script string) (string, int) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	id := fmt.Sprintf("call%d", v.calls)
	v.conn.SetDeadline(time.Now().Add(3 * patience))
	if _, err := fmt.Fprintf(v.conn, "%s %s\n", id, base64.StdEncoding.EncodeToString([]byte(script+"\n"))); err != nil {
		t.Fatalf("machine: %s: %v", script, err)
	}
	var body strings.Builder
	for begun := false; ; {
		line, err := v.in.ReadString('\n')
		if err != nil {
			t.Fatalf("machine: %s: %v", script, err)
		}
		line = strings.TrimSpace(line)
		switch code, ended := strings.CutPrefix(line, "END "+id+" "); {
		case ended:
			out, err := base64.StdEncoding.DecodeString(body.String())
			if err != nil {
				t.Fatalf("machine: %s: %v", script, err)
			}
			n, err := strconv.Atoi(code)
			if err != nil {
				t.Fatalf("machine: %s: status %q", script, code)
			}
			return string(out), n
		case line == "BEGIN "+id:
			begun = true
		case begun:
			body.WriteString(line)
		}
	}
}

// run is try for a script that must succeed.
func (v *machine) run(t testing.TB, script string) string {
	t.Helper()
	out, code := v.try(t, script)
	if code != 0 {
		t.Fatalf("machine: %s: exit status %d: %s", script, code, out)
	}
	return out
}

// await polls until a script's output holds every word.
func (v *machine) await(t testing.TB, script string, words ...string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		out, _ := v.try(t, script)
		found := true
		for _, w := range words {
			found = found && strings.Contains(out, w)
		}
		if found {
			return out
		}
		if time.Now().After(deadline) {
			log, _ := v.try(t, "dmesg | grep -i drbd | tail -n 40")
			t.Fatalf("machine: waited for %q, have:\n%s\n%s", words, out, log)
		}
	}
}

// states waits for words of the machine's /proc/drbd.
func (v *machine) states(t testing.TB, words ...string) string {
	t.Helper()
	return v.await(t, "cat /proc/drbd", words...)
}

// configure gives the machine a configuration and fresh metadata on a blank disk.
func (v *machine) configure(t *testing.T, text string) {
	t.Helper()
	v.rewrite(t, text)
	v.run(t, "yes yes | drbdadm create-md --force r0 2>&1")
}

func (v *machine) rewrite(t *testing.T, text string) {
	t.Helper()
	v.run(t, "cat > /etc/drbd.conf <<'EOF'\nglobal { usage-count no; }\n"+text+"\nEOF\n")
}

// disk is the machine's backing disk as this host sees it.
func (v *machine) disk() string { return v.file("vdb.img") }
