package fuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
)

func TestErrnoOf(t *testing.T) {
	cases := []struct {
		err  error
		want int32
	}{
		{nil, 0},
		{io.ErrUnexpectedEOF, -int32(syscall.EIO)},
		{syscall.ENOSPC, -int32(syscall.ENOSPC)},
		{fmt.Errorf("write: %w", syscall.ENOSPC), -int32(syscall.ENOSPC)},
		{syscall.Errno(0), -int32(syscall.EIO)},
		{syscall.Errno(1 << 20), -int32(syscall.EIO)},
	}
	for _, c := range cases {
		if got := errnoOf(c.err); got != c.want {
			t.Errorf("errnoOf(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestNegotiate(t *testing.T) {
	if _, err := negotiate(initIn{major: 7, minor: 30}); !errors.As(err, new(*versionError)) {
		t.Errorf("7.30 accepted: %v", err)
	}
	if _, err := negotiate(initIn{major: 8, minor: 40}); err == nil {
		t.Error("8.40 accepted")
	}
	old, err := negotiate(initIn{major: 7, minor: 37, flags: initExt})
	if err != nil || old.resend || old.minor != 37 {
		t.Errorf("6.1's kernel: %+v, %v", old, err)
	}
	now, err := negotiate(initIn{major: 7, minor: 99, flags: initExt | initHasResend})
	if err != nil || !now.resend || now.minor != protoMinor {
		t.Errorf("newer kernel: %+v, %v", now, err)
	}
}

// Flags that the kernel does not offer must not come back: it takes them as granted, with whatever meaning they got.
func TestInitOutOffersOnlyWhatWasOffered(t *testing.T) {
	b := make([]byte, initOutSize)
	for i := range b {
		b[i] = 0xff
	}
	in := initIn{major: 7, minor: 35, flags: initAsyncDIO | 1<<16 /* writeback cache */}
	putInitOut(b, in, terms{minor: 35}, 128)
	ne := binary.NativeEndian
	if got := uint64(ne.Uint32(b[12:])) | uint64(ne.Uint32(b[32:]))<<32; got != initAsyncDIO {
		t.Errorf("flags %#x, want %#x", got, initAsyncDIO)
	}
	if got := ne.Uint16(b[16:]); got != 128 {
		t.Errorf("max_background %d", got)
	}
}

func TestDirentsFitTheBuffer(t *testing.T) {
	entries := []dirent{{1, 4, "."}, {1, 4, ".."}, {2, 8, "disk"}}
	b := make([]byte, 4096)
	all := putDirents(b, entries, 0, len(b))
	if all != 3*32 {
		t.Fatalf("%d bytes for three short names, want 96", all)
	}
	var from uint64
	var names []string
	for range len(entries) + 1 {
		n := putDirents(b, entries, from, 40) // room for one
		if n == 0 {
			break
		}
		from = binary.NativeEndian.Uint64(b[8:])
		names = append(names, string(b[24:24+binary.NativeEndian.Uint32(b[16:])]))
	}
	if fmt.Sprint(names) != "[. .. disk]" {
		t.Errorf("read one by one: %v", names)
	}
}
