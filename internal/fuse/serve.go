package fuse

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reader is one reading goroutine's state.
type reader struct {
	buf []byte
	n   int
	err error
}

// read is for the poller: false means that there is nothing yet.
func (d *reader) read(fd uintptr) bool {
	d.n, d.err = rawRead(int(fd), d.buf)
	return d.err != unix.EAGAIN
}

// serve reads requests until the kernel ends the connection.
func (c *Conn) serve() {
	defer c.readers.Done()
	var m message
	d := &reader{}
	read := d.read // once, not per request
	for {
		r := c.pool.get()
		if r == nil {
			return
		}
		d.buf = r.incoming()
		if err := c.raw.Read(read); err != nil { // closed
			c.pool.put(r)
			return
		}
		if errors.Is(d.err, unix.ENOENT) { // the request was taken back while it was being read
			c.pool.put(r)
			continue
		}
		if d.err != nil {
			c.pool.put(r)
			c.ended(d.err)
			return
		}
		c.dispatch(r, r.incoming()[:d.n], &m)
	}
}

func (c *Conn) ended(err error) {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ECONNABORTED) {
		c.cfg.Log.Debug("FUSE connection ended", "connection", c.number, "aborted", errors.Is(err, unix.ECONNABORTED))
		return
	}
	c.cfg.Log.Error("cannot read from /dev/fuse; the device stops answering", "connection", c.number, "err", err)
}

func (c *Conn) dispatch(r *Request, b []byte, m *message) {
	if err := decode(b, m); err != nil {
		c.cfg.Log.Error("undecodable FUSE request", "connection", c.number, "op", m.op, "err", err)
		r.unique = m.unique
		c.answerError(r, -int32(unix.EIO))
		return
	}
	r.unique = m.unique
	switch m.op {
	case opRead, opWrite, opFsync, opFallocate:
		c.submit(r, m)
	case opForget, opBatchForget:
		c.pool.put(r) // these have no answer; the two inodes live as long as the connection
	default:
		c.answerNames(r, m)
	}
}

// submit hands an operation on the file's content over, cut to the file's size as read(2) and write(2) would be.
func (c *Conn) submit(r *Request, m *message) {
	size := c.file.Size()
	r.Offset, r.Length, r.Mode, r.DataOnly, r.Data = int64(m.offset), int64(m.length), 0, false, nil
	switch m.op {
	case opRead:
		r.Op = Read
		r.Length = min(r.Length, max(size-r.Offset, 0), MaxTransfer)
		r.Data = r.payload()[:r.Length]
	case opWrite:
		r.Op, r.Data = Write, r.payload()[:r.Length]
	case opFsync:
		r.Op, r.Offset, r.Length, r.DataOnly = Sync, 0, 0, m.flags&fsyncDatasync != 0
	case opFallocate:
		r.Op, r.Mode = Allocate, m.flags
	}
	switch {
	case m.op == opRead && r.Length == 0:
		c.answer(r, 0)
	case (m.op == opWrite || m.op == opFallocate) && r.Offset+r.Length > size:
		c.answerError(r, -int32(unix.ENOSPC))
	default:
		c.file.Submit(r)
	}
}

// answerNames answers everything about names and attributes.
func (c *Conn) answerNames(r *Request, m *message) {
	out := r.payload()
	switch m.op {
	case opLookup:
		if m.node != rootNode || string(m.name) != c.cfg.FileName {
			c.answerError(r, -int32(unix.ENOENT))
			return
		}
		c.answer(r, putEntryOut(out, c.attributes(fileNode)))
	case opGetattr:
		c.answer(r, putAttrOut(out, c.attributes(m.node)))
	case opSetattr:
		if m.flags&fattrSize != 0 && m.length != uint64(c.file.Size()) {
			c.answerError(r, -int32(unix.EPERM)) // the size is the device's
			return
		}
		c.answer(r, putAttrOut(out, c.attributes(m.node)))
	case opOpen:
		c.answer(r, putOpenOut(out, m.node, fopenDirectIO|fopenParallelDirectWrites))
	case opOpendir:
		c.answer(r, putOpenOut(out, m.node, 0))
	case opReaddir:
		c.answer(r, putDirents(out, c.entries(), m.offset, int(min(m.length, MaxTransfer))))
	case opStatfs:
		c.answer(r, putStatfsOut(out, uint64(c.file.Size())))
	case opRelease, opReleasedir, opDestroy:
		c.answer(r, 0)
	default:
		c.answerError(r, -int32(unix.ENOSYS)) // the kernel then stops asking
	}
}

func (c *Conn) attributes(node uint64) attributes {
	if node == fileNode {
		return attributes{node: fileNode, size: uint64(c.file.Size()), mode: unix.S_IFREG | 0o600, link: 1}
	}
	return attributes{node: rootNode, mode: unix.S_IFDIR | 0o700, link: 2}
}

func (c *Conn) entries() []dirent {
	return []dirent{
		{rootNode, unix.DT_DIR, "."}, {rootNode, unix.DT_DIR, ".."}, {fileNode, unix.DT_REG, c.cfg.FileName},
	}
}

// answer sends n bytes of the request's payload and gives the request back.
func (c *Conn) answer(r *Request, n int) {
	c.report(c.write(r, n))
	c.pool.put(r)
}

func (c *Conn) answerWritten(r *Request) {
	// The payload is the File's no longer: its first bytes serve for the answer's structure.
	out := r.payload()
	binary.NativeEndian.PutUint32(out, uint32(r.Length))
	binary.NativeEndian.PutUint32(out[4:], 0)
	c.answer(r, 8)
}

func (c *Conn) answerError(r *Request, errno int32) {
	head := r.buf[pageSize-outHeaderSize : pageSize]
	putOutHeader(head, outHeaderSize, errno, r.unique)
	_, err := rawWrite(c.fd, head)
	c.report(err)
	c.pool.put(r)
}

// write sends a good answer: the header goes right before the payload, so that one write(2) takes both.
func (c *Conn) write(r *Request, n int) error {
	head := r.buf[pageSize-outHeaderSize:]
	putOutHeader(head, outHeaderSize+n, 0, r.unique)
	_, err := rawWrite(c.fd, head[:outHeaderSize+n])
	return err
}

// report logs a failed answer. ENOENT and the like only say that nobody waits for it any more.
func (c *Conn) report(err error) {
	if err == nil || c.aborted.Load() || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ECONNABORTED) {
		return
	}
	c.cfg.Log.Error("cannot answer a FUSE request; it hangs until the connection is aborted", "connection", c.number, "err", err)
}

// rawRead is read(2), again after a signal, without telling the runtime: the descriptor is non-blocking, and the runtime
// would hand the processor to another thread when the copying of a request takes longer than its watchdog's 20 µs.
func rawRead(fd int, b []byte) (int, error) { return rawCall(unix.SYS_READ, fd, b) }

// rawWrite is write(2) in the same manner.
func rawWrite(fd int, b []byte) (int, error) { return rawCall(unix.SYS_WRITE, fd, b) }

func rawCall(call uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}
