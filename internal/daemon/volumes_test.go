package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// supervise is a supervisor of volumes in root, bound to no cluster.
func supervise(t *testing.T, root paths.Root) *volumes {
	t.Helper()
	v := newVolumes(root, starter(root), quiet())
	v.guard = func() error { return nil }
	v.viewOf = func(string) (api.VolumeView, bool) { return api.VolumeView{Node: "a"}, true }
	v.onMessage = func(string, api.VolumeMessage) {}
	t.Cleanup(v.leave)
	return v
}

// verb carries out a verb that must be accepted.
func verb(t *testing.T, v *volumes, resource string, verb api.VolumeVerb) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), agenttest.Patience)
	defer cancel()
	if err := replyError(v.do(ctx, resource, api.VolumeDo{Verb: verb})); err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
}

// processOf waits for a volume to have a process other than the one with pid not.
func processOf(t *testing.T, v *volumes, resource string, not int) int {
	t.Helper()
	pid := 0
	agenttest.Until(t, "a process of "+resource, func() bool {
		if l := v.link(resource); l != nil {
			pid = l.pid
		}
		return pid != 0 && pid != not
	})
	return pid
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

func TestVolumeIsStartedUsedAndTakenDown(t *testing.T) {
	root := testRoot(t)
	v := supervise(t, root)
	verb(t, v, "r", api.VolumeUp)
	pid := processOf(t, v, "r", 0)
	if pid == os.Getpid() || !alive(pid) {
		t.Fatalf("the volume's process is %d", pid)
	}
	if names, err := v.marked(); err != nil || len(names) != 1 || names[0] != "r" {
		t.Errorf("marked: %v %v", names, err)
	}
	verb(t, v, "r", api.VolumeConnect)
	agenttest.Until(t, "a status", func() bool { st := v.status("r"); return st != nil && st.PID == pid })
	verb(t, v, "r", api.VolumeDown)
	if l := v.link("r"); l != nil {
		t.Error("a volume that is down still has a process")
	}
	agenttest.Until(t, "the process to end", func() bool { return !alive(pid) })
	if names, err := v.marked(); err != nil || len(names) != 0 {
		t.Errorf("marked after down: %v %v", names, err)
	}
	want := []string{"up", "connect", "down"}
	for i, line := range journal(t, root, "r") {
		if i >= len(want) || line != fmt.Sprintf("%d %s", pid, want[i]) {
			t.Errorf("journal line %d: %q", i, line)
		}
	}
	verb(t, v, "r", api.VolumeUp) // at once: nothing of the ended process is in the way
	verb(t, v, "r", api.VolumeDown)
}

func TestVerbsOfAVolumeThatIsNotUp(t *testing.T) {
	v := supervise(t, agenttest.NewRoot(t))
	r, err := v.do(t.Context(), "r", api.VolumeDo{Verb: api.VolumePrimary})
	if err != nil || r.Code != exitNoSuchVolume || !strings.Contains(r.Error, "drbdadm up r") {
		t.Errorf("primary: %+v %v", r, err)
	}
	agenttest.Must(t, v.mark("r"))
	verb(t, v, "r", api.VolumeDown)
	if v.isMarked("r") {
		t.Error("down leaves the marker of a volume without a process")
	}
}

func TestDeadVolumeProcessIsReplacedAndBroughtUp(t *testing.T) {
	root := testRoot(t)
	v := supervise(t, root)
	verb(t, v, "r", api.VolumeUp)
	first := processOf(t, v, "r", 0)
	agenttest.Must(t, unix.Kill(first, unix.SIGKILL))
	second := processOf(t, v, "r", first)
	want := fmt.Sprintf("%d up", second)
	agenttest.Until(t, "up on the new process", func() bool {
		lines := journal(t, root, "r")
		return lines[len(lines)-1] == want
	})
	verb(t, v, "r", api.VolumeDown)
}

// A process that replaces a Primary's begins without a disk and as Secondary. Nobody hears of that, or a host would be left by
// everything it runs for the death of one process.
func TestReplacementIsNoNewsUntilItIsPrimaryAgain(t *testing.T) {
	root := testRoot(t)
	v := supervise(t, root)
	var mu sync.Mutex
	var told []api.VolumeStatus
	v.onMessage = func(_ string, m api.VolumeMessage) {
		mu.Lock()
		defer mu.Unlock()
		if m.Status != nil {
			told = append(told, *m.Status)
		}
	}
	verb(t, v, "r", api.VolumeUp)
	seen := &agentVolumes{volumes: v, defined: func(string) error { return nil }}
	status := func() api.VolumeStatus {
		st, err := seen.Status(t.Context(), "r")
		agenttest.Must(t, err)
		return st
	}
	agenttest.Until(t, "the Primary", func() bool { return status().Role == "Primary" })
	first := status().PID
	agenttest.Must(t, unix.Kill(first, unix.SIGKILL))
	agenttest.Until(t, "another process", func() bool {
		st := status()
		if st.Role != "Primary" || st.Disk != "UpToDate" {
			t.Errorf("the agent is told %s/%s", st.Role, st.Disk)
		}
		return st.PID != first
	})
	mu.Lock()
	defer mu.Unlock()
	for _, st := range told {
		if st.PID != first && (st.Role != "Primary" || st.Disk != "UpToDate") {
			t.Errorf("the replacement is told as %s/%s, resuming %v", st.Role, st.Disk, st.Resuming)
		}
	}
	if last := told[len(told)-1]; last.PID == first {
		t.Error("nothing was told of the replacement")
	}
}

// A replacement that cannot be brought up is news.
func TestReplacementThatIsRefusedIsTold(t *testing.T) {
	root := agenttest.NewRoot(t)
	v := supervise(t, root)
	told := make(chan api.VolumeStatus, 8)
	v.onMessage = func(_ string, m api.VolumeMessage) {
		if m.Status != nil {
			told <- *m.Status
		}
	}
	s := serveVolume(t, root, "r")
	s.answer = func(api.VolumeDo) (api.VolumeReply, bool) { return api.VolumeReply{Code: 10, Error: "no disk"}, true }
	l, err := dialVolume(root, "r", quiet())
	agenttest.Must(t, err)
	v.adopt(l)
	s.say(api.VolumeMessage{Status: &api.VolumeStatus{Role: "Secondary", Disk: "Diskless"}})
	agenttest.Until(t, "the status", func() bool { return l.last() != nil })
	if len(told) > 0 {
		t.Errorf("told %+v before it was brought up", <-told)
	}
	v.bringUp(l)
	select {
	case st := <-told:
		if st.Disk != "Diskless" {
			t.Errorf("told %+v", st)
		}
	case <-time.After(agenttest.Patience):
		t.Error("nothing was told")
	}
}

func TestReplacementIsTriedAgain(t *testing.T) {
	root := testRoot(t)
	v := supervise(t, root)
	verb(t, v, "r", api.VolumeUp)
	first := processOf(t, v, "r", 0)
	agenttest.Must(t, os.WriteFile(brokenFile(root, "r"), nil, 0o644))
	agenttest.Must(t, unix.Kill(first, unix.SIGKILL))
	log := filepath.Join(root.Log(), "volume-r.log")
	agenttest.Until(t, "an attempt that fails", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), "the disk is not there")
	})
	agenttest.Must(t, os.Remove(brokenFile(root, "r")))
	processOf(t, v, "r", first)
	verb(t, v, "r", api.VolumeDown)
}

func TestVolumeProcessThatDoesNotStart(t *testing.T) {
	root := testRoot(t)
	v := supervise(t, root)
	agenttest.Must(t, os.WriteFile(brokenFile(root, "r"), nil, 0o644))
	_, err := v.do(t.Context(), "r", api.VolumeDo{Verb: api.VolumeUp})
	if err == nil || !strings.Contains(err.Error(), "volume-r.log") {
		t.Errorf("the error does not say where to look: %v", err)
	}
	if v.isMarked("r") {
		t.Error("marked although it never ran")
	}
	v.guard = func() error { return errors.New("no guard") }
	if _, err := v.do(t.Context(), "q", api.VolumeDo{Verb: api.VolumeUp}); err == nil || !strings.Contains(err.Error(), "no guard") {
		t.Errorf("started without a guard: %v", err)
	}
}

func TestVolumesAreFoundAgainByTheNextDaemon(t *testing.T) {
	root := testRoot(t)
	before := supervise(t, root)
	verb(t, before, "r", api.VolumeUp)
	verb(t, before, "q", api.VolumeUp)
	r, q := processOf(t, before, "r", 0), processOf(t, before, "q", 0)
	before.leave()
	agenttest.Until(t, "the first daemon to let go", func() bool { return len(before.running()) == 0 })
	agenttest.Must(t, unix.Kill(q, unix.SIGKILL)) // while no daemon runs
	agenttest.Until(t, "q to end", func() bool { return !alive(q) })
	after := supervise(t, root)
	after.resume()
	if pid := processOf(t, after, "r", 0); pid != r {
		t.Errorf("volume r has process %d, not %d: it was not found again", pid, r)
	}
	processOf(t, after, "q", q)
	ups := 0
	for _, line := range journal(t, root, "r") {
		if line == fmt.Sprintf("%d up", r) {
			ups++
		}
	}
	if ups != 1 {
		t.Errorf("a running volume was brought up %d times", ups)
	}
	if got := strings.Join(after.running(), " "); got != "q r" {
		t.Errorf("running: %s", got)
	}
	verb(t, after, "r", api.VolumeDown)
	verb(t, after, "q", api.VolumeDown)
}

func TestUpThatFails(t *testing.T) {
	root := agenttest.NewRoot(t)
	s := serveVolume(t, root, "r")
	v := supervise(t, root)
	refuse := func(api.VolumeDo) (api.VolumeReply, bool) { return api.VolumeReply{Code: 17, Error: "no"}, true }
	s.answer = refuse
	if r, err := v.do(t.Context(), "r", api.VolumeDo{Verb: api.VolumeUp}); err != nil || r.Code != 17 {
		t.Fatalf("%+v %v", r, err)
	}
	if v.isMarked("r") {
		t.Error("a volume that was refused to come up is meant to run")
	}
	agenttest.Must(t, v.mark("r"))
	if r, err := v.do(t.Context(), "r", api.VolumeDo{Verb: api.VolumeUp}); err != nil || r.Code != 17 {
		t.Fatalf("%+v %v", r, err)
	}
	if !v.isMarked("r") {
		t.Error("a second up that fails makes a running volume one that nobody replaces")
	}
	if r, err := v.do(t.Context(), "r", api.VolumeDo{Verb: api.VolumeDown}); err != nil || r.Code != 17 {
		t.Fatalf("%+v %v", r, err)
	}
	if !v.isMarked("r") {
		t.Error("a volume that refused to go down is not meant to run any more")
	}
}

func TestCallsEndWithTheProcess(t *testing.T) {
	root := agenttest.NewRoot(t)
	s := serveVolume(t, root, "r")
	asked := make(chan struct{}, 2)
	s.answer = func(api.VolumeDo) (api.VolumeReply, bool) { asked <- struct{}{}; return api.VolumeReply{}, false }
	v := supervise(t, root)
	l, err := v.ensure("r")
	agenttest.Must(t, err)
	soon, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := l.do(soon, api.VolumeDo{Verb: api.VolumePrimary}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call nobody waits for: %v", err)
	}
	go func() { <-asked; s.die() }()
	if _, err := l.do(t.Context(), api.VolumeDo{Verb: api.VolumePrimary}); !errors.Is(err, errVolumeGone) {
		t.Errorf("a call whose process dies: %v", err)
	}
	agenttest.Until(t, "the dead process to be forgotten", func() bool { return v.link("r") == nil })
	if _, err := l.do(t.Context(), api.VolumeDo{Verb: api.VolumePrimary}); err == nil {
		t.Error("a call to a dead process succeeds")
	}
}

func TestHelloOfAnotherVolumeIsRefused(t *testing.T) {
	root := agenttest.NewRoot(t)
	s := serveVolume(t, root, "r")
	s.resource = "q"
	if _, err := dialVolume(root, "r", quiet()); err == nil || !strings.Contains(err.Error(), "another volume") {
		t.Errorf("got %v", err)
	}
}

func TestViewsArriveInOrder(t *testing.T) {
	root := agenttest.NewRoot(t)
	s := serveVolume(t, root, "r")
	v := supervise(t, root)
	var mu sync.Mutex
	version, given := uint64(0), false
	v.viewOf = func(string) (api.VolumeView, bool) {
		mu.Lock()
		defer mu.Unlock()
		if !given {
			return api.VolumeView{}, false
		}
		version++
		return api.VolumeView{Bound: true, Version: version}, true
	}
	_, err := v.ensure("r")
	agenttest.Must(t, err)
	v.pushAll() // nothing may be said yet
	mu.Lock()
	given = true
	mu.Unlock()
	const pushes = 200
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range pushes / 4 {
				v.push("r")
			}
		})
	}
	wg.Wait()
	agenttest.Until(t, "every view", func() bool { return len(s.told()) >= pushes })
	for i, view := range s.told() {
		if view.Version != uint64(i+1) {
			t.Fatalf("view %d has version %d", i, view.Version)
		}
	}
}

func TestMessagesReachTheDaemonInOrder(t *testing.T) {
	root := agenttest.NewRoot(t)
	s := serveVolume(t, root, "r")
	v := supervise(t, root)
	got := make(chan string, 8)
	v.onMessage = func(resource string, m api.VolumeMessage) {
		if m.Status != nil {
			got <- resource + " " + m.Status.Role
		}
		if m.Want != nil {
			got <- resource + " wants " + m.Want.Remove
		}
	}
	_, err := v.ensure("r")
	agenttest.Must(t, err)
	s.say(api.VolumeMessage{Status: &api.VolumeStatus{Role: "Secondary"}})
	s.say(api.VolumeMessage{Want: &api.VolumeWant{Remove: "b"}})
	s.say(api.VolumeMessage{Status: &api.VolumeStatus{Role: "Primary"}})
	for _, want := range []string{"r Secondary", "r wants b", "r Primary"} {
		select {
		case have := <-got:
			if have != want {
				t.Errorf("got %q, want %q", have, want)
			}
		case <-time.After(agenttest.Patience):
			t.Fatalf("%q did not come", want)
		}
	}
	if st := v.status("r"); st == nil || st.Role != "Primary" {
		t.Errorf("last status: %+v", st)
	}
	if v.status("q") != nil {
		t.Error("a volume that does not run has a status")
	}
}

func TestKillEndsTheProcess(t *testing.T) {
	root := testRoot(t)
	v := supervise(t, root)
	agenttest.Must(t, v.kill("r")) // none runs
	verb(t, v, "r", api.VolumeUp)
	pid := processOf(t, v, "r", 0)
	agenttest.Must(t, v.unmark("r"))
	agenttest.Must(t, unix.Kill(pid, unix.SIGSTOP)) // it need not cooperate
	agenttest.Must(t, v.kill("r"))
	if l := v.link("r"); l != nil {
		t.Error("the killed process is not forgotten")
	}
	agenttest.Until(t, "the process to end", func() bool { return !alive(pid) })
}
