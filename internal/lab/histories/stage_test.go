package histories

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/rows"
	"holdfast/internal/lab/tutorial"
	"holdfast/internal/lab/watch"
)

// Bounds of waits; each is for a state.
const (
	tutorialLimit = 5 * time.Minute
	wholeLimit    = 2 * time.Minute
	serveLimit    = 90 * time.Second
	historyLimit  = 6 * time.Minute
)

// stage is the lab with the tutorial's system, and the two that judge.
type stage struct {
	lab   *lab.Lab
	rows  *rows.Client
	watch *watch.Watch
}

// shared is the stage of all tests of this run, nil before the first and after one that failed.
var shared struct {
	program string // the binary under test, once built
	stage   *stage
}

const labName = "hist"

const (
	// lookEvery is the pause between two looks at a state that is waited for.
	lookEvery = 50 * time.Millisecond
	// askLimit bounds a question to a daemon.
	askLimit = 2 * time.Second
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := strike(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// strike takes the lab down.
func strike() error {
	s := shared.stage
	shared.stage = nil
	if s == nil || os.Getenv("HOLDFAST_LAB_KEEP") != "" {
		return nil
	}
	if s.watch != nil {
		s.watch.Stop()
	}
	if s.rows != nil {
		s.rows.Stop()
	}
	return lab.Down(labName)
}

func needLab(t *testing.T) {
	t.Helper()
	if os.Getenv("HOLDFAST_LAB") == "" {
		t.Skip("set HOLDFAST_LAB=1 to run the tests that make hosts (root, namespaces, loop devices)")
	}
	if os.Geteuid() != 0 {
		t.Fatal("HOLDFAST_LAB is set, but the lab's tests need root")
	}
}

// program is the binary under test: HOLDFAST_PROGRAM, or one built here.
func program(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("HOLDFAST_PROGRAM"); p != "" {
		return p
	}
	if shared.program == "" {
		dir, err := os.MkdirTemp("", "holdfast-histories-") // outlives the test that makes it
		if err != nil {
			t.Fatal(err)
		}
		if err := buildProgram(filepath.Join(dir, "holdfast")); err != nil {
			t.Fatal(err)
		}
		shared.program = filepath.Join(dir, "holdfast")
	}
	return shared.program
}

// buildProgram builds holdfast, with more flags of go build, as the file at path.
func buildProgram(path string, flags ...string) error {
	build := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "holdfast/cmd/holdfast")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}

// raise brings up a fresh lab, without the tutorial.
func raise(t *testing.T) *stage {
	t.Helper()
	needLab(t)
	if err := strike(); err != nil {
		t.Fatal(err)
	}
	if err := lab.Down(labName); err != nil { // of a run that was killed
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), tutorialLimit)
	defer cancel()
	l, err := lab.Up(ctx, lab.Config{Name: labName, Program: program(t)})
	if err != nil {
		t.Fatal(err)
	}
	shared.stage = &stage{lab: l}
	return shared.stage
}

// set returns the shared stage with everything running and whole, making it if there is none.
func set(ctx context.Context, t *testing.T) *stage {
	t.Helper()
	needLab(t)
	s := shared.stage
	if s == nil {
		s = raise(t)
		if err := tutorial.Replay(ctx, demo.LabRunner{Lab: s.lab}, tutorial.Everything(), io.Discard); err != nil {
			s.spoil(t)
			t.Fatal(err)
		}
	}
	if s.rows == nil {
		s.judge(ctx, t)
	}
	return s
}

// judge starts the row client, on the client host and through the balancer, and the watcher.
func (s *stage) judge(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := demo.AwaitWhole(ctx, s.lab); err != nil {
		t.Fatal(err)
	}
	client, err := rows.New(rows.Config{
		Addr: tutorial.DatabaseAddr, User: tutorial.DatabaseUser, Password: tutorial.DatabasePass, Database: tutorial.DatabaseName,
		Table: "holdfast_rows", Dial: s.lab.Host(tutorial.Client).DialContext, Every: 10 * time.Millisecond,
		Journal: filepath.Join(s.lab.Dir(), "acknowledged.jsonl"),
	})
	if err == nil {
		err = client.Prepare(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	client.Start()
	s.rows = client
	if s.watch, err = watch.New(ctx, s.lab); err != nil {
		t.Fatal(err)
	}
}

// spoil keeps the logs of a failed test and has the next one begin with a fresh lab.
func (s *stage) spoil(t *testing.T) {
	t.Helper()
	s.keepLogs(t)
	if os.Getenv("HOLDFAST_LAB_KEEP") != "" {
		t.Logf("lab %s stays as it is; later tests cannot run", labName)
		return
	}
	if err := strike(); err != nil {
		t.Error(err)
	}
}

// keepLogs copies the logs of a failed test out of the lab.
func (s *stage) keepLogs(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-histories-logs-")
	if err != nil {
		t.Log(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = s.lab.Heal()
	for _, h := range s.lab.Hosts() {
		if h.Running() && h.Frozen() {
			_ = h.Thaw()
		}
	}
	err = s.lab.CollectLogs(ctx, dir)
	t.Logf("logs of the hosts are in %s (%v)", dir, err)
}

// play performs one history on the shared stage and judges: afterwards the cluster is whole within a bound, every
// acknowledged row is there, and no two databases have served at once.
func play(t *testing.T, history func(context.Context, *testing.T, *stage)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), historyLimit)
	defer cancel()
	s := set(ctx, t)
	defer func() {
		if t.Failed() {
			s.spoil(t)
		}
	}()
	begun := time.Now()
	history(ctx, t, s)
	s.awaitWhole(ctx, t)
	s.awaitServed(ctx, t)
	gap := rows.LongestGap(s.rows.Acks(), begun, time.Now())
	t.Logf("longest time without an acknowledgement %.2f s (from %s UTC)%s; whole again %.1f s after it began", gap.Length().Seconds(),
		gap.From.UTC().Format("15:04:05.000"), s.phases(gap), time.Since(begun).Seconds())
	s.verify(ctx, t)
}

// phases says what took how long in an outage of more than a second, by the timelines of the hosts.
func (s *stage) phases(gap rows.Gap) string {
	events, err := demo.Timeline(s.lab)
	if err != nil || gap.Length() < time.Second {
		return ""
	}
	all := ""
	phases := demo.Phases(gap, events)
	for _, name := range slices.Sorted(maps.Keys(phases)) {
		all += fmt.Sprintf(" %s %.2f", name, phases[name])
	}
	return ":" + all
}

func (s *stage) awaitWhole(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	if err := demo.AwaitWhole(ctx, s.lab); err != nil {
		t.Fatal(err)
	}
}

// awaitServed waits for a row that is begun from now on.
func (s *stage) awaitServed(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, serveLimit)
	defer cancel()
	if err := s.rows.AwaitAckAfter(ctx, time.Now()); err != nil {
		t.Fatalf("%v\n%s", err, s.pcsStatus())
	}
}

// verify looks for what was acknowledged and for two databases.
func (s *stage) verify(ctx context.Context, t *testing.T) {
	t.Helper()
	missing, err := s.rows.Missing(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 {
		t.Errorf("%d acknowledged rows are lost, the first is %d", len(missing), missing[0])
	}
	if err := s.watch.Verdict(ctx); err != nil {
		t.Error(err)
	}
}

// roles are the active and the standby database host, by the log.
func (s *stage) roles(ctx context.Context, t *testing.T) (active, standby *lab.Host) {
	t.Helper()
	switch primary := demo.Primary(ctx, s.lab); primary {
	case tutorial.DB1:
		return s.lab.Host(tutorial.DB1), s.lab.Host(tutorial.DB2)
	case tutorial.DB2:
		return s.lab.Host(tutorial.DB2), s.lab.Host(tutorial.DB1)
	default:
		t.Fatalf("no database host is Primary, but %q", primary)
		return nil, nil
	}
}

// awaitPrimary waits until the log names the host as Primary.
func (s *stage) awaitPrimary(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	s.await(ctx, t, name+" is Primary", func() bool { return demo.Primary(ctx, s.lab) == name })
}

// await waits for a state, with a bound.
func (s *stage) await(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(serveLimit); !ok(); {
		if time.Now().After(end) || ctx.Err() != nil {
			t.Fatalf("not within %v: %s\n%s", serveLimit, what, s.pcsStatus())
		}
		time.Sleep(lookEvery)
	}
}

// pcsStatus is what the first host that answers prints, for messages.
func (s *stage) pcsStatus() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, name := range []string{tutorial.DB1, tutorial.DB2, tutorial.Web1} {
		h := s.lab.Host(name)
		if !h.Running() || h.Frozen() {
			continue
		}
		if r, err := h.Exec(ctx, "pcs", "status"); err == nil {
			return "pcs status on " + name + ":\n" + r.Stdout + r.Stderr
		}
	}
	return "pcs status: no host answers"
}

// sh types a line on a host and wants it to succeed.
func sh(ctx context.Context, t *testing.T, h *lab.Host, line string) string {
	t.Helper()
	out, code, err := typed(ctx, h, line, "")
	if err != nil || code != 0 {
		t.Fatalf("on %s, %q: exit code %d, %v\n%s", h.Name(), line, code, err, out)
	}
	return out
}

// typed runs a line by a shell on a host.
func typed(ctx context.Context, h *lab.Host, line, stdin string) (string, int, error) {
	return demo.LabRunner{Lab: shared.stage.lab}.Run(ctx, h.Name(), line, stdin)
}
