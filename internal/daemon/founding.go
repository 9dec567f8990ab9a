package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/cluster/pki"
	"holdfast/internal/cluster/state"
	"holdfast/internal/paths"
)

// founding is cluster.json: what a host must know to find its cluster again. Everything that may change is in the log.
type founding struct {
	Version int    `json:"version"` // 1
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	TokenMS int    `json:"token_ms"`
	// Founders are the members the log began with.
	Founders []state.Member `json:"founders"`
	// Peers are all members known when the file was written, with their addresses: whom to ask first.
	Peers []state.Member `json:"peers"`
}

func foundingFile(root paths.Root) string { return filepath.Join(root.Etc(), "cluster.json") }

// loadFounding reads cluster.json; nil without an error when the host is in no cluster.
func loadFounding(root paths.Root) (*founding, error) {
	data, err := os.ReadFile(foundingFile(root))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's configuration: %w", err)
	}
	var f founding
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", foundingFile(root), err)
	}
	if f.Version != 1 || f.Name == "" || len(f.Founders) == 0 {
		return nil, fmt.Errorf("%s: not a cluster's configuration of this version of holdfast", foundingFile(root))
	}
	return &f, nil
}

// save writes cluster.json so that a power cut leaves the old one or the new.
func (f *founding) save(root paths.Root) error {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := pki.WriteFile(foundingFile(root), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the cluster's configuration: %w", err)
	}
	return nil
}

// self is the record of a member, by name.
func (f *founding) self(node string) state.Member {
	for _, m := range f.Peers {
		if m.Name == node {
			return m
		}
	}
	return state.Member{Name: node, Kind: state.Follower}
}

// first is the command every founder proposes to an empty log; one of them wins.
func (f *founding) first() *state.ClusterInit {
	return &state.ClusterInit{Name: f.Name, UUID: f.UUID, TokenMS: f.TokenMS, Members: f.Founders, UnixSeconds: time.Now().Unix()}
}
