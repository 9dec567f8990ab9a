package drbd

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"testing"

	"holdfast/internal/api"
)

// daemon answers as the real one does, from a state the test sets.
type daemon struct {
	cluster api.ClusterStatus
	rejoin  func(api.RejoinRequest) api.RejoinReply
	volumes []api.VolumeStatus
	reply   api.VolumeReply
	asked   []api.VolumeDoRequest
	watches []api.VolumeWatchReply      // answers to volume.watch; then an error
	after   func(*daemon, api.VolumeDo) // changes volumes, if not nil
}

func (h *host) serve(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{}
	if err := os.MkdirAll(h.root.Run(), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", h.root.DaemonSocket())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return d
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var out any
	switch r.URL.Path {
	case "/v1/volume.do":
		var in api.VolumeDoRequest
		if json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		d.asked = append(d.asked, in)
		out = d.reply
		if d.after != nil {
			d.after(d, in.Do)
		}
	case "/v1/volume.watch":
		if len(d.watches) == 0 {
			w.WriteHeader(http.StatusBadRequest)
			out = api.Error{Code: 1, Message: "nothing more happens"}
			break
		}
		out, d.watches = d.watches[0], d.watches[1:]
	case "/v1/volume.status":
		out = api.VolumesReply{Volumes: d.volumes}
	case "/v1/cluster.status":
		out = d.cluster
	case "/v1/cluster.rejoin":
		var in api.RejoinRequest
		if json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		out = d.rejoin(in)
	}
	_ = json.NewEncoder(w).Encode(out)
}
