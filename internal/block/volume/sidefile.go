package volume

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"holdfast/internal/block/backing"
	"holdfast/internal/block/saved"
	"holdfast/internal/disk"
)

// SideStore is a file being made of a losing side's blocks.
type SideStore interface {
	io.Writer
	// Keep makes all that was written durable, under the file's own name. It may be called again after more writes.
	Keep() error
	// Close gives the file back; one that was never kept is removed.
	Close() error
}

// sideFile is the file of a heal, or of an undo. One job uses it at a time; moved alone is read beside.
type sideFile struct {
	path   string
	header saved.Header
	store  SideStore     // of a heal
	writer *saved.Writer // of a heal
	total  int64         // bytes of an undo, once checked
	moved  atomic.Int64  // bytes saved or written back
}

// partSuffix marks a file that was never kept.
const partSuffix = ".partial"

// realSide is a SideStore in the file system.
type realSide struct {
	*os.File
	path string
	kept bool
}

// createSide makes a new file, under another name until it is kept.
func createSide(path string) (SideStore, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("save the losing side's blocks: %q is no absolute path", path)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("save the losing side's blocks: %s exists; name another file", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("save the losing side's blocks: %w", err)
	}
	f, err := os.OpenFile(path+partSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("save the losing side's blocks: %w", err)
	}
	return &realSide{File: f, path: path}, nil
}

// Keep syncs the file, and gives it its name the first time.
func (s *realSide) Keep() error {
	if err := s.Sync(); err != nil {
		return err
	}
	if s.kept {
		return nil
	}
	if err := os.Rename(s.path+partSuffix, s.path); err != nil {
		return err
	}
	s.kept = true
	return syncDir(filepath.Dir(s.path))
}

// Close closes it.
func (s *realSide) Close() error {
	err := s.File.Close()
	if !s.kept {
		err = errors.Join(err, os.Remove(s.path+partSuffix))
	}
	return err
}

// add saves a piece that was read from the disk.
func (s *sideFile) add(off int64, data []byte) error {
	if err := s.writer.Add(off, data); err != nil {
		return fmt.Errorf("save the losing side's blocks in %s: %w", s.path, err)
	}
	s.moved.Add(int64(len(data)))
	return nil
}

// keep makes the file whole and durable.
func (s *sideFile) keep() error {
	err := s.writer.End()
	if err == nil {
		err = s.store.Keep()
	}
	if err != nil {
		return fmt.Errorf("save the losing side's blocks in %s: %w", s.path, err)
	}
	return nil
}

// close gives the file of a heal back.
func (s *sideFile) close() {
	if s.store != nil {
		_ = s.store.Close() // what it held is durable, or is not wanted
		s.store = nil
	}
}

// each reads the file, and calls f for every block.
func (s *sideFile) each(f func(saved.Block) error) error {
	file, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("read the saved blocks: %w", err)
	}
	defer file.Close()
	r, err := saved.NewReader(bufio.NewReaderSize(file, saved.MaxData))
	if err != nil {
		return fmt.Errorf("read the saved blocks: %s: %w", s.path, err)
	}
	s.header = r.Header()
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the saved blocks: %s: %w", s.path, err)
		}
		if err := f(b); err != nil {
			return err
		}
	}
}

// check reads the whole file and counts what would be written back.
func (s *sideFile) check() error {
	s.total = 0
	return s.each(func(b saved.Block) error {
		s.total += b.Length
		return nil
	})
}

// restore writes every block back, durably. The file's own errors come apart from the disk's.
func (s *sideFile) restore(d disk.Device) (fileErr, diskErr error) {
	aligned := backing.Buffer(saved.MaxData)
	fileErr = s.each(func(b saved.Block) error {
		if b.Content == nil {
			diskErr = d.WriteZeroes(b.Offset, b.Length)
		} else {
			n := copy(aligned, b.Content)
			diskErr = d.WriteAt(aligned[:n], b.Offset)
		}
		s.moved.Add(b.Length)
		return diskErr
	})
	switch {
	case diskErr != nil:
		return nil, diskErr
	case fileErr != nil:
		return fileErr, nil
	}
	return nil, d.Flush()
}

// heal carries out the job's part of a heal; an error of the file is left in sideErr.
func (j *job) heal() error {
	switch j.work {
	case doSave:
		if err := j.dev.ReadAt(j.data, j.off); err != nil {
			return err
		}
		j.sideErr = j.side.add(j.off, j.data)
	case doKeep:
		j.sideErr = j.side.keep()
	case doCheck:
		j.sideErr = j.side.check()
	default:
		var err error
		j.sideErr, err = j.side.restore(j.dev)
		return err
	}
	return nil
}
