package nbd

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/block"
)

// The bytes of a request are the protocol's: magic, flags, type, cookie, offset, length.
func TestRequestBytes(t *testing.T) {
	raw := []byte{0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0x12, 0x30, 0, 0, 0, 0x10, 0}
	h, err := decode(raw)
	want := header{flags: flagFUA, command: cmdWrite, cookie: 0x0102030405060708, offset: 0x123000, length: 4096}
	if err != nil || h != want {
		t.Errorf("%+v, %v; want %+v", h, err, want)
	}
	var back [requestSize]byte
	h.encode(back[:])
	if !bytes.Equal(back[:], raw) {
		t.Errorf("encoded as %x", back)
	}
	var reply [replySize]byte
	putReply(reply[:], h.cookie, 28)
	if want := []byte{0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28, 1, 2, 3, 4, 5, 6, 7, 8}; !bytes.Equal(reply[:], want) {
		t.Errorf("reply %x", reply)
	}
}

func TestCheck(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		h        header
		readOnly bool
		want     error
	}{
		{h: header{command: cmdRead, length: 4096}},
		{h: header{command: cmdRead, length: 4096}, readOnly: true},
		{h: header{command: cmdRead, length: 512, offset: size - 512}},
		{h: header{command: cmdRead, length: 1024, offset: size - 512}, want: unix.EINVAL},
		{h: header{command: cmdWrite, length: 1024, offset: size - 512}, want: unix.ENOSPC},
		{h: header{command: cmdWrite, length: 4096, offset: 1<<64 - 4096}, want: unix.ENOSPC},
		{h: header{command: cmdWrite, length: 4096}, readOnly: true, want: unix.EPERM},
		{h: header{command: cmdTrim, length: 4096}, readOnly: true, want: unix.EPERM},
		{h: header{command: cmdWriteZeroes, length: 4096, flags: flagNoHole | flagFUA}},
		{h: header{command: cmdWrite, length: 4096, flags: flagNoHole}, want: unix.EINVAL},
		{h: header{command: cmdWrite, length: 100}, want: unix.EINVAL},
		{h: header{command: cmdWrite, length: 512, offset: 100}, want: unix.EINVAL},
		{h: header{command: cmdRead}, want: unix.EINVAL},
		{h: header{command: cmdRead, length: block.MaxIO + 512}, want: unix.EOVERFLOW},
		{h: header{command: cmdFlush}},
		{h: header{command: cmdFlush, length: 512}, want: unix.EINVAL},
		{h: header{command: 77, length: 512}, want: unix.EINVAL},
		{h: header{command: cmdRead, length: 512, flags: 1 << 2}, want: unix.EINVAL},
	} {
		if got := c.h.check(size, c.readOnly); !errors.Is(got, c.want) {
			t.Errorf("%+v read-only %v: %v, want %v", c.h, c.readOnly, got, c.want)
		}
	}
}

func TestErrorNumbers(t *testing.T) {
	for _, c := range []struct {
		err  error
		want uint32
	}{{nil, 0}, {errors.New("x"), 5}, {unix.EMEDIUMTYPE, 5}, {unix.ENOSPC, 28}, {fmt.Errorf("y: %w", unix.EPERM), 1}} {
		if got := errnoOf(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// Whatever 28 bytes come: no panic, what is decoded encodes to the same, a bit of the magic that flips is noticed, and what check
// lets through lies within the device.
func FuzzRequest(f *testing.F) {
	for _, h := range []header{{command: cmdRead, length: 4096}, {command: cmdWrite, flags: flagFUA, offset: 8192, length: 512},
		{command: cmdDisconnect}, {command: cmdFlush}, {command: cmdTrim, length: 1 << 31}, {command: cmdWriteZeroes, flags: flagNoHole, length: 1<<32 - 512}} {
		var b [requestSize]byte
		h.encode(b[:])
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < requestSize {
			return
		}
		b = b[:requestSize]
		h, err := decode(b)
		if err != nil {
			if !errors.Is(err, errProtocol) {
				t.Fatal(err)
			}
			return
		}
		var back [requestSize]byte
		h.encode(back[:])
		if !bytes.Equal(back[:], b) {
			t.Fatalf("%x decodes to %+v, which is %x", b, h, back)
		}
		back[0] ^= 1
		if _, err := decode(back[:]); err == nil {
			t.Fatal("a flipped bit of the magic was not noticed")
		}
		if n := h.dataLength(); n < 0 || n > block.MaxIO {
			t.Fatalf("%+v wants %d bytes", h, n)
		}
		const size = 1 << 30
		if h.check(size, false) == nil && h.command != cmdFlush && (h.offset+uint64(h.length) > size || h.length == 0) {
			t.Fatalf("%+v was let through", h)
		}
	})
}
