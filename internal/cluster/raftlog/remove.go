package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Remove deletes the log in dir, and with it this host's incarnation: the cluster it belonged to has been left for good.
// No Node may have it open. It is no error if there is none.
func Remove(dir string) error {
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the cluster's log: %w", err)
	}
	return nil
}
