package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/block/peer"
	"holdfast/internal/block/resfile"
	"holdfast/internal/paths"
)

// stateFiles are the small files beside the metadata.
type stateFiles struct {
	epochPath, rolePath, healedPath string
}

func newStateFiles(root paths.Root, resource, suffix string) stateFiles {
	return stateFiles{
		epochPath:  filepath.Join(root.Lib(), "volume-"+resource+".epoch"+suffix),
		rolePath:   filepath.Join(root.Run(), "volume-"+resource+".primary"+suffix),
		healedPath: filepath.Join(root.Lib(), "volume-"+resource+".healed"+suffix),
	}
}

// fileSuffix tells the files of a resource's volumes apart.
func fileSuffix(v *resfile.Volume, several bool) string {
	if !several || v.Number == 0 {
		return ""
	}
	return fmt.Sprintf("-%d", v.Number)
}

type epochFile struct {
	Version int    `json:"version"`
	Epoch   uint64 `json:"epoch"`
}

func (f stateFiles) loadEpoch() (uint64, error) {
	var v epochFile
	found, err := loadJSON(f.epochPath, &v)
	if err != nil || !found {
		return 0, err
	}
	return v.Epoch, nil
}

// storeEpoch is durable when it returns.
func (f stateFiles) storeEpoch(epoch uint64) error {
	return storeJSON(f.epochPath, epochFile{Version: 1, Epoch: epoch})
}

// loadRole returns nil if the process before was no Primary.
func (f stateFiles) loadRole() (*peer.Resume, error) {
	var r peer.Resume
	found, err := loadJSON(f.rolePath, &r)
	if err != nil || !found {
		return nil, err
	}
	return &r, nil
}

func (f stateFiles) storeRole(r peer.Resume) error { return storeJSON(f.rolePath, r) }

func (f stateFiles) dropRole() error {
	if err := os.Remove(f.rolePath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("drop the note of being Primary: %w", err)
	}
	return nil
}

// healed names the file that makes the disk again what it was before its heal: exactly that, as long as the note is there.
type healed struct {
	Version int    `json:"version"`
	ID      string `json:"id"` // saved.Header.ID
	File    string `json:"file"`
	// Left is a digest of the metadata as a clean detach left them; empty while the disk is attached, or after an unclean end.
	Left string `json:"left,omitempty"`
}

// loadHealed returns nil if there is nothing to undo.
func (f stateFiles) loadHealed() (*healed, error) {
	var h healed
	found, err := loadJSON(f.healedPath, &h)
	if err != nil || !found {
		return nil, err
	}
	return &h, nil
}

func (f stateFiles) storeHealed(h healed) error { return storeJSON(f.healedPath, h) }

// dropHealed is durable when it returns. It needs no room on the disk.
func (f stateFiles) dropHealed() error {
	if err := os.Remove(f.healedPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("drop the note of the last heal: %w", err)
	}
	return syncDir(filepath.Dir(f.healedPath))
}

func loadJSON(path string, v any) (found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("decode %s: %w", path, err)
	}
	return true, nil
}

// storeJSON replaces a file so that a crash leaves the old or the new one.
func storeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	next := path + ".new"
	if err := writeSynced(next, data); err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	return syncDir(dir)
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
