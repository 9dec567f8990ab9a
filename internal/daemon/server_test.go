package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// serveMethods answers methods on a socket until the test ends.
func serveMethods(t *testing.T, methods map[string]method) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	l, err := listenUnix(path)
	agenttest.Must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&server{methods: methods, log: quiet()}).serve(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

func TestControlSocket(t *testing.T) {
	path := serveMethods(t, map[string]method{
		"double": typed(func(_ context.Context, n int) (int, error) { return 2 * n, nil }),
		"plain": typed(func(context.Context, api.Empty) (api.Empty, error) {
			return api.Empty{}, errors.New("the disk is full")
		}),
		"coded": typed(func(context.Context, api.Empty) (api.Empty, error) {
			return api.Empty{}, &api.Error{Code: 17, Message: "no up-to-date disk"}
		}),
	})
	c := api.NewClient(path)
	var got int
	agenttest.Must(t, c.Call(t.Context(), "double", 21, &got))
	if got != 42 {
		t.Errorf("got %d", got)
	}
	for _, test := range []struct {
		method string
		in     any
		code   int
		want   string
	}{
		{"plain", api.Empty{}, 1, "the disk is full"},
		{"coded", api.Empty{}, 17, "no up-to-date disk"},
		{"double", "x", 1, "not valid"},
		{"triple", 1, 1, `no method "triple"`},
	} {
		err := c.Call(t.Context(), test.method, test.in, nil)
		var known *api.Error
		if !errors.As(err, &known) || known.Code != test.code || !strings.Contains(known.Message, test.want) {
			t.Errorf("%s(%v): %v", test.method, test.in, err)
		}
	}
}

// raw sends one request as it is.
func raw(t *testing.T, path, verb, url string, body io.Reader) *http.Response {
	t.Helper()
	dial := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }
	tr := &http.Transport{DialContext: dial}
	t.Cleanup(tr.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), verb, "http://daemon"+url, body)
	agenttest.Must(t, err)
	resp, err := tr.RoundTrip(req)
	agenttest.Must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestControlSocketRefusesWhatItDoesNotKnow(t *testing.T) {
	called := 0
	path := serveMethods(t, map[string]method{"m": func(context.Context, []byte) (any, error) { called++; return nil, nil }})
	if r := raw(t, path, http.MethodGet, "/v1/m", nil); r.StatusCode != http.StatusNotFound || called != 0 {
		t.Errorf("GET: %s, called %d times", r.Status, called)
	}
	if r := raw(t, path, http.MethodPost, "/v1/", nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("no method: %s", r.Status)
	}
	long := bytes.NewReader(bytes.Repeat([]byte{' '}, api.MaxFrame+1))
	if r := raw(t, path, http.MethodPost, "/v1/m", long); r.StatusCode != http.StatusRequestEntityTooLarge || called != 0 {
		t.Errorf("a request over the limit: %s, called %d times", r.Status, called)
	}
	if r := raw(t, path, http.MethodPost, "/v1/m", nil); r.StatusCode != http.StatusOK || called != 1 {
		t.Errorf("POST: %s, called %d times", r.Status, called)
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	l, err := listenUnix(path)
	agenttest.Must(t, err)
	info, err := os.Stat(path)
	agenttest.Must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: others may command the daemon", info.Mode())
	}
	if _, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), "already answers") {
		t.Errorf("two daemons on one socket: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as after a crash
	l.Close()
	again, err := listenUnix(path)
	agenttest.Must(t, err)
	again.Close()
}

// A whole daemon on a host that is in no cluster, in a network namespace of its own.
func TestDaemonOutsideACluster(t *testing.T) {
	root := testRoot(t)
	agenttest.Must(t, os.MkdirAll(root.DRBDDir(), 0o755))
	cmd := startDaemon(t, root)
	c := api.NewClient(root.DaemonSocket())
	var st api.ClusterStatus
	agenttest.Until(t, "the daemon to answer", func() bool { return c.Call(t.Context(), "cluster.status", api.Empty{}, &st) == nil })
	if st.LocalNode != "a" || st.Configured || st.Running {
		t.Errorf("status: %+v", st)
	}
	for method, in := range map[string]any{
		"cib.get": api.CIBGetRequest{}, "cluster.stop": api.NodesRequest{}, "member.add": api.MemberRequest{Node: "w", Witness: true},
		"balancer.rules": api.Empty{}, "resource.cleanup": api.CleanupRequest{},
	} {
		err := c.Call(t.Context(), method, in, nil)
		if err == nil || !strings.Contains(err.Error(), "pcs cluster start") {
			t.Errorf("%s: %v", method, err)
		}
	}
	if err := c.Call(t.Context(), "cluster.start", api.NodesRequest{}, nil); err == nil || !strings.Contains(err.Error(), "pcs cluster setup") {
		t.Errorf("start without a cluster: %v", err)
	}
	for name, in := range map[string]api.SetupRequest{"named twice": {Name: "c", Nodes: []string{"a", "a"}}, "needs a name": {Nodes: []string{"a"}}} {
		if err := c.Call(t.Context(), "cluster.setup", in, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("setup %+v: %v", in, err)
		}
	}
	up := api.VolumeDoRequest{Resource: "r", Do: api.VolumeDo{Verb: api.VolumeUp}}
	if err := c.Call(t.Context(), "volume.do", up, nil); err == nil || !strings.Contains(err.Error(), "not defined in your config") {
		t.Errorf("up without a .res file: %v", err)
	}
	second := startDaemon(t, root)
	if err := second.Wait(); err == nil {
		t.Error("two daemons run on one host")
	}
	agenttest.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	text, err := os.ReadFile(filepath.Join(root.Log(), "events.jsonl"))
	if err != nil || !strings.Contains(string(text), `"event":"daemon.start"`) {
		t.Errorf("timeline: %v: %s", err, text)
	}
}

const resFile = `resource r {
  device /dev/drbd9; disk /dev/null; meta-disk internal;
  on a { address 10.9.0.1:7789; }
  on b { address 10.9.0.2:7789; }
}
`

// Through the socket, a volume of no cluster is run by its own process and DRBD's words.
func TestDaemonRunsAVolume(t *testing.T) {
	root := testRoot(t)
	agenttest.Must(t, os.MkdirAll(root.DRBDDir(), 0o755))
	agenttest.Must(t, os.WriteFile(filepath.Join(root.DRBDDir(), "r.res"), []byte(resFile), 0o644))
	cmd := startDaemon(t, root)
	c := api.NewClient(root.DaemonSocket())
	do := func(v api.VolumeVerb) (r api.VolumeReply, err error) {
		err = c.Call(t.Context(), "volume.do", api.VolumeDoRequest{Resource: "r", Do: api.VolumeDo{Verb: v}}, &r)
		return r, err
	}
	agenttest.Until(t, "the daemon to answer", func() bool { return c.Call(t.Context(), "cluster.status", api.Empty{}, nil) == nil })
	if r, err := do(api.VolumePrimary); err != nil || r.Code != exitNoSuchVolume {
		t.Errorf("primary of a volume that is down: %+v %v", r, err)
	}
	for _, v := range []api.VolumeVerb{api.VolumeUp, api.VolumePrimary} {
		if r, err := do(v); err != nil || r.Code != 0 {
			t.Fatalf("%s: %+v %v", v, r, err)
		}
	}
	var st api.VolumesReply
	agenttest.Until(t, "the volume's status", func() bool {
		return c.Call(t.Context(), "volume.status", api.VolumeRequest{}, &st) == nil && len(st.Volumes) == 1
	})
	var seen api.VolumeWatchReply
	agenttest.Must(t, c.Call(t.Context(), "volume.watch", api.VolumeWatchRequest{Now: true}, &seen))
	if !seen.Whole || len(seen.Volumes) != 1 {
		t.Errorf("watched: %+v", seen)
	}
	agenttest.Must(t, c.Call(t.Context(), "volume.watch", api.VolumeWatchRequest{After: seen.Number - 1}, &seen))
	if len(seen.Events) == 0 || seen.Events[0].Resource != "r" || seen.Events[0].Status == nil {
		t.Errorf("watched: %+v", seen)
	}
	pid := st.Volumes[0].PID
	agenttest.Must(t, cmd.Process.Kill()) // the daemon's end is not the volume's
	_ = cmd.Wait()                        // killed, as meant
	startDaemon(t, root)
	agenttest.Until(t, "the next daemon to find it", func() bool {
		_, err := do(api.VolumeConnect)
		return err == nil && c.Call(t.Context(), "volume.status", api.VolumeRequest{Resource: "r"}, &st) == nil && len(st.Volumes) == 1
	})
	if got := st.Volumes[0].PID; got != pid {
		t.Errorf("the next daemon has process %d, not %d", got, pid)
	}
	agenttest.Must(t, os.WriteFile(filepath.Join(root.Lib(), "adopted-r"), nil, 0o644))
	if r, err := do(api.VolumePrimary); err != nil || r.Code != 11 || !strings.Contains(r.Error, "pcs cluster start") {
		t.Errorf("primary of a volume of a cluster that is not running: %+v %v", r, err)
	}
	if r, err := do(api.VolumeDown); err != nil || r.Code != 0 {
		t.Errorf("down: %+v %v", r, err)
	}
}

// startDaemon runs node a's daemon and kills it at the end of the test.
func startDaemon(t *testing.T, root paths.Root) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "daemon", "a", "--root", string(root))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	agenttest.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended, and been waited for, already
		_ = cmd.Wait()
	})
	return cmd
}
