package pcs

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/simulate"
	"holdfast/internal/paths"
)

// noon is the wall clock of the tests.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// fakeDaemon stands at the daemon's socket: a real CIB document, whose status follows every change as the scheduler
// decides and package simulate carries out. It records the calls that a real daemon would hand to other hosts.
type fakeDaemon struct {
	mu      sync.Mutex
	status  api.ClusterStatus
	doc     *cib.Document
	volumes []api.VolumeStatus
	calls   []string
	// meddle changes the CIB before the next n pushes, as another administrator would.
	meddle int
}

// serve starts the daemon below a new root, whose agents are the host's own.
func serve(t *testing.T, d *fakeDaemon) paths.Root {
	t.Helper()
	dir, err := os.MkdirTemp("", "pcs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root := paths.Root(dir)
	linkAgents(t, root)
	if d == nil {
		return root
	}
	if err := os.MkdirAll(root.Run(), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", root.DaemonSocket())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(d.answer)}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return root
}

// linkAgents makes the installed resource agents visible below root.
func linkAgents(t *testing.T, root paths.Root) {
	t.Helper()
	host := paths.Root("/").OCF()
	if _, err := os.Stat(filepath.Join(host, "resource.d/heartbeat/Filesystem")); err != nil {
		t.Skipf("the resource agents are not installed: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(root.OCF()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(host, root.OCF()); err != nil {
		t.Fatal(err)
	}
}

func (d *fakeDaemon) answer(w http.ResponseWriter, r *http.Request) {
	method := strings.TrimPrefix(r.URL.Path, "/v1/")
	d.mu.Lock()
	defer d.mu.Unlock()
	out, err := d.do(method, json.NewDecoder(r.Body))
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		out = api.Error{Code: 1, Message: err.Error()}
	}
	json.NewEncoder(w).Encode(out)
}

func (d *fakeDaemon) do(method string, in *json.Decoder) (any, error) {
	switch method {
	case "cib.get":
		return api.CIB{XML: string(d.doc.Bytes())}, nil
	case "cib.push":
		var req api.CIBPushRequest
		in.Decode(&req)
		return api.CIB{}, d.push(req)
	case "cluster.status":
		st := d.status
		st.CIB = string(d.doc.Bytes())
		return st, nil
	case "volume.status":
		return api.VolumesReply{Volumes: d.volumes}, nil
	case "cluster.setup":
		var req api.SetupRequest
		in.Decode(&req)
		d.record(method, req)
		return api.SetupReply{Results: each(req.Nodes, "Succeeded")}, nil
	case "cluster.auth":
		return d.auth(in)
	case "cluster.start", "cluster.stop", "cluster.destroy":
		return d.nodes(method, in)
	}
	var req any
	in.Decode(&req)
	d.record(method, req)
	return api.Empty{}, nil
}

func (d *fakeDaemon) record(method string, req any) {
	b, _ := json.Marshal(req)
	d.calls = append(d.calls, method+" "+string(b))
}

func (d *fakeDaemon) auth(in *json.Decoder) (any, error) {
	var req api.AuthRequest
	in.Decode(&req)
	d.record("cluster.auth", req)
	var out api.AuthReply
	for _, h := range req.Hosts {
		switch {
		case req.Username != "hacluster" || req.Password != "secret":
			return nil, fmt.Errorf("%s: Username and/or password is incorrect", h.Name)
		case h.Name == "nowhere":
			out.Results = append(out.Results, api.NodeResult{Node: h.Name, Message: "Unable to communicate with nowhere: no such host"})
		default:
			out.Results = append(out.Results, api.NodeResult{Node: h.Name, OK: true, Message: "Authorized"})
		}
	}
	return out, nil
}

func (d *fakeDaemon) nodes(method string, in *json.Decoder) (any, error) {
	var req api.NodesRequest
	in.Decode(&req)
	d.record(method, req)
	if req.All {
		req.Nodes = nodeNames(d.doc)
	}
	words := map[string]string{"cluster.start": "Starting Cluster...", "cluster.stop": "Stopping Cluster...", "cluster.destroy": ""}
	return api.NodesReply{Results: each(req.Nodes, words[method])}, nil
}

func each(nodes []string, message string) []api.NodeResult {
	var out []api.NodeResult
	for _, n := range nodes {
		out = append(out, api.NodeResult{Node: n, OK: true, Message: message})
	}
	return out
}

func nodeNames(doc *cib.Document) []string {
	var out []string
	for _, n := range doc.Nodes().ChildrenNamed("node") {
		out = append(out, n.Get("uname"))
	}
	return out
}

// push does what the state machine does with a new configuration.
func (d *fakeDaemon) push(req api.CIBPushRequest) error {
	if d.meddle > 0 {
		d.meddle--
		d.doc.BumpEpoch()
	}
	now := d.doc.Version()
	if base, err := cib.ParseVersion(req.Base); req.Base != "" && (err != nil || base.Epoch != now.Epoch || base.AdminEpoch != now.AdminEpoch) {
		return fmt.Errorf("the configuration has changed since version %s (it is %s now)", req.Base, now)
	}
	doc, err := cib.Parse([]byte(req.XML))
	if err != nil {
		return err
	}
	i := slices.Index(d.doc.Root.Children, d.doc.Configuration())
	d.doc.Root.Children[i] = doc.Configuration()
	d.doc.BumpEpoch()
	d.settle()
	return nil
}

// settle lets the cluster act until it has nothing left to do. Agents of promotable clones want promotion everywhere alike.
func (d *fakeDaemon) settle() {
	for range 10 {
		for _, name := range nodeNames(d.doc) {
			for _, rsc := range d.doc.Resources().Children {
				if v := cib.Meta(rsc, "promotable"); v == "true" && rsc.Child("primitive") != nil {
					d.doc.SetTransientAttribute(name, cib.PromotionScoreName(rsc.Child("primitive").ID()), "10000")
				}
			}
		}
		r := simulate.Run(scheduler.Input{CIB: d.doc, Now: noon, Quorate: true, DC: d.status.DC})
		if len(r.Executed) == 0 {
			return
		}
		d.doc = r.After
	}
}

// twoNodes is a new cluster of the tutorial's database hosts, both online.
func twoNodes() *fakeDaemon {
	doc := cib.Empty("mysqlcluster")
	for i, n := range []string{"lqi1ecmy01", "lqi1ecmy02"} {
		id := fmt.Sprint(i + 1)
		doc.AddNode(id, n)
		doc.SetNodeState(cib.OnlineState(id, n))
	}
	doc.BumpEpoch()
	member := func(name, kind string, voter bool) api.MemberStatus {
		return api.MemberStatus{Node: name, Kind: kind, Voter: voter, Online: true, Lease: "active"}
	}
	return &fakeDaemon{doc: doc, status: api.ClusterStatus{ClusterName: "mysqlcluster", LocalNode: "lqi1ecmy01", Version: "test",
		Configured: true, Running: true, DC: "lqi1ecmy03", Quorate: true,
		Members: []api.MemberStatus{member("lqi1ecmy01", "data", true), member("lqi1ecmy02", "data", true),
			member("lqi1ecmy03", "witness", true), member("lqi1ecmy04", "follower", false)}}}
}
