package fuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// File is what a connection serves.
type File interface {
	// Submit hands over a request, which is answered exactly once with its Reply, from any goroutine, in any order.
	// It runs on a reading thread: it must not wait for anything that a later request could be needed for.
	Submit(r *Request)
	// Size is the file's size in bytes; it does not change while the connection lives.
	Size() int64
}

// Config says how to serve. The zero value of each number is its default.
type Config struct {
	// Source is the name shown for the mount, such as "holdfast:r0".
	Source string
	// FileName is the file's name in the root directory; "disk" if empty.
	FileName string
	// Dir is where to attach the mount. Empty: nowhere; then no other mount namespace can keep a copy of it, nothing
	// can hang on it, and it goes away with the last opened file.
	Dir string
	// Depth bounds the requests the kernel keeps in flight (max_background), at most 4096.
	Depth int
	// Readers is the number of reading goroutines, at most 64. One is best for a File that never waits in Submit.
	Readers int
	Log     *slog.Logger
}

// maxName bounds FileName, in bytes.
const maxName = 255

func (c Config) withDefaults() (Config, error) {
	if c.FileName == "" {
		c.FileName = "disk"
	}
	if c.Source == "" {
		c.Source = "holdfast"
	}
	if c.Depth == 0 {
		c.Depth = DefaultDepth
	}
	if c.Readers == 0 {
		c.Readers = DefaultReaders
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.FileName) > maxName || c.Depth < 1 || c.Depth > maxDepth || c.Readers < 1 || c.Readers > maxReaders {
		return c, fmt.Errorf("fuse: configuration out of range: name %q, depth %d, readers %d", c.FileName, c.Depth, c.Readers)
	}
	return c, nil
}

// Conn is one connection to the kernel: one mounted file system.
type Conn struct {
	cfg  Config
	file File
	pool *pool

	fd     int      // of /dev/fuse
	dev    *os.File // the same, in the runtime's poller while it is served; it owns fd then
	raw    syscall.RawConn
	mnt    int // descriptor of the mount's root, -1 when adopted
	number uint32
	terms  terms

	readers  sync.WaitGroup
	done     chan struct{}
	attached bool // to cfg.Dir
	aborted  atomic.Bool
	closing  sync.Once
}

// versionError tells that the kernel's protocol is too old.
type versionError struct{ major, minor uint32 }

func (e *versionError) Error() string {
	return fmt.Sprintf("fuse: the kernel speaks protocol %d.%d, at least %d.%d is needed (kernel 5.4 or later)", e.major, e.minor, protoMajor, protoMinorMin)
}

// Mount makes a new file system and serves file on it until Close, Abort or an unmount.
func Mount(cfg Config, file File) (*Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	fd, err := openDevice()
	if err != nil {
		return nil, err
	}
	c, err := newConn(cfg, file, fd)
	if err == nil {
		err = c.mountAndServe()
	}
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", cfg.Source, err)
	}
	return c, nil
}

// mountAndServe makes the mount, negotiates, starts the readers and attaches the mount to its directory. If it fails,
// nothing is left.
func (c *Conn) mountAndServe() error {
	var err error
	if c.mnt, err = newMount(c.fd, c.cfg.Source); err != nil {
		c.pool.close()
		return err
	}
	if c.number, err = numberOf(c.mnt); err == nil {
		err = c.handshake()
	}
	if err != nil {
		c.DropMount()
		c.pool.close()
		return err
	}
	if err := c.start(); err != nil {
		c.DropMount()
		c.pool.close()
		return err
	}
	if c.cfg.Dir == "" {
		return nil
	}
	if err := attach(c.mnt, c.cfg.Dir); err != nil {
		return errors.Join(err, c.Close())
	}
	c.attached = true
	return nil
}

// numberOf is a connection's number: the kernel numbers it by its file system's device number (major 0). It asks
// nothing of the connection, which nobody serves yet.
func numberOf(mnt int) (uint32, error) {
	var st unix.Statx_t
	if err := unix.Statx(mnt, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return 0, fmt.Errorf("statx of the fuse mount: %w", err)
	}
	return st.Dev_minor, nil
}

// Adopt carries on a connection that another process made with the same Config and left: fd is its /dev/fuse
// descriptor, which Adopt owns from now on even if it fails. Requests that the other process had read and not answered are
// asked for again, so they may be seen twice in all; the other process must be gone.
func Adopt(cfg Config, file File, fd int, number uint32) (*Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c, err := newConn(cfg, file, fd)
	if err != nil {
		return nil, err
	}
	c.number, c.terms = number, terms{minor: protoMinorMin, resend: true}
	var out [outHeaderSize]byte
	putOutHeader(out[:], len(out), notifyResend, 0)
	if _, err := unix.Write(fd, out[:]); err != nil {
		c.pool.close()
		return nil, fmt.Errorf("ask FUSE connection %d for its unanswered requests: %w", number, err)
	}
	if err := c.start(); err != nil {
		c.pool.close()
		return nil, err
	}
	return c, nil
}

// Resized has the kernel ask for the file's size again when it needs it next (FUSE_NOTIFY_INVAL_INODE of the attributes
// alone).
func (c *Conn) Resized() error {
	var out [outHeaderSize + 24]byte
	putOutHeader(out[:], len(out), notifyInvalInode, 0)
	ne := binary.NativeEndian
	ne.PutUint64(out[outHeaderSize:], fileNode)
	ne.PutUint64(out[outHeaderSize+8:], ^uint64(0)) // no range of the content
	if _, err := unix.Write(c.fd, out[:]); err != nil {
		return fmt.Errorf("tell the kernel of the file's new size over FUSE connection %d: %w", c.number, err)
	}
	return nil
}

// newConn owns fd from here on: the pool closes it when it is done with.
func newConn(cfg Config, file File, fd int) (*Conn, error) {
	c := &Conn{cfg: cfg, file: file, fd: fd, mnt: -1, done: make(chan struct{})}
	var err error
	c.pool, err = newPool(c, cfg.Depth+cfg.Readers+spareSlots, c.closeDevice)
	if err != nil {
		unix.Close(fd)
	}
	return c, err
}

// handshake answers INIT, which the kernel queues as it makes the mount.
func (c *Conn) handshake() error {
	r := c.pool.get()
	defer c.pool.put(r)
	n, err := readRetry(c.fd, r.incoming())
	if err != nil {
		return fmt.Errorf("read INIT: %w", err)
	}
	var m message
	if err := decode(r.incoming()[:n], &m); err != nil {
		return fmt.Errorf("decode INIT: %w", err)
	}
	if m.op != opInit {
		return fmt.Errorf("fuse: the kernel began with operation %d, not INIT", m.op)
	}
	if c.terms, err = negotiate(m.init); err != nil {
		return err
	}
	r.unique = m.unique
	size := putInitOut(r.payload(), m.init, c.terms, c.cfg.Depth)
	return c.write(r, size)
}

// start gives the descriptor to the runtime's poller, so that no thread is held by a reader that waits, and begins to read.
func (c *Conn) start() error {
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return fmt.Errorf("FUSE connection %d: %w", c.number, err)
	}
	c.dev = os.NewFile(uintptr(c.fd), "/dev/fuse")
	var err error
	if c.raw, err = c.dev.SyscallConn(); err != nil {
		return fmt.Errorf("FUSE connection %d: %w", c.number, err)
	}
	c.readers.Add(c.cfg.Readers)
	for range c.cfg.Readers {
		go c.serve()
	}
	go func() {
		c.readers.Wait()
		close(c.done)
	}()
	return nil
}

func (c *Conn) closeDevice() {
	if c.dev != nil {
		c.dev.Close()
		return
	}
	unix.Close(c.fd)
}

// FD is the /dev/fuse descriptor, for handing to a process that shall be able to carry the connection on.
func (c *Conn) FD() int { return c.fd }

// Number is the connection's name below /sys/fs/fuse/connections.
func (c *Conn) Number() uint32 { return c.number }

// CanResume tells whether the kernel lets another process carry the connection on without losing requests in flight.
func (c *Conn) CanResume() bool { return c.terms.resend }

// Done is closed when the kernel has ended the connection (unmounted, aborted) and no thread reads it any more.
func (c *Conn) Done() <-chan struct{} { return c.done }

// OpenFile opens the served file for reading and writing and returns the descriptor, which belongs to the caller. It
// cannot be used on an adopted connection.
func (c *Conn) OpenFile() (int, error) {
	fd, err := unix.Openat(c.mnt, c.cfg.FileName, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the served file %s: %w", c.cfg.FileName, err)
	}
	return fd, nil
}

// DropMount lets go of a mount that is attached nowhere: from then on the file system ends when the last opened file does.
func (c *Conn) DropMount() {
	if c.mnt >= 0 {
		unix.Close(c.mnt)
		c.mnt = -1
	}
}

// Abort makes the kernel fail every request in flight and to come, at once. Requests the File still has are answered
// into the void.
func (c *Conn) Abort() error {
	c.aborted.Store(true)
	return Abort(c.number)
}

// Close unmounts, aborts what is left and waits until no thread reads the connection. Files that someone still has
// open fail from then on. The descriptor and the buffers are given back when the File has answered its last request.
func (c *Conn) Close() error {
	var err error
	c.closing.Do(func() { err = c.close() })
	return err
}

func (c *Conn) close() error {
	var errs []error
	if c.attached {
		if err := unix.Unmount(c.cfg.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", c.cfg.Dir, err))
		}
	}
	errs = append(errs, c.Abort())
	c.DropMount()
	c.pool.close()
	select {
	case <-c.done:
	case <-time.After(closeWait):
		errs = append(errs, fmt.Errorf("FUSE connection %d still delivers requests %v after it was aborted", c.number, closeWait))
	}
	return errors.Join(errs...)
}

// readRetry is read(2), again after a signal.
func readRetry(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
