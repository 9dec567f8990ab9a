package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// Fault is what one failover test came to.
type Fault struct {
	Name             string             `json:"name"`
	OutageSeconds    float64            `json:"outage_seconds"`
	Phases           map[string]float64 `json:"phases"`
	RowsAcknowledged int                `json:"rows_acknowledged"`
	RowsLost         int                `json:"rows_lost"`
	PostsExpected    int                `json:"posts_expected"`
	PostsSeen        int                `json:"posts_seen"`
	// ResyncedBytes is what the resync after the host's return moved; VolumeBytes the size of the volume.
	ResyncedBytes int64 `json:"resynced_bytes,omitempty"`
	VolumeBytes   int64 `json:"volume_bytes,omitempty"`
}

// Report is the outcome of the demo.
type Report struct {
	Faults            []Fault `json:"faults"`
	RowsLost          int     `json:"rows_lost"`
	PostsExpected     int     `json:"posts_expected"`
	PostsSeen         int     `json:"posts_seen"`
	ReplicasIdentical bool    `json:"replicas_identical"`
	// AckJournal is the file with every acknowledged row and its time.
	AckJournal string `json:"ack_journal,omitempty"`
}

// Problems lists what was lost or differs; none means the demo has passed.
func (r Report) Problems() []string {
	var p []string
	if r.RowsLost > 0 {
		p = append(p, fmt.Sprintf("%d acknowledged rows are missing", r.RowsLost))
	}
	if r.PostsSeen != r.PostsExpected {
		p = append(p, fmt.Sprintf("%d posts were published, %d are readable exactly once", r.PostsExpected, r.PostsSeen))
	}
	if !r.ReplicasIdentical {
		p = append(p, "the replicas' data areas differ")
	}
	return p
}

// Write prints the table.
func (r Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "fault\toutage s\t")
	for _, p := range phaseNames {
		fmt.Fprintf(t, "%s\t", p)
	}
	fmt.Fprint(t, "rows acked\trows lost\tposts seen\tresynced\t\n")
	for _, f := range r.Faults {
		fmt.Fprintf(t, "%s\t%.2f\t", f.Name, f.OutageSeconds)
		for _, p := range phaseNames {
			fmt.Fprintf(t, "%.2f\t", f.Phases[p])
		}
		fmt.Fprintf(t, "%d\t%d\t%d/%d\t%s\t\n", f.RowsAcknowledged, f.RowsLost, f.PostsSeen, f.PostsExpected, resynced(f))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	same := "byte-identical"
	if !r.ReplicasIdentical {
		same = "DIFFERENT"
	}
	_, err := fmt.Fprintf(w, "rows lost: %d   posts: %d of %d   replicas: %s\n", r.RowsLost, r.PostsSeen, r.PostsExpected, same)
	return err
}

// resynced shows how much of the volume the resync moved.
func resynced(f Fault) string {
	if f.VolumeBytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(f.ResyncedBytes)/float64(f.VolumeBytes))
}

// Save writes the report as JSON.
func (r Report) Save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
