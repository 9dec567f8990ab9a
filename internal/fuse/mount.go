package fuse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// openDevice opens /dev/fuse; in a private /dev that lacks the node, it makes it (character device 10:229, as
// assigned in the kernel's devices.txt).
func openDevice() (int, error) {
	const path = "/dev/fuse"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if err = unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err == nil || errors.Is(err, unix.EEXIST) {
			fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w (is the kernel's fuse module there, and are we root?)", path, err)
	}
	return fd, nil
}

// newMount makes a FUSE mount for the device descriptor and returns a descriptor of its root. Until it is attached to a
// directory the mount is in no namespace; it lives as long as that descriptor or a file opened below it.
func newMount(device int, source string) (int, error) {
	fs, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen fuse: %w", err)
	}
	defer unix.Close(fs)
	for _, o := range [][2]string{
		{"source", source}, {"fd", strconv.Itoa(device)}, {"rootmode", "40700"}, {"user_id", "0"}, {"group_id", "0"},
		{"max_read", strconv.Itoa(MaxTransfer)},
	} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return -1, fmt.Errorf("fuse mount option %s=%s: %w", o[0], o[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create the fuse mount: %w", err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsmount fuse: %w", err)
	}
	return mnt, nil
}

// attach puts the mount on a directory of the caller's mount namespace.
func attach(mnt int, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach the fuse mount to %s: %w", dir, err)
	}
	return nil
}

// OpenAbort opens the control file that ends connection number `number`, through a private mount of the control file
// system, so that it works where /sys/fs/fuse/connections is not mounted. Writing "1" to it fails every
// request of the connection, at once and for good. The caller closes the descriptor.
func OpenAbort(number uint32) (int, error) {
	mnt, err := controlMount()
	if err != nil {
		return -1, err
	}
	defer unix.Close(mnt)
	name := filepath.Join(strconv.FormatUint(uint64(number), 10), "abort")
	fd, err := unix.Openat(mnt, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the control file of FUSE connection %d: %w", number, err)
	}
	return fd, nil
}

func controlMount() (int, error) {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen fusectl: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create the fusectl mount: %w", err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fsmount fusectl: %w", err)
	}
	return mnt, nil
}

// AbortBy ends the connection whose control file OpenAbort opened. Ending one that has ended already is no error.
func AbortBy(fd int) error {
	_, err := unix.Write(fd, []byte("1"))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("abort the FUSE connection: %w", err)
	}
	return nil
}

// Abort ends connection number `number`: every request in flight and to come fails. A connection that is gone already
// is no error.
func Abort(number uint32) error {
	fd, err := OpenAbort(number)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return AbortBy(fd)
}
