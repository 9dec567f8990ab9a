package raftlog

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileIdentity tells a file from a copy of it: inode and time of birth, which no tool carries over. (A disk put back as a
// whole from a snapshot keeps both; the leader finds that out, see retire.)
type fileIdentity struct {
	Inode uint64 `json:"inode"`
	Born  int64  `json:"born"` // Unix nanoseconds; 0 on a filesystem that does not keep it
}

// String gives the identity for people.
func (f fileIdentity) String() string { return fmt.Sprintf("inode %d born %d", f.Inode, f.Born) }

func identify(path string) (fileIdentity, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return fileIdentity{}, fmt.Errorf("stat %s: %w", path, err)
	}
	id := fileIdentity{Inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return id, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
