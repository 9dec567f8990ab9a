package raftlog

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/testing/protocmp"
)

func entry(index, term uint64, data []byte) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Data: data}
}

func entries(data []byte, count int) []*raftpb.Entry {
	var out []*raftpb.Entry
	for i := range uint64(count) {
		out = append(out, entry(i+1, 1, data))
	}
	return out
}

func hardState(term, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Commit: &commit}
}

func snapshotAt(index uint64) *raftpb.Snapshot {
	term := uint64(1)
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: []uint64{1}}}}
}

func TestStoreKeepsWhatWasSaved(t *testing.T) {
	long := entries([]byte("x"), 10)
	tests := []struct {
		name    string
		batches []batch
		want    []*raftpb.Entry
		last    uint64
	}{
		{"nothing", nil, nil, 0},
		{"entries", []batch{{entries: long}}, long, 10},
		{"a conflict cuts the tail", []batch{{entries: long}, {entries: []*raftpb.Entry{entry(4, 2, []byte("y"))}}},
			append(append([]*raftpb.Entry{}, long[:3]...), entry(4, 2, []byte("y"))), 4},
		{"an own snapshot drops what it covers", []batch{{entries: long}, {snap: snapshotAt(7)}}, long[7:], 10},
		{"a received snapshot drops everything", []batch{{entries: long}, {snap: snapshotAt(7), received: true}}, nil, 7},
		{"a received snapshot beyond the log", []batch{{entries: long}, {snap: snapshotAt(20), received: true, entries: []*raftpb.Entry{entry(21, 1, nil)}}},
			[]*raftpb.Entry{entry(21, 1, nil)}, 21},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			st := mustOpen(t, dir)
			id := st.incarnation
			for _, b := range tt.batches {
				if err := st.save(b); err != nil {
					t.Fatal(err)
				}
			}
			if st.last != tt.last {
				t.Errorf("last is %d, want %d", st.last, tt.last)
			}
			if err := st.close(); err != nil {
				t.Fatal(err)
			}
			again := mustOpen(t, dir)
			defer again.close()
			if again.incarnation != id || again.fresh != "" {
				t.Errorf("another incarnation after reopening (%q)", again.fresh)
			}
			if again.last != tt.last {
				t.Errorf("last is %d after reopening, want %d", again.last, tt.last)
			}
			if diff := cmp.Diff(tt.want, again.entries, protocmp.Transform()); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogShorterThanItsCommitIsUnusable(t *testing.T) {
	dir := t.TempDir()
	st := mustOpen(t, dir)
	id := st.incarnation
	if err := st.save(batch{entries: entries(nil, 3), hard: hardState(1, 5)}); err != nil {
		t.Fatal(err)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, dir)
	defer again.close()
	if again.incarnation == id {
		t.Error("a log that lost committed entries was used on")
	}
}

func mustOpen(t *testing.T, dir string) *store {
	t.Helper()
	st, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return st
}
