package daemon

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/api"
	"holdfast/internal/blockdev"
	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/guard/deadline"
	"holdfast/internal/paths"
)

// house is node a with a real guard, whose lease a keeper keeps against the log of a cluster that a leads.
type house struct {
	t     *testing.T
	root  paths.Root
	log   *machineLog
	guard *guardLink

	mu      sync.Mutex
	begun   []uint64
	lost    []bool // of each session ended
	cleaned int
	dirty   error // what cleaning fails with
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, root: testRoot(t), log: emptyMachineLog(t)}
	h.log.set(func(l *machineLog) { l.status.LeaderReady = clock.System{}.Boottime() })
	h.guard = &guardLink{root: h.root, spawn: starter(h.root), log: quiet()}
	return h
}

// live runs a daemon's pulse and keeper until the function returned is called: the daemon's end.
func (h *house) live() (k *keeper, end func()) {
	h.t.Helper()
	p := newPulse("a", h.log, clock.System{}, quiet())
	p.event, p.send = func(string, map[string]any) {}, func(string, beat) {}
	k = &keeper{
		node: "a", incarnation: 1, root: h.root, log: quiet(), clock: clock.System{}, raft: h.log, pulse: p, guard: h.guard,
		begun: h.hasBegun, ended: h.hasEnded, clean: h.clean,
		deadlines: make(chan grantedDeadline, 1), leaving: make(chan struct{}),
	}
	p.granted = k.offer
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.run(ctx) })
	wg.Go(func() { k.run(ctx) })
	end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	h.t.Cleanup(end)
	return k, end
}

func (h *house) hasBegun(session uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = append(h.begun, session)
}

func (h *house) hasEnded(lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = append(h.lost, lost)
}

func (h *house) clean(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleaned++
	return h.dirty
}

// sessions waits for so many sessions to have begun, and returns the last.
func (h *house) sessions(n int) uint64 {
	h.t.Helper()
	var last uint64
	agenttest.Until(h.t, "a session to begin", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.begun) < n {
			return false
		}
		last = h.begun[n-1]
		return true
	})
	return last
}

func (h *house) endings(n int) []bool {
	h.t.Helper()
	agenttest.Until(h.t, "a session to end", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.lost) >= n
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *house) cleanings() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cleaned
}

func (h *house) guardStatus() api.GuardReply {
	h.t.Helper()
	st, err := h.guard.status()
	agenttest.Must(h.t, err)
	return st
}

func (h *house) lease() state.Lease { return h.log.View().Leases["a"] }

// mute keeps the leader from proving that it leads: nothing is granted.
func (h *house) mute(on bool) {
	h.log.set(func(l *machineLog) {
		l.readGate = nil
		if on {
			l.readGate = func(context.Context) error { return raftlog.ErrNoLeader }
		}
	})
}

func TestKeeperBeginsASession(t *testing.T) {
	h := newHouse(t)
	k, end := h.live()
	if s := h.sessions(1); s != 1 {
		t.Fatalf("the first session is %d", s)
	}
	if l := h.lease(); l.State != state.LeaseActive || l.Session != 1 {
		t.Errorf("the log has %+v", l)
	}
	st := h.guardStatus()
	if st.State != string(deadline.Armed) || st.Session != 1 || clock.Boottime(st.Deadline) <= (clock.System{}).Boottime() {
		t.Errorf("the guard is %+v", st)
	}
	if k.noted() != 1 {
		t.Errorf("session %d noted", k.noted())
	}
	agenttest.Until(t, "the deadline to move on", func() bool { return h.guardStatus().Deadline > st.Deadline })
	end()
	if n := h.cleanings(); n != 0 {
		t.Errorf("cleaned %d times although nothing had run", n)
	}
}

func TestNextDaemonCarriesOnWithTheSession(t *testing.T) {
	h := newHouse(t)
	_, end := h.live()
	h.sessions(1)
	end()
	before := h.guardStatus()
	if before.State != string(deadline.Armed) {
		t.Fatalf("after the daemon's end the guard is %s", before.State)
	}
	_, end = h.live()
	defer end()
	if s := h.sessions(2); s != 1 {
		t.Fatalf("the next daemon is in session %d", s)
	}
	agenttest.Until(t, "the guard to be given a later deadline", func() bool { return h.guardStatus().Deadline > before.Deadline })
	if len(h.endingsSoFar()) != 0 || h.cleanings() != 0 {
		t.Error("the session was ended in between")
	}
}

func (h *house) endingsSoFar() []bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// Not granted any more, the guard ends the session alone: what runs in the resources' cgroups dies. Then the node cleans
// up and begins the next session, once it may.
func TestLostSessionIsEnforcedAndCleanedUp(t *testing.T) {
	h := newHouse(t)
	h.live()
	h.sessions(1)
	sleeper := h.runResource()
	h.mu.Lock()
	h.dirty = errors.New("something is left")
	h.mu.Unlock()
	h.mute(true)
	if lost := h.endings(1); !lost[0] {
		t.Error("a lost session counts as given up")
	}
	if err := sleeper.Wait(); err == nil {
		t.Error("the resource ended by itself")
	}
	agenttest.Until(t, "the guard to have enforced", func() bool { return h.guardStatus().State == string(deadline.Enforced) })
	h.mute(false)
	agenttest.Until(t, "two attempts to clean up", func() bool { return h.cleanings() >= 2 })
	if s := h.lease().Session; s != 1 {
		t.Fatalf("session %d begun while something of the last is left", s)
	}
	h.mu.Lock()
	h.dirty = nil
	h.mu.Unlock()
	if s := h.sessions(2); s != 2 {
		t.Errorf("the session after the lost one is %d", s)
	}
	if st := h.guardStatus(); st.State != string(deadline.Armed) || st.Session != 2 {
		t.Errorf("the guard is %+v", st)
	}
}

// runResource starts a process in the cgroup of a resource.
func (h *house) runResource() *exec.Cmd {
	h.t.Helper()
	dir := filepath.Join(h.root.Cgroup(), "resource", "db")
	agenttest.Must(h.t, os.MkdirAll(dir, 0o755))
	fd, err := os.Open(dir)
	agenttest.Must(h.t, err)
	defer fd.Close()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	agenttest.Must(h.t, cmd.Start())
	return cmd
}

func TestSessionThatTheLogExpires(t *testing.T) {
	h := newHouse(t)
	h.live()
	h.sessions(1)
	h.log.must(t, &state.LeaseExpire{Node: "a", Session: 1, Term: 1})
	if lost := h.endings(1); !lost[0] {
		t.Error("an expired session counts as given up")
	}
	if s := h.sessions(2); s != 2 || h.cleanings() == 0 {
		t.Errorf("session %d after %d cleanings", s, h.cleanings())
	}
}

// After a boot the run directory is empty: whatever ran in the session the log still has died with the last boot.
func TestSessionOfTheLastBootIsEnded(t *testing.T) {
	h := newHouse(t)
	h.log.must(t, &state.LeaseStart{Node: "a", Incarnation: 1, Session: 1})
	h.live()
	if s := h.sessions(1); s != 2 {
		t.Errorf("the first session of this boot is %d", s)
	}
	if h.log.count("lease.end") != 1 || h.cleanings() != 0 {
		t.Errorf("%d ends in the log, %d cleanings", h.log.count("lease.end"), h.cleanings())
	}
}

func TestSessionGivenUp(t *testing.T) {
	h := newHouse(t)
	k, _ := h.live()
	h.sessions(1)
	k.leave()
	k.leave() // a stop that is repeated
	h.log.must(t, &state.LeaseEnd{Node: "a", Session: 1})
	if lost := h.endings(1); lost[0] {
		t.Error("a session given up counts as lost")
	}
	agenttest.Must(t, h.guard.disarm())
	if l := h.lease(); l.State != state.LeaseEnded || l.Session != 1 {
		t.Errorf("the log has %+v", l)
	}
}

func TestNoSessionWithoutAGuard(t *testing.T) {
	h := newHouse(t)
	h.guard.spawn = &spawner{root: h.root, binary: "/bin/false", log: quiet()}
	k, end := h.live()
	end()
	if _, err := k.obtain(t.Context()); err == nil || !strings.Contains(err.Error(), "guard.log") {
		t.Errorf("got %v", err)
	}
	if s := h.lease().Session; s != 0 {
		t.Errorf("session %d begun", s)
	}
}

// A guard that dies is replaced, and the lease page tells the next one what it is to enforce.
func TestGuardIsReplacedWithinASession(t *testing.T) {
	h := newHouse(t)
	h.live()
	h.sessions(1)
	pid := guardProcess(t, h.root)
	agenttest.Must(t, unix.Kill(pid, unix.SIGKILL))
	agenttest.Until(t, "another guard, armed", func() bool {
		st, err := h.guard.status()
		return err == nil && st.State == string(deadline.Armed) && guardProcess(t, h.root) != pid
	})
	if st := h.guardStatus(); st.Session != 1 {
		t.Errorf("the guard is %+v", st)
	}
	if n := len(h.endingsSoFar()); n != 0 {
		t.Error("the session was lost with the guard")
	}
}

// guardProcess is the process at the other end of the guard's socket.
func guardProcess(t *testing.T, root paths.Root) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	agenttest.Must(t, err)
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: root.GuardSocket()}); err != nil {
		return 0
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	agenttest.Must(t, err)
	return int(cred.Pid)
}

func TestOnlyTheNewestDeadlineWaits(t *testing.T) {
	k := &keeper{deadlines: make(chan grantedDeadline, 1)}
	for i := range 5 {
		k.offer(1, clock.Boottime(i))
	}
	if got := <-k.deadlines; got.deadline != 4 {
		t.Errorf("deadline %d waits", got.deadline)
	}
	select {
	case d := <-k.deadlines:
		t.Errorf("an older one waits too: %+v", d)
	default:
	}
}

func TestNotedSession(t *testing.T) {
	k := &keeper{root: agenttest.NewRoot(t)}
	for text, want := range map[string]uint64{"7": 7, "12\n": 12, "x": 0, "": 0, "-1": 0} {
		agenttest.Must(t, os.WriteFile(sessionFile(k.root), []byte(text), 0o644))
		if got := k.noted(); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	agenttest.Must(t, os.Remove(sessionFile(k.root)))
	if got := k.noted(); got != 0 {
		t.Errorf("no file: %d", got)
	}
}

func TestDeadDeviceIsUnmountedEverywhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	device := loopWithFilesystem(t)
	dir := t.TempDir()
	for _, name := range []string{"plain", "with space", `back\slash`} {
		at := filepath.Join(dir, name)
		agenttest.Must(t, os.Mkdir(at, 0o755))
		agenttest.Must(t, unix.Mount(device, at, "ext4", 0, ""))
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) }) // fails once the test has done its work
	}
	held, err := os.Open(filepath.Join(dir, "plain")) // somebody is in it
	agenttest.Must(t, err)
	defer held.Close()
	agenttest.Must(t, unmountDevice(blockdev.Name(device)))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	agenttest.Must(t, err)
	if strings.Contains(string(mounts), dir) {
		t.Error("still mounted")
	}
	agenttest.Must(t, unmountDevice(blockdev.Name(device)))
	agenttest.Must(t, unmountDevice(""))
}

// loopWithFilesystem is a loop device with an ext4 on it, gone with the test.
func loopWithFilesystem(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	agenttest.Must(t, os.WriteFile(file, nil, 0o644))
	agenttest.Must(t, os.Truncate(file, 8<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", file).CombinedOutput(); err != nil {
		t.Skipf("no ext4 here: %v: %s", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device here: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

// The guard has seen sessions that another branch of the log gave this node: the next one is beyond them.
func TestSessionsOfAnotherBranchAreSkipped(t *testing.T) {
	h := newHouse(t)
	agenttest.Must(t, h.guard.clear(40))
	agenttest.Must(t, h.guard.lease(40, clock.System{}.Boottime().Add(cluster.Heartbeat)))
	h.live()
	if s := h.sessions(1); s != 41 {
		t.Errorf("the first session is %d", s)
	}
	if l := h.lease(); l.Session != 41 || l.State != state.LeaseActive {
		t.Errorf("the log has %+v", l)
	}
}
