package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// verify reads every page of the log at path, read-only, and says that it is unusable if it cannot. It must come before the
// log is opened for writing: bbolt then walks the same pages on a goroutine of its own, where a damaged one ends the
// process, for ever again.
func verify(path string) (err error) {
	// A page number out of range becomes an address beyond the file: a fault, which is to be a panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read %s: %w: %v", path, errUnusable, p)
		}
	}()
	db, err := openBolt(path, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			if err := readAll(b, tx.Size()); err != nil {
				return fmt.Errorf("read %s: %w: bucket %q: %w", path, errUnusable, name, err)
			}
			return nil
		})
	})
}

// readAll reads a bucket from its first key to its last; it can hold no more than limit, the size of the file in bytes.
func readAll(b *bolt.Bucket, limit int64) error {
	var last []byte
	return b.ForEach(func(k, v []byte) error {
		if limit -= int64(len(k) + len(v)); limit < 0 {
			return errors.New("it holds more than the file")
		}
		if last != nil && bytes.Compare(last, k) >= 0 {
			return errors.New("its keys are out of order")
		}
		last = bytes.Clone(k)
		touch(k)
		touch(v)
		return nil
	})
}

// touch reads a slice that may reach beyond the file it is mapped from.
func touch(b []byte) {
	const step = 4096
	sum := byte(0)
	for i := 0; i < len(b); i += step {
		sum ^= b[i]
	}
	if len(b) > 0 {
		sum ^= b[len(b)-1]
	}
	_ = sum
}

func openBolt(path string, readOnly bool) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, ReadOnly: readOnly})
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: another holdfast daemon is using it; stop that one first", path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: %w: %w", path, errUnusable, err)
	}
	return nil, fmt.Errorf("open %s: %w", path, err)
}
